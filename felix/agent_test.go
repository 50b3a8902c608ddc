package felix_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestOrder: what rules name is there before them, a pod's rules before its route, and nothing happens before the
// stream is in sync.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.later(t, time.Minute)
		if len(r.log) != 0 || r.agent.Ready() == nil {
			t.Fatalf("before the stream is in sync: %v", r.log)
		}
		r.commit(pool, set, deny, endpoint)
		want := []string{"links", "sysctls", "rules", "routes"}
		if diff := cmp.Diff(want, r.log); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if err := r.agent.Ready(); err != nil {
			t.Error(err)
		}
		if r.sets["s"] != 1 || len(r.source.reports) != 1 || r.source.reports[0].Applied != 1 {
			t.Errorf("sets %v, reports %+v", r.sets, r.source.reports)
		}
	})
}

// TestAdd: an ADD ends when policy, route and settings are in place, not before.
func TestAdd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		broken := errors.New("broken")
		parts := []string{"connections", "rules", "routes", "sysctls", ""}
		r.fail[parts[0]] = broken
		r.commit(pool)
		added := make(chan error, 1)
		go func() { added <- r.agent.Add(t.Context(), workload) }()
		waiting := func(for_ string) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-added:
				t.Fatalf("ADD ended with %v while it must wait for %s", err, for_)
			default:
			}
		}
		waiting("the pod's policy")
		if !r.hasChain("cali-tw-cali1") {
			t.Error("a workload without policy has no chain that closes it")
		}
		former := *endpoint
		former.UID = "0"
		r.commit(&former, deny)
		waiting("the policy of this pod, not of one of the same name")
		r.commit(endpoint)
		for i, part := range parts[:len(parts)-1] {
			r.later(t, time.Minute) // it is tried again meanwhile
			waiting(part)
			r.fail[parts[i+1]] = broken // one at a time, or one would hide another
			delete(r.fail, part)
		}
		r.later(t, time.Minute)
		if err := <-added; err != nil {
			t.Error(err)
		}
		r.log = nil
		r.agent.Remove(workload)
		synctest.Wait()
		if !slices.Contains(r.log, "connections") {
			t.Error("the connections of a workload that was removed are still known")
		}
		if r.hasChain("cali-tw-cali1") || len(r.routes) != 0 {
			t.Error("a workload that was removed has chains or routes")
		}
	})
}

func TestAddNamesWhatItWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.agent.Add(ctx, workload); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "pod shop/web") {
			t.Errorf("ADD of a pod without policy: %v", err)
		}
		if _, err := r.agent.Endpoint(ctx, "shop", "web", "1"); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "pod shop/web") {
			t.Errorf("annotations of a pod that is not known: %v", err)
		}
		r.commit(endpoint, deny)
		if _, err := r.agent.Endpoint(t.Context(), "shop", "web", ""); err != nil {
			t.Error(err)
		}
	})
}

// TestTwoPodsOneAddress: the ADD of a second pod that has a pod's address, or its interface, fails and says so. A new
// sandbox of the same pod takes its place, and a removal that comes late does not touch it.
func TestTwoPodsOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.agent.Restore(nil)
		second := *endpoint
		second.Pod, second.UID = "vault", "2"
		r.commit(pool, endpoint, &second, deny)
		if err := r.agent.Add(t.Context(), workload); err != nil {
			t.Fatal(err)
		}
		other := cniserver.Workload{Namespace: "shop", Pod: "vault", UID: "2", ContainerID: "d", HostIface: "cali2",
			Addrs: workload.Addrs}
		if err := r.agent.Add(t.Context(), other); err == nil ||
			!strings.Contains(err.Error(), "address 10.65.0.2 is that of pod shop/web") {
			t.Errorf("a second pod with the address: %v", err)
		}
		other.HostIface, other.Addrs = "cali1", []netip.Addr{netip.MustParseAddr("10.65.0.3")}
		if err := r.agent.Add(t.Context(), other); err == nil ||
			!strings.Contains(err.Error(), "interface cali1 is that of pod shop/web") {
			t.Errorf("a second pod with the interface: %v", err)
		}
		r.agent.Remove(other)
		synctest.Wait()
		routed := func() (list []string) {
			for _, route := range r.routes {
				list = append(list, route.Dst.String()+" "+route.Hops[0].Device)
			}
			return list
		}
		if got := routed(); !slices.Equal(got, []string{"10.65.0.2/32 cali1"}) || !r.hasChain("cali-tw-cali1") ||
			r.hasChain("cali-tw-cali2") {
			t.Errorf("routes %v, chains %v", got, slices.Collect(maps.Keys(r.chains)))
		}
		sandbox := workload
		sandbox.ContainerID, sandbox.Addrs = "new", other.Addrs
		if err := r.agent.Add(t.Context(), sandbox); err != nil {
			t.Fatal(err)
		}
		r.agent.Remove(workload) // of the sandbox before
		synctest.Wait()
		if got := routed(); !slices.Equal(got, []string{"10.65.0.3/32 cali1"}) {
			t.Errorf("routes after a late removal: %v", got)
		}
	})
}

// TestConflictsAreReported until they are over, beside what else is wrong.
func TestConflictsAreReported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool)
		problem := "pod shop/web has an address that is not assigned to it"
		for _, problems := range [][]string{{problem}, nil} {
			r.agent.Conflicts(problems)
			synctest.Wait()
			last := r.source.reports[len(r.source.reports)-1]
			status, err := r.agent.Status(t.Context())
			if err != nil || !slices.Equal(last.Errors, problems) || !slices.Equal(status.Problems, problems) {
				t.Errorf("reported %q, status %q, %v, want %q", last.Errors, status.Problems, err, problems)
			}
		}
	})
}

// TestFailedRules: pods get no routes before rules stood once, and what failed is tried again.
func TestFailedRules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fail["rules"] = errors.New("broken")
		r.commit(pool)
		if slices.Contains(r.log, "routes") || r.agent.Ready() == nil {
			t.Errorf("with rules that fail: %v", r.log)
		}
		if report := r.source.reports[0]; report.Applied != 0 || !slices.Contains(report.Errors, "broken") {
			t.Errorf("report %+v", report)
		}
		delete(r.fail, "rules")
		r.later(t, time.Minute)
		if !slices.Contains(r.log, "routes") || r.agent.Ready() != nil {
			t.Errorf("after the rules work again: %v, %v", r.log, r.agent.Ready())
		}
		// Rules that stood once protect: what fails later does not hold routes up.
		r.fail["rules"], r.log = errors.New("broken"), nil
		r.commit(deny, endpoint)
		if !slices.Contains(r.log, "routes") {
			t.Errorf("with rules that fail later: %v", r.log)
		}
	})
}

// TestJournal: without a stream a node goes on with what it knew, and what the stream then lacks goes.
func TestJournal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, pool, set, deny, endpoint)
		r.agent.Status(t.Context()) //nolint:errcheck // waits until the loop runs
		if len(r.log) != 0 {
			t.Errorf("at once: %v", r.log)
		}
		r.later(t, time.Minute)
		if r.sets["s"] != 1 || !slices.Contains(r.log, "rules") || r.agent.Ready() == nil {
			t.Errorf("without a stream: sets %v, %v", r.sets, r.log)
		}
		r.commit(pool)
		if _, exists := r.sets["s"]; exists || r.agent.Ready() != nil {
			t.Errorf("in sync: sets %v, %v", r.sets, r.agent.Ready())
		}
	})
}

// TestHostEndpointsAtStart: host endpoints that the journal knows are closed before the stream says anything, and
// follow the node's addresses meanwhile; nothing else is programmed. One that the stream does not have any more
// opens.
func TestHostEndpointsAtStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		addr := netip.MustParseAddr("172.30.1.11")
		j := journal.Open(filepath.Join(t.TempDir(), "stream"))
		j.Append(wire.Commit{Upserts: []wire.Object{pool, set, deny, endpoint,
			&wire.HostEndpoint{Name: "named", Node: "n1", Interface: "eth0"},
			&wire.HostEndpoint{Name: "by-address", Node: "n1", ExpectedIPs: []netip.Addr{addr}}}})
		kernel := newFake()
		kernel.fail["guard"] = errors.New("broken")
		r := newRigOn(t, kernel, nil, node.Facts{Name: "n1"}, j)
		synctest.Wait()
		if diff := cmp.Diff([]string{"guard"}, r.log); diff != "" {
			t.Errorf("at once (-want +got):\n%s", diff)
		}
		if !r.hasChain("cali-fh-eth0") || r.hasChain("cali-fh-eth1") || r.sets["all-ipam-pools"] != 1 {
			t.Errorf("chains of eth0 %v, of eth1, which has no address yet, %v; sets %v", r.hasChain("cali-fh-eth0"),
				r.hasChain("cali-fh-eth1"), r.sets)
		}
		r.log = nil
		r.addrs[addr] = "eth1"
		r.events <- dataplane.Event{Kind: dataplane.EventAddr}
		synctest.Wait()
		if !r.hasChain("cali-fh-eth1") || !slices.Contains(r.log, "guard") || slices.Contains(r.log, "routes") ||
			r.agent.Ready() == nil {
			t.Errorf("an address came: chains of eth1 %v, %v, %v", r.hasChain("cali-fh-eth1"), r.log, r.agent.Ready())
		}
		r.log = nil
		r.later(t, time.Second)
		if !slices.Contains(r.log, "guard") {
			t.Errorf("what failed is not tried again: %v", r.log)
		}
		delete(r.fail, "guard")
		r.later(t, time.Minute) // the journal is taken for the stream
		r.commit(pool, &wire.HostEndpoint{Name: "named", Node: "n1", Interface: "eth0"})
		if !r.hasChain("cali-fh-eth0") || r.hasChain("cali-fh-eth1") || r.agent.Ready() != nil {
			t.Errorf("in sync: chains of eth0 %v, of eth1 %v, %v", r.hasChain("cali-fh-eth0"),
				r.hasChain("cali-fh-eth1"), r.agent.Ready())
		}
	})
}

// TestRestart: a setting that is read at the start ends the agent; one that is not does not.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(&wire.Config{Name: "global", Values: map[string]string{"VXLANPort": "4790"}})
		select {
		case err := <-r.ended:
			t.Fatal(err)
		default:
		}
		r.commit(&wire.Config{Name: "node.n1", Values: map[string]string{"MaxIpsetSize": "5"}})
		if err := <-r.ended; !errors.Is(err, felix.ErrRestart) {
			t.Errorf("the agent ended with %v", err)
		}
	})
}

// TestQuiet: with nothing to do nothing is programmed, for as long as no timer says otherwise.
func TestQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool)
		before := len(r.log)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if len(r.log) != before {
			t.Errorf("unasked: %v", r.log[before:])
		}
		if err := r.agent.Alive(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestUnknownAddress: a start does not take routes away because it does not know the node's address yet.
func TestUnknownAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRigWith(t, node.Facts{Name: "n1"})
		r.commit(pool)
		if len(r.log) != 0 {
			t.Errorf("at once: %v", r.log)
		}
		r.later(t, time.Minute)
		if len(r.log) == 0 {
			t.Error("a node that has no address is not protected at all")
		}
	})
}

// TestPoolFollowsLabels: a pod's address comes out of the pools that select the node's labels, as the stream says both.
// Where the stream says no labels, what the node itself found out counts.
func TestPoolFollowsLabels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		labelled := func(rack string) *wire.Node {
			return &wire.Node{Name: "n1", Labels: map[string]string{"rack": rack}}
		}
		pool := func(name, cidr, selector string) *wire.Pool {
			return &wire.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), BlockSize: 26, NodeSelector: selector}
		}
		east, west := pool("east", "10.65.0.0/16", "rack == 'a'"), pool("west", "10.66.0.0/16", "rack == 'b'")
		r := newRigWith(t, node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"),
			Device: "eth0"},
			Labels: map[string]string{"rack": "a"}}, east, west, labelled("b"))
		client, pods := ipam.New(memory.New()), 0
		expect := func(what, want string) {
			t.Helper()
			pods++
			s := r.agent.CNIState()
			result := client.Assign(t.Context(), ipam.Host{Name: "n1", Labels: s.Labels}, s.Pools,
				[]ipam.Request{{Handle: fmt.Sprint("pod", pods), Families: []ipam.Family{ipam.IPv4}}})[0]
			got := ""
			for _, p := range []*wire.Pool{east, west} {
				for _, lease := range result.Leases {
					if p.CIDR.Contains(lease.Addr) {
						got = p.Name
					}
				}
			}
			if got != want {
				t.Errorf("%s: an address of pool %q (%v), want of %q", what, got, result.Err, want)
			}
		}
		r.later(t, time.Minute)
		expect("labels of the journal", "west")
		r.commit(east, west, labelled("a"))
		expect("the node's label changed", "east")
		r.commit(pool("east", "10.65.0.0/16", "has(gpu)"), pool("west", "10.66.0.0/16", "has(rack)"))
		expect("the pools' selectors changed", "west")
		r.commit(east, west, &wire.Node{Name: "n1"})
		expect("no labels", "")
		r.source.commits <- wire.Commit{Number: 9, InSync: true, Deletes: []wire.ID{{Kind: wire.KindNode, Name: "n1"}}}
		synctest.Wait()
		expect("the node's own knowledge", "east")
	})
}

// TestLimitsOfAssignment: what is reserved counts with the commit that says so, and until another one does.
func TestLimitsOfAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &wire.IPAM{Cooldown: 20})
		expect := func(what string, want ipam.Limits) {
			t.Helper()
			if diff := cmp.Diff(want, r.agent.CNIState().Limits,
				cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		r.later(t, time.Minute)
		expect("of the journal", ipam.Limits{Cooldown: 20 * time.Second})
		reserved := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}
		r.commit(&wire.IPAM{Reserved: reserved})
		expect("of the stream", ipam.Limits{Reserved: reserved})
		r.source.commits <- wire.Commit{Number: 9, InSync: true, Deletes: []wire.ID{(&wire.IPAM{}).ID()}}
		synctest.Wait()
		expect("none", ipam.Limits{})
	})
}

// TestPoolsWithPolicy: whoever waited for a pod's policy finds the pools of the same commit.
func TestPoolsWithPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		pools := make(chan int, 1)
		go func() {
			if _, err := r.agent.Endpoint(t.Context(), "shop", "web", "1"); err != nil {
				t.Error(err)
			}
			pools <- len(r.agent.CNIState().Pools)
		}()
		synctest.Wait()
		r.hold = make(chan struct{})
		r.commit(pool, deny, endpoint)
		if got := <-pools; got != 1 {
			t.Errorf("%d pools are known while the kernel is programmed, want 1", got)
		}
		close(r.hold)
	})
}
