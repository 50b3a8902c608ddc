package routing_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestLearnedAgainstIPAM: which learned routes are programmed, by their next hops. n2 is at 172.30.0.12, n3 at
// 172.31.0.13 behind a router, 172.30.0.1, and n4, at 172.30.0.14, is a route reflector without a block.
func TestLearnedAgainstIPAM(t *testing.T) {
	const direct, routed = " via 172.30.0.12 dev eth0", " via 172.30.0.1 dev eth0"
	for _, c := range []struct {
		name, dst string
		next      []string
		want      string // after the destination; empty if refused
		refusal   string
	}{
		{"the node's block", "10.65.2.0/26", []string{"172.30.0.12"}, direct, ""},
		{"the block of a node behind a router", "10.65.3.0/26", []string{"172.31.0.13"}, routed, ""},
		{"a block by way of a router", "10.65.3.0/26", []string{"172.30.0.1"}, routed, ""},
		{"another node's block", "10.65.3.0/26", []string{"172.30.0.12"}, "",
			"IPAM has it on node n3 and not on the one with the next hop 172.30.0.12"},
		{"both say that it is theirs", "10.65.2.0/26", []string{"172.30.0.12", "172.31.0.13"}, direct, ""},
		{"a reflector's next hop", "10.65.2.0/26", []string{"172.30.0.14"}, "", "IPAM has it on node n2"},
		{"a borrowed address", "10.65.1.9/32", []string{"172.30.0.12"}, direct, ""},
		{"a borrowed address elsewhere", "10.65.1.9/32", []string{"172.31.0.13"}, "", "IPAM has it on node n2"},
		{"an address of the node's own block", "10.65.1.10/32", []string{"172.30.0.12"}, "",
			"it is part of a block and IPAM has it on no node"},
		{"an address of another block, from a router", "10.65.2.7/32", []string{"172.30.0.1"}, "",
			"it is part of a block"},
		{"half a block", "10.65.2.0/27", []string{"172.30.0.12"}, "", "it is part of a block"},
		{"a block that nobody has", "10.65.9.0/26", []string{"172.30.0.12"}, "", "IPAM has it on no node"},
		{"a block that nobody has, from a router", "10.65.9.0/26", []string{"172.30.0.1"}, routed, ""},
		{"the pool, from a node", "10.65.0.0/16", []string{"172.30.0.12"}, "", "IPAM has it on no node"},
		{"the pool, from a router", "10.65.0.0/16", []string{"172.30.0.1"}, routed, ""},
		{"beside the pools", "192.0.2.0/24", []string{"172.30.0.12"}, direct, ""},
		{"more than the pools", "10.0.0.0/8", []string{"172.30.0.1"}, routed, ""},
		{"by way of a pod", "192.0.2.0/24", []string{"10.65.2.7"}, "", "the next hop 10.65.2.7 is an address of pods"},
		{"a pool by way of a pod", "10.65.0.0/16", []string{"10.65.2.7"}, "",
			"the next hop 10.65.2.7 is an address of pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(wire.Pool{})
			in.Hosts["n4"] = &wire.Host{Name: "n4", IPv4: prefix("172.30.0.14/24"), RouteReflectorClusterID: "1.0.0.1"}
			in.Routes = append(in.Routes, &wire.Route{Dst: prefix("10.65.1.9/32"), Node: "n2", Pool: "p"})
			in.Underlay = append(in.Underlay, via("0.0.0.0/0", "via 172.30.0.1 dev eth0"))
			learned := bgp.Route{Dst: prefix(c.dst)}
			for _, next := range c.next {
				learned.NextHops = append(learned.NextHops, addr(next))
			}
			in.Learned = []bgp.Route{learned}
			out := routing.Compute(in)
			got := slices.DeleteFunc(show(table(in, out, own).Routes()),
				func(line string) bool { return slices.Contains(local, line) })
			var want []string
			if c.want != "" {
				want = []string{c.dst + c.want + " proto 12"}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			refused := strings.Join(out.Refused, "\n")
			if (refused == "") != (c.refusal == "") || !strings.Contains(refused, c.refusal) {
				t.Errorf("refused %q, want %q", refused, c.refusal)
			}
		})
	}
}

// TestRelays: a route reflector that is to make itself the next hop may.
func TestRelays(t *testing.T) {
	in := input(wire.Pool{})
	in.Hosts["n4"] = &wire.Host{Name: "n4", IPv4: prefix("172.30.0.14/24"), RouteReflectorClusterID: "1.0.0.1"}
	in.Learned = []bgp.Route{{Dst: prefix("10.65.2.0/26"), NextHops: []netip.Addr{addr("172.30.0.14")}}}
	in.Relays = []netip.Addr{addr("172.30.0.14")}
	want := append(slices.Clone(local), "10.65.2.0/26 via 172.30.0.14 dev eth0 proto 12")
	if diff := cmp.Diff(want, show(desired(in))); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// TestListsAreBounded: a peer that announces many routes that go nowhere does not fill the status and the log.
func TestListsAreBounded(t *testing.T) {
	in := input(wire.Pool{})
	for i := range 1000 {
		in.Learned = append(in.Learned,
			bgp.Route{Dst: prefix(fmt.Sprintf("10.65.%d.%d/32", 2, i%64)), NextHops: []netip.Addr{addr("172.30.0.1")}},
			bgp.Route{Dst: prefix(fmt.Sprintf("192.0.%d.%d/32", i/256, i%256)),
				NextHops: []netip.Addr{addr("172.31.0.13")}})
	}
	out := routing.Compute(in)
	for name, list := range map[string][]string{"refused": out.Refused, "unresolved": out.Unresolved} {
		if n := len(list); n != 101 || list[100] != "and 900 more" {
			t.Errorf("%d lines of %s, the last %q", n, name, list[n-1])
		}
	}
}
