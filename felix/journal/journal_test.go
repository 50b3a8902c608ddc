package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/typha/wire"
)

func host(name, addr string) *wire.Host {
	return &wire.Host{Name: name, IPv4: netip.MustParsePrefix(addr)}
}

func open(t *testing.T, path string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func appendTo(t *testing.T, j *journal.Journal, c wire.Commit) {
	t.Helper()
	if err := j.Append(c); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, want, got journal.State) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "felix", "stream")
	j := open(t, path)
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24"), host("n2", "10.0.0.2/24")}, Versions: map[string]string{"Node": "5"}})
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.9/24")}, Deletes: []wire.ID{{Kind: wire.KindHost, Name: "n2"}},
		Versions: map[string]string{"Node": "6"}})
	want := journal.State{Objects: map[wire.ID]wire.Object{{Kind: wire.KindHost, Name: "n1"}: host("n1", "10.0.0.9/24")},
		Versions: map[string]string{"Node": "6"}}
	compare(t, want, j.State())
	compare(t, want, open(t, path).State())
}

// TestSetChanges: changes of a set are part of it at once, after a restart, and after the file was replaced.
func TestSetChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	nets := func(list ...string) []netip.Prefix {
		var all []netip.Prefix
		for _, s := range list {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	port := func(n uint16) wire.PortMember {
		return wire.PortMember{Addr: netip.MustParseAddr("10.0.0.1"), Protocol: 6, Port: n}
	}
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{
		&wire.IPSet{Name: "s", Type: wire.SetNet, Nets: nets("10.0.0.1/32", "10.0.0.3/32", "fd00::/64")},
		&wire.IPSet{Name: "p", Type: wire.SetPort, Ports: []wire.PortMember{port(80), port(443)}},
		&wire.IPSet{Name: "gone", Type: wire.SetNet}}})
	appendTo(t, j, wire.Commit{Sets: []wire.SetDelta{
		{Name: "s", AddedNets: nets("10.0.0.2/32", "10.0.0.0/8"), RemovedNets: nets("10.0.0.3/32")},
		{Name: "p", AddedPorts: []wire.PortMember{port(81)}, RemovedPorts: []wire.PortMember{port(80), port(443)}},
		{Name: "gone", AddedNets: nets("10.0.0.2/32")}}})
	appendTo(t, j, wire.Commit{Sets: []wire.SetDelta{{Name: "s", AddedNets: nets("10.0.0.3/32"), RemovedNets: nets("10.0.0.2/32")}},
		Deletes: []wire.ID{{Kind: wire.KindIPSet, Name: "gone"}}})
	s := &wire.IPSet{Name: "s", Type: wire.SetNet, Nets: nets("10.0.0.0/8", "10.0.0.1/32", "10.0.0.3/32", "fd00::/64")}
	p := &wire.IPSet{Name: "p", Type: wire.SetPort, Ports: []wire.PortMember{port(81)}}
	want := journal.State{Objects: map[wire.ID]wire.Object{s.ID(): s, p.ID(): p}, Versions: map[string]string{}}
	again := open(t, path)
	compare(t, want, j.State())
	compare(t, want, again.State())
	for range 3 { // each is more than the slack: the file is replaced
		appendTo(t, j, wire.Commit{Sets: []wire.SetDelta{{Name: "s", AddedNets: nets("10.0.0.2/32")}, {Name: "s", RemovedNets: nets("10.0.0.2/32")}},
			Upserts: []wire.Object{&wire.Config{Name: "global", Values: map[string]string{"LogPrefix": string(make([]byte, 2<<20))}}},
			Deletes: []wire.ID{wire.ID{Kind: wire.KindConfig, Name: "global"}}})
	}
	compare(t, want, open(t, path).State())
	again = open(t, path)
	appendTo(t, again, wire.Commit{Sets: []wire.SetDelta{{Name: "p", AddedPorts: []wire.PortMember{port(82)}}}})
	appendTo(t, again, wire.Commit{Upserts: []wire.Object{p}}) // delivered whole again, as by another replica
	compare(t, want, again.State())
}

// TestTorn cuts the file at every length: what is read is a state that there was, and what is appended
// afterwards is read too.
func TestTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	var states []int64 // the file's size with 0, 1, 2, … hosts
	for i := range 4 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, info.Size())
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{host(fmt.Sprint("n", i), "10.0.0.1/24")}})
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for length := range len(data) + 1 {
		complete := 0
		for i, size := range append(states[1:], int64(len(data))) {
			if int64(length) >= size {
				complete = i + 1
			}
		}
		torn := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(torn, data[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, torn)
		if got := len(j.State().Objects); got != complete {
			t.Fatalf("of %d octets: %d hosts, want %d", length, got, complete)
		}
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("new", "10.0.0.1/24")}})
		if got := len(open(t, torn).State().Objects); got != complete+1 {
			t.Fatalf("after an append at %d octets: %d hosts, want %d", length, got, complete+1)
		}
	}
}

// TestDamaged changes each octet of the last record: it is not taken for another one.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24")}})
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n2", "10.0.0.2/24")}})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := int(first.Size()); i < len(data); i++ {
		damaged := filepath.Join(t.TempDir(), "damaged")
		changed := slices.Clone(data)
		changed[i] ^= 1
		if err := os.WriteFile(damaged, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := len(open(t, damaged).State().Objects); got != 1 {
			t.Fatalf("with octet %d changed: %d hosts, want 1", i, got)
		}
	}
}

// TestSize: the file stays within a few times what is in it.
func TestSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	set := &wire.IPSet{Name: "s", Type: wire.SetNet}
	for i := range 1000 {
		set.Nets = append(set.Nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
	}
	for range 1000 {
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{set}})
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("the file has %d octets after 1000 commits of one set", info.Size())
	}
	compare(t, journal.State{Objects: map[wire.ID]wire.Object{set.ID(): set}, Versions: map[string]string{}}, open(t, path).State())
}

// TestFailedWrite: what could not be written is in the file after the next Append.
func TestFailedWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "felix")
	path := filepath.Join(dir, "stream")
	j := open(t, path)
	if err := j.Close(); err != nil { // writes fail from now on
		t.Fatal(err)
	}
	if err := j.Append(wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24")}}); err == nil {
		t.Fatal("a write to a closed file succeeded")
	}
	blocked := path + ".new" // where the next one writes
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(wire.Commit{Upserts: []wire.Object{host("n2", "10.0.0.2/24")}}); err == nil {
		t.Fatal("a write to a directory succeeded")
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n3", "10.0.0.3/24")}})
	if got := len(open(t, path).State().Objects); got != 3 {
		t.Errorf("%d hosts in the file, want 3", got)
	}
}

// TestLaterRelease: what a later release wrote and this one would not understand whole is not held, nor what it takes the place of.
func TestLaterRelease(t *testing.T) {
	type entry struct {
		Kind  wire.Kind `cbor:"1,keyasint"`
		Body  []byte    `cbor:"2,keyasint"`
		Needs []string  `cbor:"3,keyasint,omitempty"`
	}
	write := func(path string, entries ...entry) {
		t.Helper()
		body, err := wire.Encode(map[int]any{1: entries})
		if err != nil {
			t.Fatal(err)
		}
		data := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		data = binary.BigEndian.AppendUint32(data, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(append(data, body...)); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(name string, needs ...string) entry {
		body, err := wire.Encode(map[int]any{1: name, 3: []map[int]any{{1: wire.Allow, 99: "only this"}}})
		if err != nil {
			t.Fatal(err)
		}
		return entry{wire.KindPolicy, body, needs}
	}
	path := filepath.Join(t.TempDir(), "stream")
	write(path, policy("changed"), policy("known", "not-icmp"), policy("later", "not-icmp", "not-yet"))
	write(path, policy("changed", "not-yet"), policy("after"))
	var names []string
	for id := range open(t, path).State().Objects {
		names = append(names, id.Name)
	}
	slices.Sort(names)
	if want := []string{"after", "known"}; !slices.Equal(names, want) {
		t.Errorf("held are %v, want %v", names, want)
	}
}

// TestNeedsAreWritten: a release that does not know a feature is to see what needs it.
func TestNeedsAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{&wire.Policy{Name: "p", Ingress: []wire.Rule{{Action: wire.Allow, NotICMP: &wire.ICMP{Type: 8}}}}}})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("not-icmp")) {
		t.Error("the feature is not in the file")
	}
	if n := len(open(t, path).State().Objects); n != 1 {
		t.Errorf("%d objects are held, want the policy", n)
	}
}

// TestDatastore: the versions are those of one datastore, after a restart and in a file that was replaced too. Records of an earlier
// release do not say of which.
func TestDatastore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	is := func(when, datastore string, versions map[string]string) {
		t.Helper()
		want := journal.State{Objects: map[wire.ID]wire.Object{}, Versions: versions, Datastore: datastore}
		t.Log(when)
		compare(t, want, j.State())
		compare(t, want, open(t, path).State())
	}
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "700"}})
	is("of an earlier release", "", map[string]string{"Node": "700"})
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "701", "Tier": "702"}, Datastore: "old"})
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "703", "Tier": "702"}, Datastore: "old"})
	is("of one that is known", "old", map[string]string{"Node": "703", "Tier": "702"})
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "5"}, Datastore: "new"})
	is("of another", "new", map[string]string{"Node": "5"})
	big := &wire.Config{Name: "global", Values: map[string]string{"LogPrefix": string(make([]byte, 2<<20))}}
	for range 3 { // each is more than the slack: the file is replaced
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{big}, Deletes: []wire.ID{big.ID()}, Versions: map[string]string{"Node": "6"}, Datastore: "new"})
		is("of a file that was replaced", "new", map[string]string{"Node": "6"})
	}
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "7"}})
	is("of one that is not known", "", map[string]string{"Node": "7"})
}
