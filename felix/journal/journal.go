// Package journal keeps on disk what the stream has delivered. A node that starts while Typha and the API server are
// down enforces from it the policy that it last knew.
//
// The package owns one file: a header and records. A record is a commit with its length and checksum. Commits are
// appended as they arrive; from time to time one record of the whole state replaces them. An append costs only what
// changed. The agent's goroutine calls the package. One goroutine of its own waits for the disk.
//
// The file is stale when it differs from what was delivered: a commit could not be written (the disk is full), or a
// part cannot be read (flipped bits, a torn or missing record). Stale then returns the reason. A file that lacks a
// commit is marked by one octet of its header, which needs no room on the disk. If even that octet cannot be written,
// the file is removed. State has the good part of a stale file. It may lack a rule that denies, so it is not what the
// node has to enforce. The file is no longer stale when the whole state has been written again: at one of the next
// calls of Keep, or after damage once the stream is in sync.
//
// Records are on the disk after the Keep that follows them. A power failure may lose the last ones, and nothing shows
// that.
package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// State is the state after all records. The objects are immutable. The maps belong to the Journal; callers must not
// change them.
type State struct {
	Objects  map[wire.ID]wire.Object
	Versions map[string]string
	// Datastore is the datastore of the Versions; see wire.Commit.
	Datastore string
}

// Journal is the file and its contents.
type Journal struct {
	path  string
	file  *os.File // nil until something is written
	state State
	// changes of sets are applied to state only when it is needed, so that recording one costs only what changed.
	changes map[wire.ID][]wire.SetDelta
	size    int64  // of the file
	base    int64  // of the file when it was last replaced
	sum     uint32 // checksum of all records

	stale error // why the file differs from what was delivered
	// damaged is set while State, too, differs from what was delivered: until the stream is in sync.
	damaged  bool
	rest     int        // calls of Keep until a file that could not be written is tried again
	unsynced bool       // the file may have records that the disk lacks
	syncing  chan error // depth 1: the result of the running Sync, written once; nil if none runs
}

// slack is how much a file may grow beyond twice its size before it is replaced.
const slack = 1 << 20

// restAfterFailure is after how many calls of Keep a file that could not be written is tried again.
const restAfterFailure = 10

var (
	order    = binary.BigEndian
	checksum = crc32.MakeTable(crc32.Castagnoli)
)

// The file's header is the magic and one octet: complete if the file has all commits, incomplete if not.
const (
	magic        = "maneki journal 1"
	complete     = '+'
	incomplete   = '-'
	fileHeader   = int64(len(magic) + 1)
	recordHeader = 8 // length and checksum, 4 octets each
)

// record is one commit as it is on disk.
type record struct {
	Upserts  []entry           `cbor:"1,keyasint,omitempty"`
	Deletes  []wire.ID         `cbor:"2,keyasint,omitempty"`
	Versions map[string]string `cbor:"3,keyasint,omitempty"`
	Sets     []wire.SetDelta   `cbor:"4,keyasint,omitempty"`
	// Datastore is the datastore of the Versions. Records of earlier releases lack it.
	Datastore string `cbor:"5,keyasint,omitempty"`
}

type entry struct {
	Kind wire.Kind `cbor:"1,keyasint"`
	Body []byte    `cbor:"2,keyasint"`
	// Needs are the features that a reader needs to understand the whole object. Without them, it might read an Allow
	// of a later release as one that allows more.
	Needs []string `cbor:"3,keyasint,omitempty"`
}

func (e entry) understood() bool { return len(wire.ParseFeatures(e.Needs).Names()) == len(e.Needs) }

// Open reads the file. A missing file is an empty journal. A part that cannot be read makes the journal stale. An
// object that this release does not know or does not fully understand is skipped. The stream then delivers it again, in
// a form that closes.
func Open(path string) *Journal {
	j := &Journal{path: path, changes: map[wire.ID][]wire.SetDelta{},
		state: State{Objects: map[wire.ID]wire.Object{}, Versions: map[string]string{}}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j
	}
	if err == nil {
		err = j.replayAll(data)
	}
	if err == nil {
		j.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	}
	if err != nil {
		j.stale, j.damaged = fmt.Errorf("read journal %s: %w", path, err), true
	}
	return j
}

func (j *Journal) replayAll(data []byte) error {
	if int64(len(data)) < fileHeader || string(data[:len(magic)]) != magic {
		return errors.New("it is no journal of this release")
	}
	for j.size = fileHeader; int64(len(data)) > j.size; {
		n, err := j.replay(data[j.size:])
		if err != nil {
			return fmt.Errorf("the record at octet %d: %w", j.size, err)
		}
		j.size += n
	}
	if data[len(magic)] != complete {
		return errors.New("commits after it could not be written")
	}
	j.base = j.size
	return nil
}

var (
	errTorn    = errors.New("it is torn")
	errChanged = errors.New("it is not what was written")
)

// replay applies the first record of data, and returns its length in octets.
func (j *Journal) replay(data []byte) (int64, error) {
	if len(data) < recordHeader {
		return 0, errTorn
	}
	length := int64(order.Uint32(data))
	if length > int64(len(data)-recordHeader) {
		return 0, errTorn
	}
	body := data[recordHeader : recordHeader+length]
	sum := crc32.Update(j.sum, checksum, body)
	if sum != order.Uint32(data[4:]) {
		return 0, errChanged
	}
	var r record
	if err := wire.Decode(body, &r); err != nil {
		return 0, err
	}
	j.sum = sum
	c := wire.Commit{Sets: r.Sets, Deletes: r.Deletes, Versions: r.Versions, Datastore: r.Datastore}
	for _, e := range r.Upserts {
		if object, err := wire.DecodeObject(e.Kind, e.Body); err == nil && e.understood() {
			c.Upserts = append(c.Upserts, object)
		} else if err == nil {
			c.Deletes = append(c.Deletes, object.ID())
		}
	}
	j.take(c)
	return recordHeader + length, nil
}

// Stale returns why the file differs from what was delivered, or nil if it does not.
func (j *Journal) Stale() error { return j.stale }

func (j *Journal) take(c wire.Commit) {
	for _, object := range c.Upserts {
		j.state.Objects[object.ID()] = object
		delete(j.changes, object.ID())
	}
	for _, d := range c.Sets {
		id := wire.ID{Kind: wire.KindIPSet, Name: d.Name}
		j.changes[id] = append(j.changes[id], d)
	}
	for _, id := range c.Deletes {
		delete(j.state.Objects, id)
		delete(j.changes, id)
	}
	if c.Datastore != j.state.Datastore { // such a commit has all versions
		clear(j.state.Versions)
		j.state.Datastore = c.Datastore
	}
	maps.Copy(j.state.Versions, c.Versions)
}

// State returns everything that was delivered.
func (j *Journal) State() State {
	for id, changes := range j.changes {
		if set, ok := j.state.Objects[id].(*wire.IPSet); ok {
			j.state.Objects[id] = fold(set, changes)
		}
	}
	clear(j.changes)
	return j.state
}

// fold returns a set with its changes applied.
func fold(set *wire.IPSet, changes []wire.SetDelta) *wire.IPSet {
	nets, ports := map[netip.Prefix]bool{}, map[wire.PortMember]bool{}
	add(nets, set.Nets, true)
	add(ports, set.Ports, true)
	for _, d := range changes {
		add(nets, d.RemovedNets, false)
		add(nets, d.AddedNets, true)
		add(ports, d.RemovedPorts, false)
		add(ports, d.AddedPorts, true)
	}
	return &wire.IPSet{Name: set.Name, Type: set.Type,
		Nets: slices.SortedFunc(maps.Keys(nets), netip.Prefix.Compare),
		Ports: slices.SortedFunc(maps.Keys(ports), func(a, b wire.PortMember) int {
			return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
		})}
}

// add makes keys present in a map, or absent.
func add[K comparable](m map[K]bool, keys []K, present bool) {
	for _, k := range keys {
		if present {
			m[k] = true
		} else {
			delete(m, k)
		}
	}
}

// Append records a commit. State has the commit even if the file does not; Stale then returns the reason.
func (j *Journal) Append(c wire.Commit) {
	j.take(c)
	switch {
	case j.damaged && !c.InSync, j.stale != nil && !j.damaged:
		return
	case j.damaged, j.file == nil:
		j.damaged = false
		j.replace()
		return
	}
	data, sum, err := encode(c, j.sum)
	if err == nil {
		_, err = j.file.WriteAt(data, j.size)
	}
	if err != nil {
		j.fail(err)
		return
	}
	j.size, j.sum, j.unsynced = j.size+int64(len(data)), sum, true
	if j.size > 2*j.base+slack && j.rest == 0 {
		j.replace()
	}
}

// Keep syncs the appended records to the disk, and tries again to write a file that could not be written. Call it about
// every second.
func (j *Journal) Keep() {
	j.rest = max(0, j.rest-1)
	if j.stale != nil && !j.damaged && j.rest == 0 {
		j.replace()
	}
	select {
	case err := <-j.syncing:
		j.syncing = nil
		if err != nil && j.stale == nil {
			j.fail(err)
		}
	default:
	}
	if !j.unsynced || j.syncing != nil || j.stale != nil {
		return
	}
	done, file := make(chan error, 1), j.file
	j.syncing, j.unsynced = done, false
	go func() {
		err := file.Sync()
		if errors.Is(err, os.ErrClosed) { // the file was replaced, and replace syncs
			err = nil
		}
		done <- err
	}()
}

// fail records that the file lacks a commit, and marks the file.
func (j *Journal) fail(cause error) {
	j.stale, j.rest = fmt.Errorf("write journal %s: %w", j.path, cause), restAfterFailure
	if j.file == nil {
		return
	}
	_, err := j.file.WriteAt([]byte{incomplete}, int64(len(magic)))
	if err == nil {
		err = errors.Join(j.file.Truncate(j.size), j.file.Sync()) // without the written part of the record
	}
	if err == nil {
		return
	}
	j.file.Close()
	j.file = nil
	if gone := os.Remove(j.path); gone != nil {
		j.stale = fmt.Errorf("%w; a restart would not know, since it could not be marked or removed: %w",
			j.stale, errors.Join(err, gone))
	}
}

// replace replaces the file with one that has a single record of the whole state. If that fails, the former file stays,
// and is marked if it lacks a commit.
func (j *Journal) replace() {
	file, size, sum, err := j.write()
	if err != nil {
		_ = os.Remove(j.path + ".new") // an unfinished file takes room that others may need
		j.rest = restAfterFailure
		if j.stale != nil || j.file == nil {
			j.fail(err)
		}
		return
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.base, j.sum = file, size, size, sum
	j.stale, j.unsynced, j.rest = nil, false, 0
}

// write writes the new file.
func (j *Journal) write() (file *os.File, size int64, sum uint32, err error) {
	j.State()
	record, sum, err := encode(wire.Commit{
		Upserts: slices.Collect(maps.Values(j.state.Objects)), Versions: j.state.Versions,
		Datastore: j.state.Datastore}, 0)
	if err != nil {
		return nil, 0, 0, err
	}
	dir := filepath.Dir(j.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, 0, err
	}
	file, err = os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, 0, err
	}
	data := append(append([]byte(magic), complete), record...)
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err == nil {
		err = syncDirectory(dir)
	}
	if err != nil {
		file.Close()
		return nil, 0, 0, err
	}
	return file, int64(len(data)), sum, nil
}

// syncDirectory writes the names in a directory to the disk.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// encode returns the record of a commit, and the checksum of all records up to it; before is that without it.
func encode(c wire.Commit, before uint32) ([]byte, uint32, error) {
	r := record{Sets: c.Sets, Deletes: c.Deletes, Versions: c.Versions, Datastore: c.Datastore}
	for _, object := range c.Upserts {
		body, err := wire.Encode(object)
		if err != nil {
			return nil, 0, fmt.Errorf("encode %s: %w", object.ID(), err)
		}
		r.Upserts = append(r.Upserts, entry{object.ID().Kind, body, wire.Needs(object).Names()})
	}
	body, err := wire.Encode(r)
	if err != nil {
		return nil, 0, err
	}
	sum := crc32.Update(before, checksum, body)
	data := make([]byte, recordHeader, recordHeader+len(body))
	order.PutUint32(data, uint32(len(body)))
	order.PutUint32(data[4:], sum)
	return append(data, body...), sum, nil
}

// Close closes the file.
func (j *Journal) Close() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(j.file.Sync(), j.file.Close())
}
