package journal_test

import (
	"bytes"
	"encoding/binary"
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
	j := journal.Open(path)
	t.Cleanup(func() { j.Close() })
	return j
}

func appendTo(t *testing.T, j *journal.Journal, c wire.Commit) {
	t.Helper()
	j.Append(c)
	if err := j.Stale(); err != nil {
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
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24"), host("n2", "10.0.0.2/24")},
		Versions: map[string]string{"Node": "5"}})
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.9/24")},
		Deletes:  []wire.ID{{Kind: wire.KindHost, Name: "n2"}},
		Versions: map[string]string{"Node": "6"}})
	want := journal.State{Objects: map[wire.ID]wire.Object{{Kind: wire.KindHost, Name: "n1"}: host("n1",
		"10.0.0.9/24")},
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
	appendTo(t, j, wire.Commit{Sets: []wire.SetDelta{{Name: "s", AddedNets: nets("10.0.0.3/32"),
		RemovedNets: nets("10.0.0.2/32")}},
		Deletes: []wire.ID{{Kind: wire.KindIPSet, Name: "gone"}}})
	s := &wire.IPSet{Name: "s", Type: wire.SetNet, Nets: nets("10.0.0.0/8", "10.0.0.1/32", "10.0.0.3/32", "fd00::/64")}
	p := &wire.IPSet{Name: "p", Type: wire.SetPort, Ports: []wire.PortMember{port(81)}}
	want := journal.State{Objects: map[wire.ID]wire.Object{s.ID(): s, p.ID(): p}, Versions: map[string]string{}}
	again := open(t, path)
	compare(t, want, j.State())
	compare(t, want, again.State())
	for range 3 { // each is more than the slack: the file is replaced
		appendTo(t, j, wire.Commit{Sets: []wire.SetDelta{{Name: "s", AddedNets: nets("10.0.0.2/32")},
			{Name: "s", RemovedNets: nets("10.0.0.2/32")}},
			Upserts: []wire.Object{&wire.Config{Name: "global",
				Values: map[string]string{"LogPrefix": string(make([]byte, 2<<20))}}},
			Deletes: []wire.ID{wire.ID{Kind: wire.KindConfig, Name: "global"}}})
	}
	compare(t, want, open(t, path).State())
	again = open(t, path)
	appendTo(t, again, wire.Commit{Sets: []wire.SetDelta{{Name: "p", AddedPorts: []wire.PortMember{port(82)}}}})
	appendTo(t, again, wire.Commit{Upserts: []wire.Object{p}}) // delivered whole again, as by another replica
	compare(t, want, again.State())
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
	compare(t, journal.State{Objects: map[wire.ID]wire.Object{set.ID(): set}, Versions: map[string]string{}},
		open(t, path).State())
}

// TestLaterRelease: what a later release wrote and this one would not understand whole is not held, nor what it takes
// the place of.
func TestLaterRelease(t *testing.T) {
	type entry struct {
		Kind  wire.Kind `cbor:"1,keyasint"`
		Body  []byte    `cbor:"2,keyasint"`
		Needs []string  `cbor:"3,keyasint,omitempty"`
	}
	sum, file := uint32(0), bytes.NewBufferString("maneki journal 1+")
	write := func(entries ...entry) {
		t.Helper()
		body, err := wire.Encode(map[int]any{1: entries})
		if err != nil {
			t.Fatal(err)
		}
		data := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), body)
		file.Write(append(binary.BigEndian.AppendUint32(data, sum), body...))
	}
	policy := func(name string, needs ...string) entry {
		body, err := wire.Encode(map[int]any{1: name, 3: []map[int]any{{1: wire.Allow, 99: "only this"}}})
		if err != nil {
			t.Fatal(err)
		}
		return entry{wire.KindPolicy, body, needs}
	}
	path := filepath.Join(t.TempDir(), "stream")
	write(policy("changed"), policy("known", "not-icmp"), policy("later", "not-icmp", "not-yet"))
	write(policy("changed", "not-yet"), policy("after"))
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
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
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{&wire.Policy{Name: "p",
		Ingress: []wire.Rule{{Action: wire.Allow, NotICMP: &wire.ICMP{Type: 8}}}}}})
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

// TestDatastore: the versions are those of one datastore, after a restart and in a file that was replaced too. Records
// of an earlier release do not say of which.
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
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{big}, Deletes: []wire.ID{big.ID()},
			Versions: map[string]string{"Node": "6"}, Datastore: "new"})
		is("of a file that was replaced", "new", map[string]string{"Node": "6"})
	}
	appendTo(t, j, wire.Commit{Versions: map[string]string{"Node": "7"}})
	is("of one that is not known", "", map[string]string{"Node": "7"})
}
