// Package journal keeps on disk what the stream has delivered, so that a node that starts without
// Typha and the API server can protect itself and its pods from what it knew last.
//
// It owns one file: records of commits, each with its length and checksum, that are appended as they come and
// now and then replaced by one record of everything. An append costs what changed. The file is not synced at
// each record: the kernel's state is lost with the machine, and a record that a power failure tore is cut off,
// with what came after it. The agent's goroutine calls it.
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
	file  *os.File
	state State
	// changes are of sets in state, and not in it yet: a change costs what changed.
	changes map[wire.ID][]wire.SetDelta
	size    int64 // of the file
	base    int64 // of the file when it was last replaced
	// behind: the file lacks a commit that could not be written.
	behind bool
}

// slack is how much a file may grow beyond twice its size before it is replaced.
const slack = 1 << 20

var (
	order    = binary.BigEndian
	checksum = crc32.MakeTable(crc32.Castagnoli)
)

const headerSize = 8 // length and checksum, 4 octets each

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

// Open reads the file, or makes an empty one. What cannot be read is cut off; an object
// of a kind that this release does not know, or that it would not understand whole, is passed over: it is not held then, and comes
// again in a form that closes.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: path, changes: map[wire.ID][]wire.SetDelta{}, state: State{Objects: map[wire.ID]wire.Object{}, Versions: map[string]string{}}}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	for len(data) > int(j.size) {
		n, err := j.replay(data[j.size:])
		if err != nil {
			break
		}
		j.size += n
	}
	j.base = j.size
	if j.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := j.file.Truncate(j.size); err != nil {
		j.file.Close()
		return nil, fmt.Errorf("cut journal %s: %w", path, err)
	}
	return j, nil
}

var errTorn = errors.New("record is torn")

// replay takes in the first record and gives its length in octets.
func (j *Journal) replay(data []byte) (int64, error) {
	if len(data) < headerSize {
		return 0, errTorn
	}
	length := int64(order.Uint32(data))
	if length > int64(len(data)-headerSize) {
		return 0, errTorn
	}
	body := data[headerSize : headerSize+length]
	if crc32.Checksum(body, checksum) != order.Uint32(data[4:]) {
		return 0, errTorn
	}
	var r record
	if err := wire.Decode(body, &r); err != nil {
		return 0, err
	}
	c := wire.Commit{Sets: r.Sets, Deletes: r.Deletes, Versions: r.Versions, Datastore: r.Datastore}
	for _, e := range r.Upserts {
		if object, err := wire.DecodeObject(e.Kind, e.Body); err == nil && e.understood() {
			c.Upserts = append(c.Upserts, object)
		} else if err == nil {
			c.Deletes = append(c.Deletes, object.ID())
		}
	}
	j.take(c)
	return headerSize + length, nil
}

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

// Append records a commit. State has it also when that fails; the next Append then writes everything.
func (j *Journal) Append(c wire.Commit) error {
	j.take(c)
	if j.behind || j.size > 2*j.base+slack {
		return j.replace()
	}
	data, err := encode(c)
	if err == nil {
		_, err = j.file.WriteAt(data, j.size)
	}
	if err != nil {
		j.behind = true
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(data))
	return nil
}

// replace puts a file with one record of everything in the place of the present one.
func (j *Journal) replace() error {
	j.State()
	data, err := encode(wire.Commit{Upserts: slices.Collect(maps.Values(j.state.Objects)), Versions: j.state.Versions, Datastore: j.state.Datastore})
	if err != nil {
		return fmt.Errorf("replace journal: %w", err)
	}
	file, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("replace journal: %w", err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("replace journal: %w", err)
	}
	j.file.Close()
	j.file, j.size, j.base, j.behind = file, int64(len(data)), int64(len(data)), false
	return nil
}

func encode(c wire.Commit) ([]byte, error) {
	r := record{Sets: c.Sets, Deletes: c.Deletes, Versions: c.Versions, Datastore: c.Datastore}
	for _, object := range c.Upserts {
		body, err := wire.Encode(object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", object.ID(), err)
		}
		r.Upserts = append(r.Upserts, entry{object.ID().Kind, body, wire.Needs(object).Names()})
	}
	body, err := wire.Encode(r)
	if err != nil {
		return nil, err
	}
	data := make([]byte, headerSize, headerSize+len(body))
	order.PutUint32(data, uint32(len(body)))
	order.PutUint32(data[4:], crc32.Checksum(body, checksum))
	return append(data, body...), nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
