package speaker

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestExchangeWithBIRD(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+
		external("v4", 65002, "10.91.0.1", 64512, "ipv4")+external("v6", 65002, "fd91::1", 64512, "ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26", "fd00:244::/122")
	c.Peers = peers(1, 2, 65002)
	node.configure(c)

	router.waitRoute("10.244.0.0/26", "10.91.0.1")
	router.waitRoute("fd00:244::/122", "fd91::1")
	r := node.wait("both families are learned and synced", func(r report) bool {
		return hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) && hasRoute(r, "fd31::/64", hostAddr(2, 6)) &&
			r.Status.Synced &&
			len(r.Status.Peers) == 2 && r.Status.Peers[0].Imported == 1 && r.Status.Peers[1].Imported == 1
	})
	for _, peer := range r.Status.Peers {
		if peer.State != bgp.Established || peer.Name != "peer-2" || peer.Type != "BGPPeer" || peer.ASNumber != 65002 ||
			peer.Since.IsZero() {
			t.Errorf("status of peer %+v", peer)
		}
	}
	t.Logf("resident memory of the test binary with a speaker: %d kB, of this one, without: %d kB", r.Resident,
		resident())

	// A new block, a new peer and a block that goes away leave the sessions alone.
	before := router.show("show protocols v4") + router.show("show protocols v6")
	c.Announce = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/26"), netip.MustParsePrefix("fd00:244::/122")}
	c.Peers = append(c.Peers, bgp.Peer{LocalAddr: hostAddr(1, 4), BGPPeer: wire.BGPPeer{Name: "nobody",
		Addr: netip.MustParseAddr("10.91.0.99"), Port: 179, ASNumber: 65099, MaxRestartSeconds: 120}})
	node.configure(c)
	router.waitRoute("10.244.1.0/26", "10.91.0.1")
	router.wait("the old block is withdrawn", "show route 10.244.0.0/26",
		func(s string) bool { return !strings.Contains(s, "10.91.0.1") })
	if after := router.show("show protocols v4") + router.show("show protocols v6"); after != before {
		t.Errorf("sessions changed from\n%s\nto\n%s", before, after)
	}

	// What the router withdraws goes; what it announces of the node's own stays out.
	router.do("disable s4")
	node.wait("the route is withdrawn", func(r report) bool { return hasRoute(r, "172.31.0.0/24") })
	router.do("enable s4")
	node.wait("the route is back", func(r report) bool { return hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) })
	c.Announce = append(c.Announce, netip.MustParsePrefix("172.31.0.0/24"))
	node.configure(c)
	node.wait("a learned route gives way to the node's own",
		func(r report) bool { return hasRoute(r, "172.31.0.0/24") })

	// Off means withdrawn at once.
	node.configure(bgp.Config{})
	router.wait("all is withdrawn", "show route", func(s string) bool {
		return !strings.Contains(s, "10.91.0.1") &&
			!strings.Contains(s, "fd91::1")
	})
	node.wait("nothing is left", func(r report) bool { return len(r.Routes) == 0 && len(r.Status.Peers) == 0 })
}

// Two speakers with AS numbers of their own and two routers that announce the same destination.
func TestMeshAndSeveralNextHops(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	for _, host := range []int{3, 4} {
		l.bird(host, static("172.31.0.0/24", "fd31::/64")+external("a", 65000, "10.91.0.1", 65001, "ipv4"))
	}
	one, two := l.speaker(1), l.speaker(2)
	c1, c2 := config(1, 65001, "10.244.1.0/26", "fd00:244:1::/122"), config(2, 65002, "10.244.2.0/26")
	c1.Peers = append(peers(1, 2, 65002), peers(1, 3, 65000)[0], peers(1, 4, 65000)[0])
	c2.Peers = peers(2, 1, 65001)
	one.configure(c1)
	two.configure(c2)
	one.wait("the other node's block and both ways out are learned", func(r report) bool {
		return hasRoute(r, "10.244.2.0/26", hostAddr(2, 4)) &&
			hasRoute(r, "172.31.0.0/24", hostAddr(3, 4), hostAddr(4, 4))
	})
	two.wait("the node's blocks are learned, and not what it learned", func(r report) bool {
		return hasRoute(r, "10.244.1.0/26", hostAddr(1, 4)) && hasRoute(r, "fd00:244:1::/122", hostAddr(1, 6)) &&
			r.Status.Synced && len(r.Routes) == 2
	})
	// Any later announcement would come behind this one.
	c1.Announce = append(c1.Announce, netip.MustParsePrefix("10.244.9.0/26"))
	one.configure(c1)
	two.wait("the new block is learned", func(r report) bool { return hasRoute(r, "10.244.9.0/26", hostAddr(1, 4)) })
	if !hasRoute(two.last, "172.31.0.0/24") {
		t.Errorf("a route learned from a router was passed on: %+v", two.last.Routes)
	}
}

func TestRouteReflector(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	client := l.bird(3, static("10.244.3.0/26", "fd00:244:3::/122")+
		external("reflector", 64512, "10.91.0.1", 64512, "ipv4")+
		"protocol static foreign { ipv4; route 172.31.0.0/24 blackhole; }\n")
	reflector, node := l.speaker(1), l.speaker(2)
	c1, c2 := config(1, 64512), config(2, 64512, "10.244.2.0/26")
	c1.PassOn = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	for _, peer := range []bgp.Peer{peers(1, 2, 64512)[0], peers(1, 3, 64512)[0]} {
		peer.RouteReflectorPeer, peer.ClusterID = true, "1.0.0.1"
		c1.Peers = append(c1.Peers, peer)
	}
	c2.Peers = peers(2, 1, 64512)[:1]
	reflector.configure(c1)
	node.configure(c2)
	node.wait("the client's block is reflected", func(r report) bool {
		return hasRoute(r, "10.244.3.0/26",
			hostAddr(3, 4))
	})
	client.waitRoute("10.244.2.0/26", "10.91.0.2")
	reflector.wait("the route outside the pools is learned",
		func(r report) bool { return hasRoute(r, "172.31.0.0/24", hostAddr(3, 4)) })
	if !hasRoute(node.last, "172.31.0.0/24") {
		t.Errorf("a route outside the pools was reflected: %+v", node.last.Routes)
	}
}

// The speaker is killed; two routers keep its routes while it is away and after it is back. One of
// them is reached only when the restart is over for the other.
func TestGracefulRestart(t *testing.T) {
	t.Parallel()
	for name, listenOn := range map[string][]netip.Addr{"every address": nil,
		"node's addresses": {hostAddr(1, 4), hostAddr(1, 6)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testGracefulRestart(t, listenOn)
		})
	}
}

func testGracefulRestart(t *testing.T, listenOn []netip.Addr) {
	l := newLab(t, 3)
	var routers []*bird
	for _, host := range []int{2, 3} {
		routers = append(routers, l.bird(host, static("172.31.0.0/24", "fd31::/64")+
			external("v4", 65000, "10.91.0.1", 64512, "ipv4")+external("v6", 65000, "fd91::1", 64512, "ipv6")))
	}
	c := config(1, 64512, "10.244.0.0/26", "fd00:244::/122")
	c.Peers = append(peers(1, 2, 65000), peers(1, 3, 65000)...)
	c.ListenOn = listenOn
	node := l.speaker(1)
	node.configure(c)
	var changes []*syncBuffer
	for i, router := range routers {
		router.waitRoute("10.244.0.0/26", "10.91.0.1")
		router.waitRoute("fd00:244::/122", "fd91::1")
		changes = append(changes, l.watchRoutes(i+2))
	}

	kill(node.cmd)
	for _, router := range routers {
		router.wait("BIRD sees the session go", "show protocols all v4",
			func(s string) bool { return !strings.Contains(s, "Established") })
		router.waitRoute("10.244.0.0/26", "10.91.0.1")
	}
	l.unplug(3)
	node = l.speaker(1)
	node.configure(c)
	node.wait("the first router's routes are learned", func(r report) bool {
		return hasRoute(r, "172.31.0.0/24",
			hostAddr(2, 4))
	})
	routers[0].wait("the first router has our routes again", "show protocols all v4", announcedAgain)
	if node.last.Status.Synced {
		t.Errorf("synced without the second router: %+v", node.last.Status)
	}
	l.plug(3)
	node.wait("the second router is back", func(r report) bool {
		return r.Status.Synced && hasRoute(r, "172.31.0.0/24", hostAddr(2, 4), hostAddr(3, 4))
	})
	for i, router := range routers {
		for _, family := range []string{"v4", "v6"} {
			router.wait("BIRD has our routes again", "show protocols all "+family, announcedAgain)
		}
		router.waitRoute("10.244.0.0/26", "10.91.0.1")
		router.waitRoute("fd00:244::/122", "fd91::1")
		if seen := changes[i].String(); strings.Contains(seen, "Deleted 10.244") ||
			strings.Contains(seen, "Deleted fd00:244") {
			t.Errorf("the kernel of host %d lost a route:\n%s", i+2, seen)
		}
	}
}

// announcedAgain says whether BIRD's protocol has received its one route again.
func announcedAgain(protocol string) bool {
	for line := range strings.Lines(protocol) {
		if counts, ok := strings.CutPrefix(strings.TrimSpace(line), "Import updates:"); ok {
			return strings.Fields(counts)[0] >= "2"
		}
	}
	return false
}

// A router is killed; the speaker keeps its routes until it is back, and drops what it no longer has.
func TestGracefulRestartOfPeer(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+
		"protocol static extra { ipv4; route 172.31.1.0/24 blackhole; }\n"+
		external("v4", 65002, "10.91.0.1", 64512, "ipv4"))
	c := config(1, 64512, "10.244.0.0/26")
	c.Peers = peers(1, 2, 65002)[:1]
	node := l.speaker(1)
	node.configure(c)
	node.wait("both routes are learned", func(r report) bool {
		return r.Status.Synced && hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) &&
			hasRoute(r, "172.31.1.0/24", hostAddr(2, 4))
	})
	kill(router.cmd)
	node.wait("the session is down", func(r report) bool { return r.Status.Peers[0].State != bgp.Established })
	if !hasRoute(node.last, "172.31.0.0/24", hostAddr(2, 4)) || !hasRoute(node.last, "172.31.1.0/24", hostAddr(2, 4)) {
		t.Errorf("routes were dropped with the session: %+v", node.last.Routes)
	}
	text, err := os.ReadFile(router.config)
	if err != nil {
		t.Fatal(err)
	}
	less := strings.Replace(string(text), "route 172.31.1.0/24 blackhole;", "", 1)
	if err := os.WriteFile(router.config, []byte(less), 0o600); err != nil {
		t.Fatal(err)
	}
	router.restart("-R")
	node.wait("the router is back without one route", func(r report) bool {
		if !hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) {
			t.Fatalf("a route that stayed was dropped: %+v", r)
		}
		return hasRoute(r, "172.31.1.0/24")
	})
}

// A session with another local AS number and TTL security on both sides.
func TestSessionSettings(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, external("v4", 65002, "10.91.0.1", 65011, "ttl security on; ipv4")+
		external("v6", 65002, "fd91::1", 65011, "ttl security on; ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26", "fd00:244::/122")
	for _, peer := range peers(1, 2, 65002) {
		peer.LocalASNumber, peer.TTLSecurity = 65011, 1
		c.Peers = append(c.Peers, peer)
	}
	node.configure(c)
	router.waitRoute("10.244.0.0/26", "10.91.0.1")
	router.waitRoute("fd00:244::/122", "fd91::1")
}

func TestBusyPortIsReportedAndRetried(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	first, second := l.speaker(1), l.speaker(1)
	c := config(1, 64512)
	c.Peers = peers(1, 2, 64512)
	first.configure(c)
	first.wait("the port is taken", func(r report) bool { return r.Status.ASNumber == 64512 })
	second.configure(c)
	second.wait("the failure is reported", func(r report) bool { return strings.Contains(r.Status.Error, "port 179") })
	kill(first.cmd)
	second.wait("the port is free again", func(r report) bool {
		return r.Status.Error == "" &&
			r.Status.ASNumber == 64512
	})
}

// TestFilters rejects one of two routes in each direction, changes the one that is accepted, and then takes the filters
// away.
func TestFilters(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+
		`protocol static marked { ipv4; route 172.31.1.0/24 blackhole { bgp_community.add((65002,7)); }; }
protocol static longer { ipv4; route 172.32.0.0/25 blackhole { bgp_large_community.add((65002,7,9)); }; }
`+external("v4", 65002, "10.91.0.1", 64512, "ipv4")+external("v6", 65002, "fd91::1", 64512, "ipv6"))
	node := l.speaker(1)
	unfiltered := config(1, 64512, "10.244.0.0/26", "10.245.0.0/26", "fd00:244::/122")
	unfiltered.Peers = peers(1, 2, 65002)
	filtered := unfiltered
	filtered.Peers = peers(1, 2, 65002)
	filtered.Peers[0].Import = []wire.BGPRule{
		{Community: "65002:7", ASPathPrefix: []uint32{65002}},
		{Reject: true, Community: "65002:7:9"},
		{Reject: true, CIDR: netip.MustParsePrefix("172.31.0.0/16"), MinLength: 24, MaxLength: 32},
	}
	filtered.Peers[0].Export = []wire.BGPRule{
		{Reject: true, CIDR: netip.MustParsePrefix("10.244.0.0/16"), MinLength: 16, MaxLength: 32, NotCIDR: true},
		{Reject: true, Learned: true},
		{AddCommunities: []string{"64512:100", "64512:1:2"}, PrependASPath: []uint32{65010, 65011}},
	}
	node.configure(filtered)

	router.waitRoute("10.244.0.0/26", "10.91.0.1")
	router.wait("the path and the communities", "show route all for 10.244.0.0/26", func(s string) bool {
		return strings.Contains(s, "64512 65010 65011 64512") && strings.Contains(s, "(64512,100)") &&
			strings.Contains(s, "(64512, 1, 2)")
	})
	router.waitRoute("fd00:244::/122", "fd91::1")
	all := func(r report) bool {
		return hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) && hasRoute(r, "172.31.1.0/24", hostAddr(2, 4)) &&
			hasRoute(r, "172.32.0.0/25", hostAddr(2, 4))
	}
	node.wait("what the filter accepts, and the other family, are learned", func(r report) bool {
		return r.Status.Synced && hasRoute(r, "172.31.1.0/24", hostAddr(2, 4)) &&
			hasRoute(r, "fd31::/64", hostAddr(2, 6))
	})
	if r := node.last; !hasRoute(r, "172.31.0.0/24") || !hasRoute(r, "172.32.0.0/25") {
		t.Errorf("a route that the import filter rejects was learned: %+v", r.Routes)
	}
	if s := router.show("show route for 10.245.0.0/26"); strings.Contains(s, "10.91.0.1") {
		t.Errorf("a route that the export filter rejects was sent:\n%s", s)
	}

	node.configure(unfiltered)
	node.wait("everything is learned without filters", all)
	router.waitRoute("10.245.0.0/26", "10.91.0.1")
	node.configure(filtered)
	node.wait("filters reject what was learned before", func(r report) bool {
		return hasRoute(r, "172.31.0.0/24") && hasRoute(r, "172.31.1.0/24", hostAddr(2, 4))
	})
	router.wait("filters withdraw what was sent before", "show route for 10.245.0.0/26",
		func(s string) bool { return !strings.Contains(s, "10.91.0.1") })
}
