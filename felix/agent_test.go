package felix_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/link"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/stream"
	"github.com/maneki-net/maneki/typha/wire"
)

// fake is every driver at once: it records what is applied, in order, and fails what it is told to. The test touches it only
// when the agent waits; see rig.later.
type fake struct {
	log    []string
	fail   map[string]error
	routes []route.Route
	sets   map[string]int            // members
	chains map[string]iptables.Chain // by table and name
	// rendered counts the chains that were set.
	rendered int
	addrs    map[netip.Addr]string // of interfaces
	forget   []netip.Addr          // whose connections the next apply deletes
	// hold, when set, keeps an apply waiting until it is closed.
	hold chan struct{}
}

func (f *fake) do(step string) error {
	f.log = append(f.log, step)
	if f.hold != nil {
		<-f.hold
	}
	return f.fail[step]
}

type (
	links   struct{ *fake }
	sysctls struct{ *fake }
	sets    struct{ *fake }
	rules   struct {
		*fake
		table string
	}
	ifaces      struct{ *fake }
	routes      struct{ *fake }
	connections struct{ *fake }
	underlay    struct{}
)

func (f *fake) Resync()                                     {}
func (f *fake) Observe(dataplane.Event) bool                { return false }
func (f *fake) Changed(context.Context) (bool, error)       { return false, nil }
func (l links) Name() string                                { return "link" }
func (l links) Apply(context.Context) error                 { return l.do("links") }
func (l links) Set(link.VXLAN)                              {}
func (l links) Remove(string)                               {}
func (s sysctls) Name() string                              { return "sysctl" }
func (s sysctls) Apply(context.Context) error               { return s.do("sysctls") }
func (s sysctls) Set(string, string)                        {}
func (s sysctls) RemoveDevice(string)                       {}
func (s sysctls) InPlace(string) bool                       { return s.fail["sysctls"] == nil }
func (s sets) Name() string                                 { return "ipset" }
func (s sets) Apply(context.Context) error                  { return s.do("sets") }
func (s sets) Grow(context.Context) error                   { return s.do("grow") }
func (s sets) Shrink(context.Context) error                 { return s.do("shrink") }
func (s sets) Set(set ipset.Set)                            { s.sets[set.Name] = len(set.Members) }
func (s sets) AddMembers(name string, m ...ipset.Member)    { s.sets[name] += len(m) }
func (s sets) RemoveMembers(name string, m ...ipset.Member) { s.sets[name] -= len(m) }
func (s sets) Remove(name string)                           { delete(s.sets, name) }
func (r rules) Name() string                                { return "iptables" }
func (r rules) Apply(context.Context) error                 { return r.do(r.table) }
func (r rules) Start(ctx context.Context) func() error      { return func() error { return r.Apply(ctx) } }
func (r rules) Hook(map[string]iptables.Hooks)              {}
func (r routes) Name() string                               { return "route" }
func (r routes) Apply(context.Context) error                { return r.do("routes") }
func (r routes) Replace(list []route.Route)                 { r.fake.routes = list }
func (c connections) Name() string                          { return "conntrack" }
func (c connections) Forget(addr netip.Addr)                { c.forget = append(c.forget, addr) }
func (c connections) InPlace(addr netip.Addr) bool          { return !slices.Contains(c.forget, addr) }
func (c connections) Apply(context.Context) error {
	if len(c.forget) == 0 {
		return nil
	}
	err := c.do("connections")
	if err == nil {
		c.forget = nil
	}
	return err
}
func (r rules) Set(c iptables.Chain) {
	r.rendered++
	r.fake.chains[r.table+" "+c.Name] = c
}
func (r rules) Remove(name string)                      { delete(r.fake.chains, r.table+" "+name) }
func (underlay) Of([]netip.Addr) ([]route.Route, error) { return nil, nil }
func (underlay) Observe(dataplane.Event) bool           { return false }
func (underlay) Resync()                                {}

func (i ifaces) Apply(context.Context) error { return nil }
func (i ifaces) Exists(name string) bool {
	return slices.Contains(slices.Collect(maps.Values(i.addrs)), name)
}
func (i ifaces) WithAddr(addr netip.Addr) string { return i.addrs[addr] }
func (i ifaces) Observe(e dataplane.Event) bool  { return e.Kind == dataplane.EventAddr }
func (r routes) InPlace(k route.Key) bool {
	return r.fail["routes"] == nil && slices.ContainsFunc(r.fake.routes, func(have route.Route) bool { return have.Dst == k.Dst })
}

// source hands out commits.
type source struct {
	commits chan wire.Commit
	reports []wire.Report
}

func (s *source) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case c, open := <-s.commits:
		if !open {
			return wire.Commit{}, stream.ErrClosed
		}
		return c, nil
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

func (s *source) Report(r wire.Report) { s.reports = append(s.reports, r) }

// nothing is a BGP speaker and node facts that say nothing.
type nothing struct{}

func (nothing) Configure(bgp.Config)       {}
func (nothing) Changes() <-chan struct{}   { return nil }
func (nothing) Routes() []bgp.Route        { return nil }
func (nothing) Status() bgp.Status         { return bgp.Status{} }
func (nothing) Facts() <-chan node.Facts   { return nil }
func (nothing) SetTunnelPools([]ipam.Pool) {}
func (nothing) Check()                     {}

// rig is an agent in a synctest bubble.
type rig struct {
	*fake
	agent  *felix.Agent
	events chan dataplane.Event
	source *source
	ended  chan error
}

func newRig(t *testing.T, known ...wire.Object) *rig {
	t.Helper()
	return newRigWith(t, node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}}, known...)
}

func newRigWith(t *testing.T, facts node.Facts, known ...wire.Object) *rig {
	t.Helper()
	r := &rig{fake: &fake{fail: map[string]error{}, sets: map[string]int{},
		chains: map[string]iptables.Chain{}, addrs: map[netip.Addr]string{}}, source: &source{commits: make(chan wire.Commit)},
		events: make(chan dataplane.Event), ended: make(chan error, 1)}
	j, err := journal.Open(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	if len(known) > 0 {
		if err := j.Append(wire.Commit{Upserts: known}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	r.agent, err = felix.NewAgent(felix.Options{Node: "n1", Source: r.source, Whole: true, Journal: j, Speaker: nothing{}, Facts: nothing{},
		Drivers: felix.Drivers{Interfaces: ifaces{r.fake}, Links: links{r.fake}, Sysctls: sysctls{r.fake}, Families: []felix.FamilyDrivers{{Family: dataplane.IPv4,
			Sets: sets{r.fake}, Raw: rules{r.fake, "raw"}, Mangle: rules{r.fake, "mangle"}, Filter: rules{r.fake, "filter"}, NAT: rules{r.fake, "nat"}, Routes: routes{r.fake}, Underlay: underlay{}, Connections: connections{r.fake}}}},
		Events: r.events, FirstFacts: facts,
		Config: c, Metrics: felix.NewMetrics(prometheus.NewRegistry(), time.Now()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.ended <- r.agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
		j.Close()
	})
	return r
}

func (r *rig) commit(objects ...wire.Object) {
	synctest.Wait()
	r.source.commits <- wire.Commit{Number: uint64(len(r.source.reports) + 1), Upserts: objects, InSync: true}
	synctest.Wait()
}

// later lets time pass, and the agent end what it then does. The agent is asked for something first, so that what the test did
// to the fake happens before what a timer makes the agent do.
func (r *rig) later(t *testing.T, d time.Duration) {
	t.Helper()
	if _, err := r.agent.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) hasChain(name string) bool {
	_, has := r.chains["filter "+name]
	return has
}

// bubble runs a test in virtual time: its sleeps only let the agent's timers come due.
func bubble(t *testing.T, test func(*testing.T)) { synctest.Test(t, test) }

var (
	pool     = &wire.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.65.0.0/16")}
	set      = &wire.IPSet{Name: "s", Type: wire.SetNet, Nets: []netip.Prefix{netip.MustParsePrefix("10.65.0.9/32")}}
	deny     = &wire.Policy{Name: "deny", Tier: "default"}
	endpoint = &wire.Endpoint{Namespace: "shop", Pod: "web", UID: "1", Node: "n1",
		Tiers: []wire.Tier{{Name: "default", Ingress: []string{"deny"}, DefaultAction: wire.Deny}}}
	workload = cniserver.Workload{Namespace: "shop", Pod: "web", UID: "1", ContainerID: "c", HostIface: "cali1", Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.2")}}
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
		want := []string{"links", "sysctls", "grow", "raw", "mangle", "filter", "nat", "routes", "shrink"}
		if diff := cmp.Diff(want, r.log); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if err := r.agent.Ready(); err != nil {
			t.Error(err)
		}
		if r.sets["cali40s"] != 1 || len(r.source.reports) != 1 || r.source.reports[0].Applied != 1 {
			t.Errorf("sets %v, reports %+v", r.sets, r.source.reports)
		}
	})
}

// TestAdd: an ADD ends when policy, route and settings are in place, not before.
func TestAdd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		broken := errors.New("broken")
		parts := []string{"connections", "grow", "filter", "nat", "routes", "sysctls", ""}
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
		r.agent.Remove("cali1")
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
		if err := r.agent.Add(ctx, workload); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "pod shop/web") {
			t.Errorf("ADD of a pod without policy: %v", err)
		}
		if _, err := r.agent.Annotations(ctx, "shop", "web", "1"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "pod shop/web") {
			t.Errorf("annotations of a pod that is not known: %v", err)
		}
		r.commit(endpoint, deny)
		if _, err := r.agent.Annotations(t.Context(), "shop", "web", ""); err != nil {
			t.Error(err)
		}
	})
}

// TestFailedRules: a set that rules may still name is not taken from them, pods get no routes before rules stood
// once, and what failed is tried again.
func TestFailedRules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fail["filter"] = errors.New("broken")
		r.commit(pool)
		if slices.Contains(r.log, "shrink") || slices.Contains(r.log, "routes") || r.agent.Ready() == nil {
			t.Errorf("with rules that fail: %v", r.log)
		}
		if report := r.source.reports[0]; report.Applied != 0 || !slices.Contains(report.Errors, "broken") {
			t.Errorf("report %+v", report)
		}
		delete(r.fail, "filter")
		r.later(t, time.Minute)
		if !slices.Contains(r.log, "shrink") || !slices.Contains(r.log, "routes") || r.agent.Ready() != nil {
			t.Errorf("after the rules work again: %v, %v", r.log, r.agent.Ready())
		}
		// Rules that stood once protect: what fails later does not hold routes up.
		r.fail["filter"], r.log = errors.New("broken"), nil
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
		if r.sets["cali40s"] != 1 || !slices.Contains(r.log, "filter") || r.agent.Ready() == nil {
			t.Errorf("without a stream: sets %v, %v", r.sets, r.log)
		}
		r.commit(pool)
		if _, exists := r.sets["cali40s"]; exists || r.agent.Ready() != nil {
			t.Errorf("in sync: sets %v, %v", r.sets, r.agent.Ready())
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

// TestPoolFollowsLabels: a pod's address comes out of the pools that select the node's labels, as the stream says both. Where the
// stream says no labels, what the node itself found out counts.
func TestPoolFollowsLabels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		labelled := func(rack string) *wire.Node {
			return &wire.Node{Name: "n1", Labels: map[string]string{"rack": rack}}
		}
		pool := func(name, cidr, selector string) *wire.Pool {
			return &wire.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), BlockSize: 26, NodeSelector: selector}
		}
		east, west := pool("east", "10.65.0.0/16", "rack == 'a'"), pool("west", "10.66.0.0/16", "rack == 'b'")
		r := newRigWith(t, node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"},
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

// TestPoolsWithPolicy: whoever waited for a pod's policy finds the pools of the same commit.
func TestPoolsWithPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		pools := make(chan int, 1)
		go func() {
			if _, err := r.agent.Annotations(t.Context(), "shop", "web", "1"); err != nil {
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
