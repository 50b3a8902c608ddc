package speaker

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// statics are routes that a BIRD announces.
func statics(list ...string) string {
	var v4, v6 strings.Builder
	for _, dst := range list {
		out := &v4
		if strings.Contains(dst, ":") {
			out = &v6
		}
		fmt.Fprintf(out, "route %s blackhole; ", dst)
	}
	return fmt.Sprintf("protocol static s4 { ipv4; %s}\nprotocol static s6 { ipv6; %s}\n", v4.String(), v6.String())
}

// internal is BIRD's side of a session within AS 64512, over which it says that its routes are the best of all.
func internal(name, peer, channel string) string {
	return strings.Replace(external(name, 64512, peer, 64512, channel), "export where source = RTS_STATIC",
		"export filter { if source != RTS_STATIC then reject; bgp_local_pref = 4000000000; accept; }", 1)
}

// nodePeers are the sessions from host 1 to other hosts, which are nodes n2, n3, …
func nodePeers(hosts ...int) (list []bgp.Peer) {
	for _, host := range hosts {
		for _, p := range peers(1, host, 64512) {
			p.Node = fmt.Sprintf("n%d", host)
			list = append(list, p)
		}
	}
	return list
}

func destinations(r report) string {
	var list []string
	for _, route := range r.Routes {
		list = append(list, fmt.Sprintf("%s via %v", route.Dst, route.NextHops))
	}
	return strings.Join(list, "\n")
}

// waitRoutes waits until exactly these routes are learned.
func (p *process) waitRoutes(what string, want ...string) {
	p.t.Helper()
	p.wait(what+":\n"+strings.Join(want, "\n"), func(r report) bool {
		return destinations(r) == strings.Join(want,
			"\n")
	})
}

// TestWhatANodeMayAnnounce: of a node's routes those are taken that IPAM has on it. One that announces the block of
// another node, as the best of all ways, does not take the block from it, and a change of IPAM shows without a new
// session.
func TestWhatANodeMayAnnounce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	rogue := l.bird(2, statics("10.244.2.0/26", "10.244.1.200/32", "10.244.3.0/26", "10.244.3.7/32", "10.244.9.0/26",
		"10.244.0.0/16",
		"192.0.2.0/24", "0.0.0.0/0", "0.0.0.0/1", "fd00:244:2::/122", "fd00:244:3::/122", "2001:db8::/32", "::/0")+
		internal("v4", "10.91.0.1", "ipv4")+internal("v6", "fd91::1", "ipv6"))
	l.bird(3, statics("10.244.3.0/26", "fd00:244:3::/122")+external("v4", 64512, "10.91.0.1", 64512, "ipv4")+
		external("v6", 64512, "fd91::1", 64512, "ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.1.0/26")
	c.Pools = parsePrefixes("10.244.0.0/16", "fd00:244::/32")
	c.Peers = nodePeers(2, 3)
	c.Confirmed = map[string][]netip.Prefix{"n2": parsePrefixes("10.244.1.200/32", "10.244.2.0/26", "fd00:244:2::/122"),
		"n3": parsePrefixes("10.244.3.0/26", "fd00:244:3::/122")}
	node.configure(c)
	own := []string{"10.244.1.200/32 via [10.91.0.2]", "10.244.2.0/26 via [10.91.0.2]", "10.244.3.0/26 via [10.91.0.3]",
		"fd00:244:2::/122 via [fd91::2]", "fd00:244:3::/122 via [fd91::3]"}
	node.waitRoutes("each node has its own", own...)

	before := rogue.show("show protocols")
	moved := c
	moved.Confirmed = map[string][]netip.Prefix{"n2": parsePrefixes("10.244.2.0/26", "10.244.3.0/26",
		"fd00:244:2::/122"),
		"n3": parsePrefixes("fd00:244:3::/122")}
	node.configure(moved)
	node.waitRoutes("a block has moved and an address was given back", "10.244.2.0/26 via [10.91.0.2]",
		"10.244.3.0/26 via [10.91.0.2]",
		"fd00:244:2::/122 via [fd91::2]", "fd00:244:3::/122 via [fd91::3]")
	node.configure(c)
	node.waitRoutes("all is as before", own...)
	if after := rogue.show("show protocols"); after != before {
		t.Errorf("sessions changed from\n%s\nto\n%s", before, after)
	}

	// A pool more; nothing of it is confirmed.
	wider := c
	wider.Pools = parsePrefixes("10.244.0.0/16", "192.0.2.0/24", "fd00:244::/32")
	wider.Peers = nodePeers(2, 3)
	wider.Peers[0].Import = []wire.BGPRule{{CIDR: netip.MustParsePrefix("10.244.0.0/16"), MinLength: 16, MaxLength: 32},
		{CIDR: netip.MustParsePrefix("192.0.2.0/24"), MinLength: 24, MaxLength: 32}}
	node.configure(wider)
	node.waitRoutes("a filter accepts nothing in the pools", own...)
	narrow := wider
	narrow.Pools = c.Pools
	node.configure(narrow)
	node.waitRoutes("a filter accepts what is outside the pools",
		append(own[:3:3], append([]string{"192.0.2.0/24 via [10.91.0.2]"}, own[3:]...)...)...)
}

// TestWhatAReflectorMayAnnounce: it passes on what is in the pools, and outside them what a filter accepts.
func TestWhatAReflectorMayAnnounce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.bird(2, statics("10.244.2.0/26", "10.244.3.0/26", "192.0.2.0/24", "198.51.100.0/24", "0.0.0.0/0",
		"2001:db8::/32")+
		internal("v4", "10.91.0.1", "ipv4")+internal("v6", "fd91::1", "ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.1.0/26")
	c.Pools = parsePrefixes("10.244.0.0/16")
	c.Peers = nodePeers(2)
	for i := range c.Peers {
		c.Peers[i].Reflector = true
	}
	c.Peers[0].Import = []wire.BGPRule{{CIDR: netip.MustParsePrefix("198.51.100.0/24"), MinLength: 24, MaxLength: 24}}
	node.configure(c)
	node.wait("both sessions are in sync", func(r report) bool { return r.Status.Synced })
	node.waitRoutes("pools and filter", "10.244.2.0/26 via [10.91.0.2]", "10.244.3.0/26 via [10.91.0.2]",
		"198.51.100.0/24 via [10.91.0.2]")
}

// TestWhatNobodyMayAnnounce: from a router outside anything is taken, a default route too, that leads somewhere.
func TestWhatNobodyMayAnnounce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router, node := l.speaker(2), l.speaker(1)
	c2 := config(2, 65002, "0.0.0.0/0", "0.0.0.0/8", "0.0.0.0/32", "127.0.0.0/8", "127.0.0.53/32", "169.254.0.0/16",
		"169.254.1.1/32",
		"224.0.0.0/4", "239.1.2.3/32", "255.255.255.255/32", "192.0.2.0/24", "240.1.0.0/24", "::/0", "::1/128",
		"::/128", "::ffff:10.0.0.0/104", "fe80::/10", "fe80::/64", "ff00::/8", "2001:db8::/32")
	c2.Peers = peers(2, 1, 64512)
	c := config(1, 64512, "10.244.1.0/26")
	c.Pools = parsePrefixes("10.244.0.0/16")
	c.Peers = peers(1, 2, 65002)
	router.configure(c2)
	node.configure(c)
	node.wait("both sessions are in sync", func(r report) bool { return r.Status.Synced })
	node.waitRoutes("what leads somewhere", "0.0.0.0/0 via [10.91.0.2]", "192.0.2.0/24 via [10.91.0.2]",
		"240.1.0.0/24 via [10.91.0.2]",
		"::/0 via [fd91::2]", "2001:db8::/32 via [fd91::2]")
}

// TestNothingListensWithoutPeers: a speaker that needs no session is no target. It starts and stops with its peers.
func TestNothingListensWithoutPeers(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+external("v4", 65002, "10.91.0.1", 64512, "ipv4"))
	node := l.speaker(1)
	idle := config(1, 64512, "10.244.0.0/26")
	idle.Off = "no pool needs it"
	busy := idle
	busy.Off, busy.Peers = "", peers(1, 2, 65002)[:1]
	listens := func() bool {
		return strings.Contains(l.output("ip", "netns", "exec", l.ns("1"), "ss", "-Hltn"), ":179 ")
	}
	for range 2 {
		node.configure(idle)
		node.wait("the speaker says why it is off", func(r report) bool {
			return r.Status.Off == idle.Off &&
				len(r.Status.Peers) == 0
		})
		if listens() {
			t.Fatal("the speaker listens without a peer")
		}
		node.configure(busy)
		router.waitRoute("10.244.0.0/26", "10.91.0.1")
		node.wait("the router's route is learned", func(r report) bool {
			return r.Status.Off == "" && hasRoute(r, "172.31.0.0/24", hostAddr(2, 4))
		})
		if !listens() {
			t.Fatal("the speaker does not listen for its peer")
		}
	}
	node.configure(idle)
	node.wait("the routes are gone", func(r report) bool { return r.Status.Off == idle.Off && len(r.Routes) == 0 })
}
