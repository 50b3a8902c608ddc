package iface

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestFollowsEvents: what events tell is what reading everything again would.
func TestFollowsEvents(t *testing.T) {
	kerneltest.Enter(t)
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	kerneltest.Run(t, "ip link add lan0 type bridge")
	kerneltest.Run(t, "ip addr add 10.1.0.1/24 dev lan0")
	s := New(handle)
	if listed, err := s.Apply(t.Context()); err != nil || !listed {
		t.Fatal(listed, err)
	}
	index := func(name string) int {
		link, err := handle.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().Index
	}
	lan0, prefix := index("lan0"), netip.MustParsePrefix
	addr := netip.MustParseAddr
	for _, step := range []struct {
		command string
		event   func() dataplane.Event
		has     map[string]string // an address and the interface that has it
	}{
		{"ip addr add fd01::1/64 dev lan0 nodad", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventAddr, Index: lan0, Dst: prefix("fd01::1/64")}
		}, map[string]string{"fd01::1": "lan0", "10.1.0.1": "lan0", "10.1.0.2": ""}},
		{"ip link add lan1 type bridge", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventLink, Index: index("lan1"), Device: "lan1"}
		}, nil},
		{"ip addr add 10.1.0.1/32 dev lan1", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventAddr, Index: index("lan1"), Dst: prefix("10.1.0.1/32")}
		}, map[string]string{"10.1.0.1": "lan0"}},
		{"ip addr del 10.1.0.1/24 dev lan0", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventAddr, Deleted: true, Index: lan0, Dst: prefix("10.1.0.1/24")}
		}, map[string]string{"10.1.0.1": "lan1"}},
		{"ip link set lan0 name wan0", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventLink, Index: lan0, Device: "wan0"}
		}, map[string]string{"fd01::1": "wan0"}},
		{"ip addr flush dev wan0", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventAddr, Deleted: true, Index: lan0, Dst: prefix("fd01::1/64")}
		}, map[string]string{"fd01::1": ""}},
		{"ip link del wan0", func() dataplane.Event {
			return dataplane.Event{Kind: dataplane.EventLink, Deleted: true, Index: lan0, Device: "wan0"}
		}, nil},
	} {
		kerneltest.Run(t, step.command)
		event := step.event()
		if !s.Observe(event) || s.Observe(event) {
			t.Errorf("%s: the event tells nothing, or twice", step.command)
		}
		for a, device := range step.has {
			if got := s.WithAddr(addr(a)); got != device {
				t.Errorf("%s: %s is of %q, want %q", step.command, a, got, device)
			}
		}
		read := New(handle)
		if _, err := read.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		linkLocal := func(a netip.Addr, _ map[int]bool) bool { return a.IsLinkLocalUnicast() }
		if diff := cmp.Diff(read, s, cmp.AllowUnexported(Interfaces{}), cmpopts.IgnoreFields(Interfaces{}, "kernel"),
			cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreMapEntries(linkLocal)); diff != "" {
			t.Errorf("%s (-read +followed):\n%s", step.command, diff)
		}
	}
	for name, want := range map[string]bool{"lan0": true, "lan1": false} {
		if got := slices.Contains(s.AddrsBut(name), addr("10.1.0.1")); got != want {
			t.Errorf("10.1.0.1 is an address without those of %s: %v, want %v", name, got, want)
		}
	}
	if !s.Exists("lan1") || s.Exists("wan0") || s.Exists("lan0") {
		t.Error("interfaces are there that are not, or the other way round")
	}
	if listed, err := s.Apply(t.Context()); err != nil || listed {
		t.Errorf("what is known is listed again: %v, %v", listed, err)
	}
	acts := s.Observe(dataplane.Event{Kind: dataplane.EventLost})
	if listed, err := s.Apply(t.Context()); !acts || err != nil || !listed || !s.Exists("lan1") {
		t.Error("after events were lost it is not read again")
	}
}
