package speaker

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestTTLRules: neighbours share a rule, and no rule is for an address that may send packets with a lower TTL.
func TestTTLRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peers string // address/hops
		want  string
	}{
		"no peers":            {"", ""},
		"no TTL security":     {"10.0.0.1/0 10.0.0.2/0", ""},
		"one":                 {"10.0.0.1/1", "10.0.0.1/32>=255"},
		"neighbours":          {"10.0.0.9/1 10.0.0.1/1 10.0.0.200/1", "10.0.0.0/24>=255"},
		"one from afar":       {"10.0.0.1/1 10.0.0.3/0 10.0.0.2/1", "10.0.0.1/32>=255 10.0.0.2/32>=255"},
		"racks":               {"10.0.1.1/1 10.0.1.9/1 10.0.2.1/0 10.0.2.7/0", "10.0.1.0/28>=255"},
		"other hops":          {"10.0.0.1/1 10.0.128.1/2 10.0.129.1/2", "10.0.0.1/32>=255 10.0.128.0/23>=254"},
		"around the anchor":   {"10.0.0.1/1 192.0.2.1/1", "10.0.0.1/32>=255 192.0.2.1/32>=255"},
		"the first counts":    {"10.0.0.1/255 10.0.0.1/0", "10.0.0.1/32>=1"},
		"IPv6":                {"fd91::1/1 fd91::2:7/1 fd91:0:0:1::1/0", "fd91::/110>=255"},
		"IPv6 of both halves": {"1::1/1 f::1/1 ffff::1/0", "::/12>=255"},
	} {
		var peers []bgp.Peer
		for _, s := range strings.Fields(c.peers) {
			addr, hops, _ := strings.Cut(s, "/")
			p := bgp.Peer{BGPPeer: wire.BGPPeer{Addr: netip.MustParseAddr(addr)}}
			fmt.Sscan(hops, &p.TTLSecurity)
			peers = append(peers, p)
		}
		six := strings.Contains(c.peers, ":")
		var got []string
		for _, rule := range ttlRules(peers, six) {
			got = append(got, fmt.Sprintf("%s>=%d", rule.from, rule.least))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if other := ttlRules(peers, !six); len(other) > 0 {
			t.Errorf("%s: rules of the other IP family: %v", name, other)
		}
	}
}

// TestFilterIsReplaced: a filter can be replaced when the kernel has no memory for it and the old one together.
func TestFilterIsReplaced(t *testing.T) {
	t.Parallel()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	var rules []ttlRule
	largest := ttlFilter(nil, true)
	for probe := socket(); ; {
		rules = append(rules, ttlRule{netip.MustParsePrefix("fd91::1/128"), 255})
		program := ttlFilter(rules, true)
		if setFilter(probe, nil) != nil || setFilter(probe, program) != nil {
			break
		}
		largest = program
	}
	fd := socket()
	for range 2 {
		if err := setFilter(fd, largest); err != nil {
			t.Errorf("%d instructions: %v", len(largest), err)
		}
	}
	if err := setFilter(fd, nil); err != nil {
		t.Errorf("take the filter off: %v", err)
	}
	if err := setFilter(fd, nil); err != nil {
		t.Errorf("take off no filter: %v", err)
	}
}

// TestFilterWithLittleMemory: sessions come up however little memory the kernel has for filters, and a large mesh on
// one link needs little of it.
func TestFilterWithLittleMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, memory string
		others       int // the number of other peers of each family
		every        int // every so many of them have TTL security
		warnings     int
		connects     bool // packets that may have been forwarded are accepted from the peer
	}{
		{"none", "0", 0, 1, 2, true},
		{"large mesh", "2000", 1000, 1, 0, false},
		{"peers from afar between the others", "20480", 1000, 2, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			for _, ns := range []string{"1", "2"} {
				l.output("ip", "netns", "exec", l.ns(ns), "sysctl", "-qw", "net.core.optmem_max="+c.memory)
			}
			one, two := l.speaker(1), l.speaker(2)
			c1, c2 := config(1, 64512), config(2, 64512, "10.244.2.0/26", "fd00:244:2::/122")
			c1.Peers, c2.Peers = peers(1, 2, 64512), peers(2, 1, 64512)
			for i := range c1.Peers {
				c1.Peers[i].TTLSecurity, c2.Peers[i].TTLSecurity = 1, 1
				c1.Peers[i].Mesh, c1.Peers[i].Node = true, "n2" // it waits for connections
			}
			c1.Confirmed = map[string][]netip.Prefix{"n2": c2.Announce}
			for i := range c.others {
				for _, addr := range []string{fmt.Sprintf("10.91.%d.%d", 8+i>>8, i&255), fmt.Sprintf("fd91::1:%x", i)} {
					p := c1.Peers[0]
					p.Name, p.Addr, p.LocalAddr, p.Node = addr, netip.MustParseAddr(addr), netip.Addr{}, addr
					if i%c.every > 0 {
						p.TTLSecurity = 0
					}
					c1.Peers = append(c1.Peers, p)
				}
			}
			one.configure(c1)
			two.configure(c2)
			one.wait("both sessions", func(r report) bool {
				return hasRoute(r, "10.244.2.0/26", hostAddr(2, 4)) && hasRoute(r, "fd00:244:2::/122", hostAddr(2, 6))
			})
			if n := strings.Count(one.logs.String(), "optmem_max"); n != c.warnings {
				t.Errorf("%d warnings, want %d", n, c.warnings)
			}
			for _, family := range []byte{4, 6} {
				addr := hostAddr(1, family)
				connect := exec.Command("ip", "netns", "exec", l.ns("2"),
					"timeout", "10", "bash", "-c", "</dev/tcp/"+addr.String()+"/179")
				if out, err := connect.CombinedOutput(); (err == nil) != c.connects {
					t.Errorf("connect to %s with the usual TTL: %v %s, want success: %t", addr, err, out, c.connects)
				}
			}
		})
	}
}
