package speaker

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/test/long"
)

// soon is how long a restarted speaker and its peers may take until they have each other's routes again.
const soon = 15 * time.Second

// Two speakers; one is killed and comes back with one block more and one less, a while later. The other one
// never loses the block that stays, and the restarted one never says that it is in sync without what it had.
func TestRestartOfEither(t *testing.T) {
	t.Parallel()
	cycles := long.Or(10, 2)
	for _, away := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 7 * time.Second} {
		for _, kind := range []string{"mesh", "peers", "reflector"} {
			t.Run(fmt.Sprintf("%s/%s", kind, away), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, kind)
				for n := range cycles {
					p.restart(1+n%2, n, away)
				}
			})
		}
	}
}

// pair are speakers on hosts 1 and 2 that are each other's peers: in the mesh, by configuration, or by
// configuration with host 2 as a route reflector.
type pair struct {
	t        *testing.T
	l        *lab
	configs  map[int]bgp.Config
	speakers map[int]*process
}

func block(host, n int) string { return fmt.Sprintf("10.244.%d.%d/32", host, n) }

// everyBlock is the blocks of all hosts, which are nodes n1, n2, n3.
func everyBlock() map[string][]netip.Prefix {
	blocks := map[string][]netip.Prefix{}
	for host := 1; host <= 3; host++ {
		for n := range 256 {
			node := fmt.Sprintf("n%d", host)
			blocks[node] = append(blocks[node], netip.MustParsePrefix(block(host, n)))
		}
	}
	return blocks
}

func newPair(t *testing.T, kind string) *pair {
	p := &pair{t: t, l: newLab(t, 3), configs: map[int]bgp.Config{}, speakers: map[int]*process{}}
	for host := 1; host <= 2; host++ {
		c := config(host, 64512, block(host, 255), block(host, 100))
		c.Peers = peers(host, 3-host, 64512)[:1]
		if kind == "mesh" {
			c.Peers[0].Mesh, c.Peers[0].Node = true, fmt.Sprintf("n%d", 3-host)
		}
		c.Confirmed = everyBlock()
		if kind == "reflector" && host == 2 {
			c.PassOn = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
			c.Peers[0].RouteReflectorPeer, c.Peers[0].ClusterID = true, "1.0.0.1"
		}
		p.configs[host], p.speakers[host] = c, p.l.speaker(host)
		p.speakers[host].configure(c)
	}
	for host := 1; host <= 2; host++ {
		p.speakers[host].wait("the other's blocks are learned", func(r report) bool {
			return r.Status.Synced && hasRoute(r, block(3-host, 255), hostAddr(3-host, 4)) &&
				hasRoute(r, block(3-host, 100), hostAddr(3-host, 4))
		})
	}
	return p
}

// restart kills a host's speaker and starts it again with another block instead of its last.
func (p *pair) restart(host, n int, away time.Duration) {
	p.t.Helper()
	other := p.speakers[3-host]
	c := p.configs[host]
	before, after := c.Announce[1], netip.MustParsePrefix(block(host, n))
	stays := func(r report) {
		if !hasRoute(r, block(host, 255), hostAddr(host, 4)) {
			p.t.Fatalf("cycle %d: the peer lost the block that stays: %+v", n, r)
		}
	}
	kill(p.speakers[host].cmd)
	other.during(away, func(r report) {
		stays(r)
		if !hasRoute(r, before.String(), hostAddr(host, 4)) {
			p.t.Fatalf("cycle %d: the peer lost a block before the speaker was back: %+v", n, r)
		}
	})

	node := p.l.speaker(host)
	c.Announce = []netip.Prefix{c.Announce[0], after}
	p.configs[host], p.speakers[host] = c, node
	// A configuration may come late and without its peers at first.
	if r := <-node.reports; r.Status.Synced {
		p.t.Fatalf("synced without a configuration: %+v", r)
	}
	alone := c
	alone.Peers, alone.Off = nil, "no peers yet"
	node.configure(alone)
	node.wait("the configuration without peers is applied", func(r report) bool {
		if r.Status.Synced {
			p.t.Fatalf("synced without a peer: %+v", r)
		}
		return r.Status.Off != ""
	})
	back := time.Now()
	node.configure(c)
	other.wait("the new block is learned and the old one gone", func(r report) bool {
		stays(r)
		return hasRoute(r, after.String(), hostAddr(host, 4)) && hasRoute(r, before.String())
	})
	node.wait("the restarted speaker is in sync", func(r report) bool {
		if r.Status.Synced && !hasRoute(r, block(3-host, 255), hostAddr(3-host, 4)) {
			p.t.Fatalf("cycle %d: synced without the peer's block: %+v", n, r)
		}
		return r.Status.Synced
	})
	took := time.Since(back)
	p.t.Logf("cycle %d, host %d: %s", n, host, took.Round(100*time.Millisecond))
	if took > soon {
		p.t.Errorf("cycle %d: the restarted speaker was in sync after %s, want %s", n, took, soon)
	}
}

// Both are killed at once: neither waits for the other's End-of-RIB in vain, or says too early that it has come.
func TestRestartOfBoth(t *testing.T) {
	t.Parallel()
	p := newPair(t, "mesh")
	for host := 1; host <= 2; host++ {
		kill(p.speakers[host].cmd)
	}
	back := time.Now()
	for host := 1; host <= 2; host++ {
		p.speakers[host] = p.l.speaker(host)
		p.speakers[host].configure(p.configs[host])
	}
	for host := 1; host <= 2; host++ {
		p.speakers[host].wait("in sync", func(r report) bool {
			if r.Status.Synced && !hasRoute(r, block(3-host, 255), hostAddr(3-host, 4)) {
				t.Fatalf("synced without the peer's block: %+v", r)
			}
			return r.Status.Synced
		})
	}
	if took := time.Since(back); took > soon {
		t.Errorf("in sync after %s, want %s", took, soon)
	}
}

// A restarted speaker hears of its second peer when it has already learned all that the first one has.
func TestPeersKnownInSteps(t *testing.T) {
	t.Parallel()
	p := newPair(t, "peers")
	third := config(3, 64512, block(3, 0))
	third.Peers = peers(3, 1, 64512)[:1]
	third.Peers[0].Mesh, third.Peers[0].Node, third.Confirmed = true, "n1", everyBlock()
	p.l.speaker(3).configure(third)
	kill(p.speakers[1].cmd)
	node, c := p.l.speaker(1), p.configs[1]
	node.configure(c)
	node.wait("the first peer's blocks are learned", func(r report) bool {
		return hasRoute(r, block(2, 255),
			hostAddr(2, 4))
	})
	c.Peers = append(c.Peers, peers(1, 3, 64512)[0])
	c.Peers[1].Mesh, c.Peers[1].Node = true, "n3"
	node.configure(c)
	node.wait("in sync with both", func(r report) bool {
		if r.Status.Synced && (!hasRoute(r, block(2, 255), hostAddr(2, 4)) ||
			!hasRoute(r, block(3, 0), hostAddr(3, 4))) {
			t.Fatalf("synced with part of the peers: %+v", r)
		}
		return r.Status.Synced
	})
}

func TestPeerThatStaysAway(t *testing.T) {
	t.Parallel()
	p := newPair(t, "mesh")
	c := p.configs[1]
	c.Peers = []bgp.Peer{c.Peers[0]}
	c.Peers[0].MaxRestartSeconds = 4
	p.speakers[1].configure(c)
	// The session starts anew with the shorter time.
	p.speakers[2].wait("the session is down", func(r report) bool { return r.Status.Peers[0].State != bgp.Established })
	p.speakers[2].wait("the session is back", func(r report) bool {
		return r.Status.Peers[0].State == bgp.Established && hasRoute(r, block(1, 255), hostAddr(1, 4))
	})
	kill(p.speakers[1].cmd)
	lost := time.Now()
	p.speakers[2].wait("the routes are gone", func(r report) bool { return len(r.Routes) == 0 })
	if kept := time.Since(lost); kept < 3900*time.Millisecond || kept > 5*time.Second {
		t.Errorf("routes of a peer with 4s of restart time were kept for %s", kept)
	}
}

func TestPeerThatLeaves(t *testing.T) {
	t.Parallel()
	p := newPair(t, "mesh")
	p.speakers[1].configure(bgp.Config{})
	left := time.Now()
	p.speakers[2].wait("the routes are gone", func(r report) bool { return len(r.Routes) == 0 })
	if kept := time.Since(left); kept > 2*time.Second {
		t.Errorf("routes of a peer that sent a CEASE were kept for %s", kept)
	}
}

// A peer that is being waited for is taken out of the configuration.
func TestPeerThatIsRemovedWhileAway(t *testing.T) {
	t.Parallel()
	p := newPair(t, "peers")
	kill(p.speakers[1].cmd)
	p.speakers[2].wait("the session is down", func(r report) bool { return r.Status.Peers[0].State != bgp.Established })
	if !hasRoute(p.speakers[2].last, block(1, 255), hostAddr(1, 4)) {
		t.Errorf("routes were dropped with the session: %+v", p.speakers[2].last)
	}
	c := p.configs[2]
	c.Peers = nil
	p.speakers[2].configure(c)
	removed := time.Now()
	p.speakers[2].wait("the routes are gone", func(r report) bool {
		return len(r.Status.Peers) == 0 &&
			len(r.Routes) == 0
	})
	if kept := time.Since(removed); kept > 2*time.Second {
		t.Errorf("routes of a peer that was removed were kept for %s", kept)
	}
}

// The address of a node is another node's from now on: the session ends, and what was kept for the first one goes.
func TestAddressOfAnotherNode(t *testing.T) {
	t.Parallel()
	p := newPair(t, "mesh")
	kill(p.speakers[1].cmd)
	p.speakers[2].wait("the session is down", func(r report) bool { return r.Status.Peers[0].State != bgp.Established })
	if !hasRoute(p.speakers[2].last, block(1, 255), hostAddr(1, 4)) {
		t.Errorf("routes were dropped with the session: %+v", p.speakers[2].last)
	}
	c := p.configs[2]
	c.Peers = []bgp.Peer{c.Peers[0]}
	c.Peers[0].Node = "n3"
	p.speakers[2].configure(c)
	p.speakers[2].wait("the routes are gone", func(r report) bool { return len(r.Routes) == 0 })
	p.speakers[1] = p.l.speaker(1)
	mine := p.configs[1]
	mine.Announce = append(mine.Announce, netip.MustParsePrefix(block(3, 7)))
	p.speakers[1].configure(mine)
	r := p.speakers[2].wait("the other node's routes are learned",
		func(r report) bool { return hasRoute(r, block(3, 7), hostAddr(1, 4)) })
	if len(r.Routes) != 1 {
		t.Errorf("learned %+v, want %s alone", r.Routes, block(3, 7))
	}
}
