// Package journal keeps on disk what the stream has delivered, so that a node that starts without
// Typha and the API server can protect itself and its pods from what it knew last.
//
// It owns one file: a header, and records of commits, each with its length and checksum, that are appended as they come and
// now and then replaced by one record of everything. An append costs what changed. The agent's goroutine calls it, and one of its
// own waits for the disk.
//
// The file is stale when it is not what was delivered: a commit could not be written (the disk is full), or a part cannot be read
// (bits that flipped, a record that is torn or missing). Stale says so. A file that lacks a commit is marked by
// one octet of its header, which takes no room on the disk, or is removed if not even that can be written. What is good of
// a stale file is State, but it may lack a rule that denies, so nobody is to take it for what the node enforces. It ceases to be
// stale when all is written anew: at one of the next calls of Keep, or after a damage when the stream is in sync.
//
// Written records are on the disk after the next Keep. What a power failure takes is the last of them, without a trace.
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

// State is what the records amount to. The objects are immutable; the maps are the Journal's, and not
// to be changed.
type State struct {
	Objects  map[wire.ID]wire.Object
	Versions map[string]string
	// Datastore is that of the Versions; see wire.Commit.
	Datastore string
}

// Journal is the file and what is in it.
type Journal struct {
	path  string
	file  *os.File // nil until something is written
	state State
	// changes are of sets in state, and not in it yet: a change costs what changed.
	changes map[wire.ID][]wire.SetDelta
	size    int64  // of the file
	base    int64  // of the file when it was last replaced
	sum     uint32 // of the records, each after the last

	stale error // why the file is not what was delivered
	// damaged: State is not what was delivered either, until the stream is in sync.
	damaged  bool
	rest     int        // calls of Keep until a file that could not be written is tried again
	unsynced bool       // the disk may lack what the file has
	syncing  chan error // depth 1: the outcome of a Sync, written once; nil without one
}

// slack is how much a file may grow beyond twice its size before it is replaced.
const slack = 1 << 20

// restAfterFailure is how many calls of Keep a file rests that could not be written.
const restAfterFailure = 10

var (
	order    = binary.BigEndian
	checksum = crc32.MakeTable(crc32.Castagnoli)
)

// The file's header is the magic and one octet that says whether the records are all that was delivered.
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
	// Datastore is that of the Versions. Records of earlier releases lack it.
	Datastore string `cbor:"5,keyasint,omitempty"`
}

type entry struct {
	Kind wire.Kind `cbor:"1,keyasint"`
	Body []byte    `cbor:"2,keyasint"`
	// Needs are the features that it takes to understand the object whole. Read without them, an Allow of a later release might
	// allow more than it says.
	Needs []string `cbor:"3,keyasint,omitempty"`
}

func (e entry) understood() bool { return len(wire.ParseFeatures(e.Needs).Names()) == len(e.Needs) }

// Open reads the file. That there is none is a journal without anything in it, and what cannot be read makes it stale. An object
// of a kind that this release does not know, or that it would not understand whole, is passed over: it is not held then, and comes
// again in a form that closes.
func Open(path string) *Journal {
	j := &Journal{path: path, changes: map[wire.ID][]wire.SetDelta{}, state: State{Objects: map[wire.ID]wire.Object{}, Versions: map[string]string{}}}
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

// replay takes in the first record and gives its length in octets.
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

// Stale says why the file is not what was delivered; nil if it is.
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
	if c.Datastore != j.state.Datastore { // a commit has all versions
		clear(j.state.Versions)
		j.state.Datastore = c.Datastore
	}
	maps.Copy(j.state.Versions, c.Versions)
}

// State gives everything that was delivered.
func (j *Journal) State() State {
	for id, changes := range j.changes {
		if set, ok := j.state.Objects[id].(*wire.IPSet); ok {
			j.state.Objects[id] = fold(set, changes)
		}
	}
	clear(j.changes)
	return j.state
}

// fold makes a set out of one and its changes.
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
		Nets: slices.SortedFunc(maps.Keys(nets), func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		}),
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

// Append records a commit. State has it also when the file does not, which Stale says then.
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

// Keep brings to the disk what was appended, and writes again what could not be written. Call it every second or so.
func (j *Journal) Keep() {
	j.rest = max(0, j.rest-1)
	if j.stale != nil && !j.damaged && j.rest == 0 {
		j.replace()
	}
	select {
	case err := <-j.syncing:
		if j.syncing = nil; err != nil && j.stale == nil {
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
		if errors.Is(err, os.ErrClosed) { // it was replaced, which syncs
			err = nil
		}
		done <- err
	}()
}

// fail notes that the file lacks a commit, in the file too.
func (j *Journal) fail(cause error) {
	j.stale, j.rest = fmt.Errorf("write journal %s: %w", j.path, cause), restAfterFailure
	if j.file == nil {
		return
	}
	_, err := j.file.WriteAt([]byte{incomplete}, int64(len(magic)))
	if err == nil {
		err = errors.Join(j.file.Truncate(j.size), j.file.Sync()) // without what was written of the record
	}
	if err == nil {
		return
	}
	j.file.Close()
	j.file = nil
	if gone := os.Remove(j.path); gone != nil {
		j.stale = fmt.Errorf("%w; a restart would not know, since it could not be marked or removed: %w", j.stale, errors.Join(err, gone))
	}
}

// replace puts a file with one record of everything in the place of the present one. If it cannot, and the present one has
// everything, that remains.
func (j *Journal) replace() {
	file, size, sum, err := j.write()
	if err != nil {
		_ = os.Remove(j.path + ".new") // what there is of it takes room that others may need
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

// write makes the new file.
func (j *Journal) write() (file *os.File, size int64, sum uint32, err error) {
	j.State()
	record, sum, err := encode(wire.Commit{
		Upserts: slices.Collect(maps.Values(j.state.Objects)), Versions: j.state.Versions, Datastore: j.state.Datastore}, 0)
	if err != nil {
		return nil, 0, 0, err
	}
	dir := filepath.Dir(j.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, 0, err
	}
	if file, err = os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
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

// syncDirectory makes the names in a directory outlive the machine.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// encode gives a record, with its checksum after those before it.
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
