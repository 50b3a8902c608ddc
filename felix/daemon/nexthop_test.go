package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// taught is a BGP speaker that has learned what the test says.
type taught struct {
	noSpeaker
	routes  atomic.Pointer[[]bgp.Route]
	changes chan struct{}
}

func (s *taught) Changes() <-chan struct{} { return s.changes }
func (s *taught) Status() bgp.Status       { return bgp.Status{Synced: true} }
func (s *taught) Routes() []bgp.Route {
	if routes := s.routes.Load(); routes != nil {
		return *routes
	}
	return nil
}

// blocks are those of a pod's addresses.
func blocks(t *testing.T, p *pod) []netip.Prefix {
	t.Helper()
	var all []netip.Prefix
	for _, addr := range p.addrs {
		block, err := addr.Prefix(addr.BitLen() - 6)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, block)
	}
	return all
}

// routed is nodes of two subnets whose pods are reached without encapsulation: n1 and n2 on one link, n3 behind the
// router, which knows where the pods are.
type routed struct {
	*lab
	nodes []*machine
	pods  []*pod
}

func newRouted(t *testing.T) *routed {
	t.Helper()
	r := &routed{lab: newLab(t)}
	for _, pool := range []string{"v4", "v6"} {
		if _, err := datastore.Modify(t.Context(), r.store, datastore.IPPools, datastore.Key{Name: pool},
			func(p *v3.IPPool) error {
				p.Spec.VXLANMode = v3.VXLANModeNever
				return nil
			}); err != nil {
			t.Fatal(err)
		}
	}
	nodes := []struct{ name, bridge, v4, v6 string }{{"n1", "lan0", "172.30.0.11", "fd00:30::11"},
		{"n2", "lan0", "172.30.0.12", "fd00:30::12"},
		{"n3", "lan1", "172.31.0.13", "fd00:31::13"}}
	r.speakers = map[string]felix.Speaker{}
	speakers := make([]*taught, len(nodes))
	for i, n := range nodes {
		speakers[i] = &taught{changes: make(chan struct{}, 1)}
		r.speakers[n.name] = speakers[i]
		m := r.addNode(t, n.name, n.bridge, n.v4, n.v6)
		r.nodes, r.pods = append(r.nodes, m), append(r.pods, m.addPod(t, "p"+n.name))
	}
	for i, speaker := range speakers {
		var learned []bgp.Route
		for j, n := range nodes {
			for f, next := range []string{n.v4, n.v6} {
				block := blocks(t, r.pods[j])[f]
				if j != i {
					learned = append(learned, bgp.Route{Dst: block, NextHops: []netip.Addr{netip.MustParseAddr(next)}})
				}
				if i == 0 {
					kerneltest.Run(t, "ip route add "+block.String()+" via "+next)
				}
			}
		}
		speaker.routes.Store(&learned)
		speaker.changes <- struct{}{}
	}
	return r
}

// way waits until n1's routes to a pod's blocks have these parts, one a family; an empty part is that there is no
// route.
func (r *routed) way(t *testing.T, to *pod, parts ...string) {
	t.Helper()
	eventually(t, func() (wrong error) {
		r.nodes[0].do(t, func() {
			for f, block := range blocks(t, to) {
				got := strings.Join(strings.Fields(kerneltest.Run(t,
					[]string{"ip -4", "ip -6"}[f]+" route show "+block.String())), " ")
				if !strings.Contains(got, parts[f]) || parts[f] == "" && got != "" || parts[f] != "" &&
					!strings.Contains(got, "proto bird") {
					wrong = fmt.Errorf("route to %s: %q, want %q", block, got, parts[f])
				}
			}
		})
		return wrong
	})
}

func (r *routed) on1(t *testing.T, commands ...string) {
	t.Helper()
	r.nodes[0].do(t, func() {
		for _, command := range commands {
			kerneltest.Run(t, command)
		}
	})
}

// passes says whether n1's pod reaches another by both families, either all or nothing. A connection may take a while:
// the neighbours of a new way have to be found first.
func (r *routed) passes(t *testing.T, to *pod, want bool) {
	t.Helper()
	for _, addr := range to.addrs {
		try := func() error { _, err := dial(t, r.pods[0].ns, addr, ""); return err }
		if want {
			eventually(t, try)
		} else if try() == nil {
			t.Errorf("pod pn1 connects to %s of pod %s", addr, to.name)
		}
	}
}

// TestNextHopBehindRouter: routes that BGP learned from a node in another subnet go by the gateway that the kernel has
// for it, and follow it; those of the subnet's own nodes stay as they are throughout.
func TestNextHopBehindRouter(t *testing.T) {
	r := newRouted(t)
	near, far := r.pods[1], r.pods[2]
	onLink := []string{"via 172.30.0.12 dev eth0", "via fd00:30::12 dev eth0"}
	byRouter := []string{"via 172.30.0.1 dev eth0", "via fd00:30::1 dev eth0"}
	r.way(t, near, onLink...)
	r.way(t, far, byRouter...)
	awaitMatrix(t, r.pods, anyPair)
	r.nodes[0].do(t, func() {
		if links := kerneltest.Run(t, "ip -o link show type vxlan"); links != "" {
			t.Errorf("a tunnel without a pool that uses it: %s", links)
		}
	})

	kerneltest.Run(t, "ip addr add 172.30.0.2/24 dev lan0")
	kerneltest.Run(t, "ip addr add fd00:30::2/64 dev lan0 nodad")
	steps := []struct {
		name     string
		commands []string
		far      []string // parts of the routes by family; empty without a route
	}{
		{"another gateway", []string{"ip route replace default via 172.30.0.2", "ip -6 route replace default via " +
			"fd00:30::2"},
			[]string{"via 172.30.0.2 dev eth0", "via fd00:30::2 dev eth0"}},
		{"no gateway", []string{"ip route del default", "ip -6 route del default"}, []string{"", ""}},
		{"a longer prefix", []string{"ip route add 172.31.0.0/16 via 172.30.0.2", "ip -6 route add fd00:31::/32 via " +
			"fd00:30::2"},
			[]string{"via 172.30.0.2 dev eth0", "via fd00:30::2 dev eth0"}},
		{"the default route beside it", []string{"ip route add default via 172.30.0.1", "ip -6 route add default " +
			"via fd00:30::1"},
			[]string{"via 172.30.0.2 dev eth0", "via fd00:30::2 dev eth0"}},
		{"the longer prefix goes", []string{"ip route del 172.31.0.0/16", "ip -6 route del fd00:31::/32"}, byRouter},
		{"two gateways", []string{"ip route replace default nexthop via 172.30.0.1 nexthop via 172.30.0.2",
			"ip -6 route replace default nexthop via fd00:30::1 nexthop via fd00:30::2"},
			[]string{"nexthop via 172.30.0.1 dev eth0 weight 1 nexthop via 172.30.0.2 dev eth0",
				"nexthop via fd00:30::1 dev eth0 weight 1 nexthop via fd00:30::2 dev eth0"}},
		{"one gateway again", []string{"ip route replace default via 172.30.0.1", "ip -6 route replace default via " +
			"fd00:30::1"}, byRouter},
	}
	for _, step := range steps {
		r.on1(t, step.commands...)
		r.way(t, far, step.far...)
		r.passes(t, far, step.far[0] != "")
		r.way(t, near, onLink...)
		r.passes(t, near, true)
		r.reported(t, step.far[0] == "")
		if t.Failed() {
			t.Fatalf("after %q", step.name)
		}
	}
	r.followDevice(t, far, byRouter)
}

// reported: what has no way is shown, and is no problem of the node's.
func (r *routed) reported(t *testing.T, unresolved bool) {
	t.Helper()
	eventually(t, func() error {
		s, err := r.nodes[0].agent.Status(t.Context())
		if err == nil && (len(s.Problems) > 0 || s.Error != "" || len(s.Unresolved) > 0 != unresolved) {
			err = fmt.Errorf("problems %q, error %q, unresolved %q", s.Problems, s.Error, s.Unresolved)
		}
		return err
	})
}

// followDevice leads the way over a second uplink, which then goes down without a word of its routes.
func (r *routed) followDevice(t *testing.T, far *pod, without []string) {
	t.Helper()
	r.on1(t, "ip link add eth1 type veth peer name eth1p", "ip link set eth1p up", "ip link set eth1 up",
		"ip addr add 192.0.2.1/24 dev eth1", "ip addr add 2001:db8::1/64 dev eth1 nodad")
	r.on1(t, "ip route add 172.31.0.0/16 via 192.0.2.2", "ip -6 route add fd00:31::/32 via 2001:db8::2")
	r.way(t, far, "via 192.0.2.2 dev eth1", "via 2001:db8::2 dev eth1")
	r.on1(t, "ip link set eth1 down")
	r.way(t, far, without...)
	r.passes(t, far, true)
	r.reported(t, false)
}
