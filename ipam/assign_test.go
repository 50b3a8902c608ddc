package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
)

var (
	nodeA = Host{Name: "a", Labels: map[string]string{"zone": "east"}}
	nodeB = Host{Name: "b"}
	pool4 = Pool{Name: "four", CIDR: prefix("10.244.0.0/16")}
	pool6 = Pool{Name: "six", CIDR: prefix("fd00:10:244::/64")}
)

func pods(from, count int, families ...Family) []Request {
	var requests []Request
	for i := range count {
		requests = append(requests, Request{
			Handle:     fmt.Sprint("k8s-pod-network.", from+i),
			Attributes: map[string]string{AttrNamespace: "shop", AttrPod: fmt.Sprint("web-", from+i)},
			Families:   families,
		})
	}
	return requests
}

// assign fails the test on an error and gives each request's addresses.
func assign(t *testing.T, c *Client, host Host, pools []Pool, requests ...Request) [][]netip.Addr {
	t.Helper()
	var all [][]netip.Addr
	for _, result := range c.Assign(t.Context(), host, pools, requests) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		all = append(all, result.Addrs())
	}
	return all
}

func configure(t *testing.T, store datastore.Store, spec v3.IPAMConfigurationSpec) {
	t.Helper()
	_, err := store.Create(t.Context(), datastore.IPAMConfigurations,
		&v3.IPAMConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGroupCommit counts the writes of batches.
func TestGroupCommit(t *testing.T) {
	store := newFaults(memory.New(), 0, 0)
	c := New(store)
	pools := []Pool{pool4, pool6}
	claim := func(blocks int) map[string]int {
		return map[string]int{"create BlockAffinity": blocks, "create IPAMBlock": blocks, "update IPAMBlock": blocks,
			"update BlockAffinity": blocks}
	}
	steps := []struct {
		name string
		do   func()
		want map[string]int
	}{
		{"first 100 dual-stack pods claim two blocks a family", func() {
			assign(t, c, nodeA, pools, pods(0, 100, IPv4, IPv6)...)
		}, claim(4)},
		{"20 more: one write a family", func() {
			assign(t, c, nodeA, pools, pods(100, 20, IPv4, IPv6)...)
		}, map[string]int{"update IPAMBlock": 2}},
		{"the same again: none", func() {
			assign(t, c, nodeA, pools, pods(100, 20, IPv4, IPv6)...)
		}, map[string]int{}},
		{"release of 20: one write a family", func() {
			var handles []string
			for _, r := range pods(100, 20) {
				handles = append(handles, r.Handle)
			}
			if released, err := c.Release(t.Context(), "a", handles...); err != nil || len(released) != 40 {
				t.Fatalf("released %d: %v", len(released), err)
			}
		}, map[string]int{"update IPAMBlock": 2}},
	}
	for _, step := range steps {
		step.do()
		if diff := cmp.Diff(step.want, store.take()); diff != "" {
			t.Errorf("%s: writes (-want +got):\n%s", step.name, diff)
		}
	}
	if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
		t.Errorf("affinities (-by blocks +stored):\n%s", diff)
	}
}

func TestAssignIsIdempotent(t *testing.T) {
	store := memory.New()
	first := assign(t, New(store), nodeA, []Pool{pool4, pool6}, pods(0, 3, IPv4, IPv6)...)
	again := assign(t, New(store), nodeA, []Pool{pool4, pool6}, pods(0, 3, IPv4, IPv6)...)
	if diff := cmp.Diff(fmt.Sprint(first), fmt.Sprint(again)); diff != "" {
		t.Errorf("a new client gave other addresses (-first +again):\n%s", diff)
	}
}

// TestRememberedLeaseIsVerified: another client released what this one remembers.
func TestRememberedLeaseIsVerified(t *testing.T) {
	store := memory.New()
	c, pools := New(store), []Pool{{Name: "tiny", CIDR: prefix("10.0.0.0/31"), BlockSize: 31}}
	assign(t, c, nodeA, pools, pods(0, 2, IPv4)...)
	if _, err := New(store).Release(t.Context(), "a", "k8s-pod-network.0"); err != nil {
		t.Fatal(err)
	}
	assign(t, New(store), nodeA, pools, pods(7, 1, IPv4)...)
	result := c.Assign(t.Context(), nodeA, pools, pods(0, 1, IPv4))[0]
	if !errors.Is(result.Err, ErrNoAddress) {
		t.Errorf("got %v, %v: the address is another pod's", result.Addrs(), result.Err)
	}
}

func TestBorrow(t *testing.T) {
	pools := []Pool{{Name: "small", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}}
	tests := []struct {
		name     string
		config   *v3.IPAMConfigurationSpec
		assigned int // of five that node b asks for, when node a has three
		reason   string
	}{
		{"by default", nil, 5, ""},
		{"without autoAllocateBlocks", &v3.IPAMConfigurationSpec{}, 5, ""},
		{"strict affinity", &v3.IPAMConfigurationSpec{StrictAffinity: true}, 4, "strictAffinity forbids borrowing"},
		{"no automatic blocks", &v3.IPAMConfigurationSpec{AutoAllocateBlocks: new(false)}, 1,
			"automatic allocation of blocks is off"},
		{"maximum of blocks", &v3.IPAMConfigurationSpec{StrictAffinity: true, MaxBlocksPerHost: 1}, 4,
			"maximum number of blocks"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := memory.New()
			assign(t, New(store), nodeA, pools, pods(100, 3, IPv4)...)
			if test.config != nil {
				configure(t, store, *test.config)
			}
			c := New(store)
			assigned := map[netip.Addr]bool{}
			for _, result := range c.Assign(t.Context(), nodeB, pools, pods(0, 5, IPv4)) {
				if result.Err == nil {
					assigned[result.Leases[0].Addr] = true
				} else if !errors.Is(result.Err, ErrNoAddress) || !strings.Contains(result.Err.Error(), test.reason) {
					t.Errorf("error %v, want reason %q", result.Err, test.reason)
				}
			}
			if len(assigned) != test.assigned {
				t.Errorf("assigned %d, want %d", len(assigned), test.assigned)
			}
			// Borrowed addresses go back like others.
			for i := range 5 {
				if _, err := New(store).Release(t.Context(), "b", fmt.Sprint("k8s-pod-network.", i)); err != nil {
					t.Fatal(err)
				}
			}
			total := 0
			for _, b := range blocksOf(t, store) {
				total += len(b.Spec.Allocations) - b.Free()
			}
			if total != 3 {
				t.Errorf("%d addresses are in use, want 3", total)
			}
		})
	}
}

func TestNoAddress(t *testing.T) {
	with := func(change func(*Pool)) Pool {
		pool := pool4
		change(&pool)
		return pool
	}
	request := pods(0, 1, IPv4)[0]
	named := request
	named.Pools = []string{"four"}
	tests := []struct {
		name    string
		pool    Pool
		request Request
		want    string // "" when it gets an address
	}{
		{"usable", pool4, request, ""},
		{"disabled", with(func(p *Pool) { p.Disabled = true }), named, "pool four: disabled"},
		{"closed", with(func(p *Pool) { p.Disabled, p.Closed = true, "it overlaps an older one" }), named,
			"pool four: it overlaps an older one"},
		{"manual", with(func(p *Pool) { p.Manual = true }), request,
			"pool four: assigns only to requests that name it"},
		{"manual, named", with(func(p *Pool) { p.Manual = true }), named, ""},
		{"node not selected", with(func(p *Pool) { p.NodeSelector = "zone == 'west'" }), request,
			"pool four: its nodeSelector does not select the node"},
		{"node selected", with(func(p *Pool) { p.NodeSelector = "zone == 'east'" }), request, ""},
		{"node not selected, named", with(func(p *Pool) { p.NodeSelector = "zone == 'west'" }), named, ""},
		{"namespace not selected", with(func(p *Pool) { p.NamespaceSelector = "has(team)" }), request,
			"its namespaceSelector does not select the namespace"},
		{"broken selector", with(func(p *Pool) { p.NodeSelector = "zone = east" }), request, `selector "zone = east"`},
		{"tunnels only", with(func(p *Pool) { p.AllowedUses = []Use{Tunnel} }), request, "not allowed for this use"},
		{"smaller than a block", with(func(p *Pool) { p.CIDR = prefix("10.0.0.0/27") }), request,
			"smaller than a block"},
		{"other family", pool6, request, "there is no IPv4 pool"},
		{"unknown name", with(func(p *Pool) { p.Name = "other" }), named, "there is no IPv4 pool named four"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result := New(memory.New()).Assign(t.Context(), nodeA, []Pool{test.pool}, []Request{test.request})[0]
			switch {
			case test.want == "" && result.Err != nil:
				t.Errorf("error %v", result.Err)
			case test.want != "" && (!errors.Is(result.Err, ErrNoAddress) ||
				!strings.Contains(result.Err.Error(), test.want)):
				t.Errorf("error %v, want %q", result.Err, test.want)
			}
		})
	}
}

func TestRequestedAddress(t *testing.T) {
	store := memory.New()
	want := addr("10.244.3.7")
	request := Request{Handle: "mine", Addrs: []netip.Addr{want}}
	if got := assign(t, New(store), nodeA, []Pool{pool4}, request); got[0][0] != want {
		t.Fatalf("got %v", got)
	}
	tests := []struct {
		name    string
		host    Host
		request Request
		want    error
	}{
		{"the same handle again", nodeA, request, nil},
		{"its neighbour, borrowed", nodeB, Request{Handle: "theirs", Addrs: []netip.Addr{want.Next()}}, nil},
		{"taken", nodeB, Request{Handle: "other", Addrs: []netip.Addr{want}}, block.ErrInUse},
		{"outside the pools", nodeA, Request{Handle: "out", Addrs: []netip.Addr{addr("10.1.0.1")}}, ErrNoAddress},
		{"another one for the same handle", nodeA, Request{Handle: "mine", Addrs: []netip.Addr{want.Prev()}},
			ErrInvalidRequest},
		{"nothing asked for", nodeA, Request{Handle: "none"}, ErrInvalidRequest},
		{"no handle", nodeA, Request{Families: []Family{IPv4}}, ErrInvalidRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result := New(store).Assign(t.Context(), test.host, []Pool{pool4}, []Request{test.request})[0]
			if !errors.Is(result.Err, test.want) {
				t.Errorf("error %v, want %v", result.Err, test.want)
			}
			if test.want == nil && result.Leases[0].Addr != test.request.Addrs[0] {
				t.Errorf("got %v", result.Leases)
			}
		})
	}
}

// TestBothFamiliesOrNone: what a request got in one family goes back when the other fails.
func TestBothFamiliesOrNone(t *testing.T) {
	store := memory.New()
	c := New(store)
	result := c.Assign(t.Context(), nodeA, []Pool{pool4}, pods(0, 1, IPv4, IPv6))[0]
	if !errors.Is(result.Err, ErrNoAddress) || len(result.Leases) > 0 {
		t.Fatalf("got %v, %v", result.Leases, result.Err)
	}
	for _, b := range blocksOf(t, store) {
		if !b.Empty() {
			t.Errorf("block %s still holds %v", b.Name, b.Spec.Attributes)
		}
	}
}

// TestStaleRelease: a release that was decided on before the address was assigned anew
// does not free it, even when the handle is the same.
func TestStaleRelease(t *testing.T) {
	store := memory.New()
	c, pools := New(store), []Pool{{Name: "one", CIDR: prefix("10.0.0.0/32"), BlockSize: 32}}
	old := c.Assign(t.Context(), nodeA, pools, pods(0, 1, IPv4))[0].Leases[0]
	if released, err := c.ReleaseAddrs(t.Context(), old); err != nil || len(released) != 1 {
		t.Fatalf("released %v, %v", released, err)
	}
	assign(t, c, nodeA, pools, pods(0, 1, IPv4)...)
	for _, client := range []*Client{c, New(store)} {
		if released, err := client.ReleaseAddrs(t.Context(), old); err != nil || len(released) != 0 {
			t.Errorf("a stale lease released %v, %v", released, err)
		}
	}
}

func TestReleaseHost(t *testing.T) {
	store := memory.New()
	pools := []Pool{{Name: "small", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}}
	a, b := New(store), New(store)
	assign(t, a, nodeA, pools, pods(0, 2, IPv4)...)
	assign(t, b, nodeB, pools, pods(10, 5, IPv4)...) // the fifth is borrowed from node a
	released, err := New(store).ReleaseHost(t.Context(), "a", isGone)
	if err != nil || len(released) != 2 {
		t.Fatalf("released %v, %v", released, err)
	}
	var orphan block.Block
	for _, stored := range blocksOf(t, store) {
		if stored.Node() == "" {
			orphan = stored
		}
	}
	if orphan.IPAMBlock == nil || orphan.Free() != 3 {
		t.Fatalf("the block that lends to node b should live without affinity: %+v", orphan)
	}
	// Another node takes the orphan over, and the next one finds everything full.
	assign(t, New(store), Host{Name: "c"}, pools, pods(20, 3, IPv4)...)
	if got := blocksOf(t, store)[orphan.Name].Node(); got != "c" {
		t.Errorf("the orphan belongs to %q, want c", got)
	}
	for _, node := range []string{"b", "c", "a"} {
		if _, err := New(store).ReleaseHost(t.Context(), node, isGone); err != nil {
			t.Fatal(err)
		}
	}
	if left := append(affinitiesOf(t, store), sortedNames(blocksOf(t, store))...); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestTunnelAddress(t *testing.T) {
	store := memory.New()
	c := New(store)
	ensure := func(pools ...Pool) (netip.Addr, error) {
		return c.EnsureTunnelAddress(t.Context(), nodeA, pools, encap.VXLAN, IPv4)
	}
	first, err := ensure(pool4)
	if err != nil || !pool4.CIDR.Contains(first) {
		t.Fatalf("got %s, %v", first, err)
	}
	disabled, other := pool4, Pool{Name: "other", CIDR: prefix("10.99.0.0/24")}
	disabled.Disabled = true
	if kept, err := ensure(disabled, other); err != nil || kept != first {
		t.Errorf("disabling the pool moved the tunnel to %s, %v", kept, err)
	}
	if moved, err := ensure(other); err != nil || !other.CIDR.Contains(moved) {
		t.Errorf("the pool is gone, and the tunnel has %s, %v", moved, err)
	}
	if err := c.ReleaseTunnelAddress(t.Context(), "a", encap.VXLAN, IPv4); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksOf(t, store) {
		if !b.Empty() {
			t.Errorf("block %s holds %v", b.Name, b.Spec.Attributes)
		}
	}
}

// TestHandleOfAnotherNode: a node that assigned an address to a handle which another node uses, or will, harms nobody.
func TestHandleOfAnotherNode(t *testing.T) {
	store := memory.New()
	pools := []Pool{{Name: "one", CIDR: prefix("10.0.0.0/28"), BlockSize: 28}}
	assign(t, New(store), nodeA, pools, pods(9, 1, IPv4)...)
	stolen := assign(t, New(store), nodeB, pools, pods(0, 1, IPv4)...)[0][0] // in a's block, of which b borrows
	c := New(store)
	own := assign(t, c, nodeA, pools, pods(0, 1, IPv4)...)[0][0]
	if own == stolen {
		t.Errorf("node a was given %s, which is node b's", own)
	}
	if released, err := c.Release(t.Context(), "a", "k8s-pod-network.0"); err != nil || len(released) != 1 ||
		released[0].Addr != own {
		t.Errorf("node a released %v, %v; want %s alone", released, err, own)
	}
}
