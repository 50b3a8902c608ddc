package speaker

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestSourceOfTheKernel: without an address of its own end a session has the one that the host's route to the peer
// says.
func TestSourceOfTheKernel(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.ip("-n", l.ns("1"), "addr", "add", "10.91.0.101/24", "dev", "eth0")
	l.ip("-n", l.ns("1"), "addr", "add", "fd91::101/64", "dev", "eth0", "nodad")
	l.ip("-n", l.ns("1"), "route", "add", "10.91.0.2/32", "dev", "eth0", "src", "10.91.0.101")
	l.ip("-n", l.ns("1"), "route", "add", "fd91::2/128", "dev", "eth0", "src", "fd91::101")
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+
		external("v4", 65002, "10.91.0.101", 64512, "ipv4")+external("v6", 65002, "fd91::101", 64512, "ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26", "fd00:244::/122")
	c.Peers = peers(1, 2, 65002)
	for i := range c.Peers {
		c.Peers[i].LocalAddr = netip.Addr{}
	}
	node.configure(c)
	router.waitRoute("10.244.0.0/26", "10.91.0.101")
	router.waitRoute("fd00:244::/122", "fd91::101")
	node.wait("both families are learned", func(r report) bool {
		return hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) && hasRoute(r, "fd31::/64", hostAddr(2, 6))
	})
}

// TestOwnASInPath: a route whose path has the node's AS number is taken as often as is allowed.
func TestOwnASInPath(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.bird(2, `protocol static never { ipv4; route 172.31.0.0/24 blackhole; }
protocol static once { ipv4; route 172.31.1.0/24 blackhole { bgp_path.prepend(64512); }; }
protocol static twice { ipv4; route 172.31.2.0/24 blackhole { bgp_path.prepend(64512); bgp_path.prepend(64512); }; }
`+external("v4", 65002, "10.91.0.1", 64512, "ipv4"))
	node := l.speaker(1)
	for _, allowed := range []uint8{0, 1, 2, 1} {
		c, want := config(1, 64512), 1+int(allowed)
		c.Peers = peers(1, 2, 65002)[:1]
		c.Peers[0].AllowedLocalAS = allowed
		node.configure(c)
		node.wait("the routes are those allowed", func(r report) bool {
			for i, dst := range []string{"172.31.0.0/24", "172.31.1.0/24", "172.31.2.0/24"} {
				if hasRoute(r, dst, hostAddr(2, 4)) != (i < want) {
					return false
				}
			}
			return r.Status.Synced && len(r.Status.Peers) == 1 && r.Status.Peers[0].State == bgp.Established
		})
	}
}

// TestNextHopSelf: a route reflector puts itself in the way to one client, and not to the other.
func TestNextHopSelf(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	client := l.bird(3, static("10.244.3.0/26", "fd00:244:3::/122")+external("v4", 64512, "10.91.0.1", 64512, "ipv4")+
		external("v6", 64512, "fd91::1", 64512, "ipv6"))
	reflector, node := l.speaker(1), l.speaker(2)
	c1, c2 := config(1, 64512), config(2, 64512, "10.244.2.0/26", "fd00:244:2::/122")
	c1.PassOn = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}
	for _, peer := range append(peers(1, 2, 64512), peers(1, 3, 64512)...) {
		peer.RouteReflectorPeer, peer.ClusterID = true, "1.0.0.1"
		peer.NextHopSelf = peer.Name == "peer-2"
		c1.Peers = append(c1.Peers, peer)
	}
	c2.Peers = peers(2, 1, 64512)
	reflector.configure(c1)
	node.configure(c2)
	node.wait("the client's blocks are reflected by way of the reflector", func(r report) bool {
		return hasRoute(r, "10.244.3.0/26", hostAddr(1, 4)) && hasRoute(r, "fd00:244:3::/122", hostAddr(1, 6))
	})
	client.waitRoute("10.244.2.0/26", "10.91.0.2")
	client.waitRoute("fd00:244:2::/122", "fd91::2")
}

// TestAdvertisements: communities are added to the routes of a network, before the filters see them, and taken away
// again.
func TestAdvertisements(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	router := l.bird(2, external("v4", 65002, "10.91.0.1", 64512, "ipv4")+
		external("v6", 65002, "fd91::1", 64512, "ipv6"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26", "10.245.0.0/26", "10.246.0.0/26", "fd00:244::/122")
	c.Peers = peers(1, 2, 65002)
	c.Peers[0].Export = []wire.BGPRule{{Reject: true, Community: "64512:666"}}
	c.Advertisements = []wire.BGPAdvertisement{
		{CIDR: netip.MustParsePrefix("10.244.0.0/16"), Communities: []string{"64512:100", "64512:1:70000"}},
		{CIDR: netip.MustParsePrefix("10.244.0.0/26"), Communities: []string{"64512:200"}},
		{CIDR: netip.MustParsePrefix("10.246.0.0/16"), Communities: []string{"64512:666"}},
		{CIDR: netip.MustParsePrefix("fd00:244::/32"), Communities: []string{"64512:300"}},
	}
	node.configure(c)
	has := func(dst string, want ...string) {
		t.Helper()
		router.wait(dst+" with "+strings.Join(want, ", "), "show route all for "+dst, func(s string) bool {
			for _, community := range []string{"(64512,100)", "(64512,200)", "(64512,300)", "(64512,400)",
				"(64512, 1, 70000)"} {
				wanted := strings.Contains(strings.Join(want, " "), community)
				if strings.Contains(s, community) != wanted {
					return false
				}
			}
			return strings.Contains(s, dst)
		})
	}
	has("10.244.0.0/26", "(64512,100)", "(64512,200)", "(64512, 1, 70000)")
	has("10.245.0.0/26")
	has("fd00:244::/122", "(64512,300)")
	if s := router.show("show route for 10.246.0.0/26"); strings.Contains(s, "10.91.0.1") {
		t.Errorf("a route that a filter rejects for its new community was sent:\n%s", s)
	}

	before := router.show("show protocols v4")
	c.Advertisements = []wire.BGPAdvertisement{{CIDR: netip.MustParsePrefix("10.245.0.0/16"),
		Communities: []string{"64512:400"}}}
	node.configure(c)
	has("10.244.0.0/26")
	has("10.245.0.0/26", "(64512,400)")
	has("fd00:244::/122")
	router.waitRoute("10.246.0.0/26", "10.91.0.1")
	if after := router.show("show protocols v4"); after != before {
		t.Errorf("the session changed from\n%s\nto\n%s", before, after)
	}
}

// TestTimesOfStatus: the status says when the speaker was started and last configured. A session of which only the
// description changes goes on.
func TestTimesOfStatus(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.bird(2, external("v4", 65002, "10.91.0.1", 64512, "ipv4"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26")
	c.Peers = peers(1, 2, 65002)[:1]
	node.configure(c)
	established := func(r report) bool { return len(r.Status.Peers) == 1 && r.Status.Peers[0].State == bgp.Established }
	before := node.wait("the session is established", established).Status
	if before.Started.IsZero() || before.Configured.Before(before.Started) ||
		before.Peers[0].Since.Before(before.Configured) {
		t.Errorf("started %v, configured %v, established %v", before.Started, before.Configured, before.Peers[0].Since)
	}
	c.Peers[0].Name, c.Peers[0].Global = "another", true
	node.configure(c)
	after := node.wait("the new configuration", func(r report) bool {
		return established(r) && r.Status.Peers[0].Name == "another" && r.Status.Configured.After(before.Configured)
	}).Status
	if !after.Started.Equal(before.Started) || !after.Peers[0].Since.Equal(before.Peers[0].Since) {
		t.Errorf("started %v and then %v, session since %v and then %v",
			before.Started, after.Started, before.Peers[0].Since, after.Peers[0].Since)
	}
}

// TestListenOn: a speaker that listens on the node's address leaves the port of another address to another program.
func TestListenOn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.ip("-n", l.ns("1"), "addr", "add", "10.91.0.77/24", "dev", "eth0")
	other := l.bird(1, "protocol bgp second { local 10.91.0.77 as 65077; neighbor 10.91.0.2 as 65002; strict bind "+
		"on; ipv4 { import all; export none; }; }\n")
	other.wait("the port is taken", "show protocols second",
		func(s string) bool { return strings.Contains(s, "second") })
	// BIRD connects to the speaker, which waits for it.
	router := l.bird(2, static("172.31.0.0/24", "fd31::/64")+
		external("v4", 65002, "10.91.0.1", 64512, "ipv4")+external("v6", 65002, "fd91::1", 64512, "ipv6"))
	c := config(1, 64512, "10.244.0.0/26", "fd00:244::/122")
	c.Peers = peers(1, 2, 65002)
	c.Confirmed = map[string][]netip.Prefix{"n2": parsePrefixes("172.31.0.0/24", "fd31::/64")}
	for i := range c.Peers {
		c.Peers[i].Mesh, c.Peers[i].Node = true, "n2"
	}
	node := l.speaker(1)
	node.configure(c)
	node.wait("the port of all addresses is not free", func(r report) bool {
		return strings.Contains(r.Status.Error,
			"port 179")
	})
	c.ListenOn = []netip.Addr{hostAddr(1, 4)}
	node.configure(c)
	router.waitRoute("10.244.0.0/26", "10.91.0.1")
	node.wait("one session", func(r report) bool {
		return r.Status.Error == "" && hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) && hasRoute(r, "fd31::/64")
	})
	c.ListenOn = append(c.ListenOn, hostAddr(1, 6))
	node.configure(c)
	router.waitRoute("fd00:244::/122", "fd91::1")
	node.wait("both sessions", func(r report) bool {
		return hasRoute(r, "172.31.0.0/24", hostAddr(2, 4)) && hasRoute(r, "fd31::/64", hostAddr(2, 6))
	})
}
