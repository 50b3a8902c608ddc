package felix_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// fake is every driver at once: it records what is applied, in order, and fails what it is told to. The test touches it
// only when the agent waits; see rig.later.
type fake struct {
	log    []string
	fail   map[string]error
	routes []route.Route
	sets   map[string]int // members
	// withheld are the sets that are not to be made.
	withheld map[string]error
	chains   map[string]filter.Chain // by table and name
	// rendered counts the chains that were set.
	rendered int
	addrs    map[netip.Addr]string // of interfaces
	forget   []netip.Addr          // whose connections the next apply deletes
	// programmed says that an earlier process left rules.
	programmed bool
	// unlisted says that the interfaces are not known until they are listed.
	unlisted bool
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
	links       struct{ *fake }
	sysctls     struct{ *fake }
	rules       struct{ *fake }
	ifaces      struct{ *fake }
	routes      struct{ *fake }
	connections struct{ *fake }
	underlay    struct{}
)

func (f *fake) Resync()                               {}
func (f *fake) Observe(dataplane.Event) bool          { return false }
func (f *fake) Changed(context.Context) (bool, error) { return false, nil }
func (l links) Name() string                          { return "link" }
func (l links) Apply(context.Context) error           { return l.do("links") }
func (l links) Replace([]tunnel.Device)               {}
func (s sysctls) Name() string                        { return "sysctl" }
func (s sysctls) Apply(context.Context) error         { return s.do("sysctls") }
func (s sysctls) Set(string, string)                  {}
func (s sysctls) RemoveDevice(string)                 {}
func (s sysctls) Read(string) (string, error)         { return "0", nil }
func (s sysctls) InPlace(string) bool                 { return s.fail["sysctls"] == nil }
func (r routes) Name() string                         { return "route" }
func (r routes) Apply(context.Context) error          { return r.do("routes") }
func (r routes) Replace(list []route.Route) {
	r.fake.routes = nil
	for _, one := range list {
		r.Set(one)
	}
}
func (r routes) Set(one route.Route) {
	r.Remove(route.Key{Dst: one.Dst})
	r.fake.routes = append(r.fake.routes, one)
	slices.SortFunc(r.fake.routes, func(a, b route.Route) int { return a.Dst.Addr().Compare(b.Dst.Addr()) })
}
func (r routes) Remove(k route.Key) {
	r.fake.routes = slices.DeleteFunc(r.fake.routes, func(have route.Route) bool { return have.Dst == k.Dst })
}
func (c connections) Name() string                 { return "conntrack" }
func (c connections) Forget(addr netip.Addr)       { c.forget = append(c.forget, addr) }
func (c connections) InPlace(addr netip.Addr) bool { return !slices.Contains(c.forget, addr) }
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
func (underlay) Of([]netip.Addr) ([]route.Route, error) { return nil, nil }
func (underlay) Observe(dataplane.Event) bool           { return false }
func (underlay) Resync()                                {}

func (r rules) Name() string  { return "iptables" }
func (r rules) ResyncChains() {}
func (r rules) ResyncSets()   {}
func (r rules) Programmed(context.Context) (bool, error) {
	return r.programmed, r.fail["programmed"]
}

// Start takes a commit as desired. What a chain is that names a set which is withheld, closed says.
func (r rules) Start(_ context.Context, c filter.Commit) func() error {
	if c.Withheld != nil {
		r.withheld = c.Withheld
	}
	for _, s := range c.Sets {
		switch {
		case s.Gone:
			delete(r.sets, s.ID)
			continue
		case s.Whole != nil:
			r.sets[s.ID] = len(s.Whole.Members)
		}
		r.sets[s.ID] += len(s.Added) - len(s.Removed)
	}
	for _, id := range c.Gone {
		delete(r.chains, string(id.Table)+" "+id.Name)
	}
	for _, chain := range c.Chains {
		r.rendered++
		r.chains[string(chain.Table)+" "+chain.Name] = chain
	}
	return func() error {
		step := "rules"
		if c.Keep {
			step = "guard"
		}
		errs := []error{r.do(step)}
		for _, id := range slices.Sorted(maps.Keys(r.withheld)) {
			errs = append(errs, &filter.Error{Set: id, Closed: true, Err: r.withheld[id]})
		}
		return errors.Join(errs...)
	}
}

func (i ifaces) Apply(context.Context) (listed bool, err error) {
	listed, i.unlisted = i.unlisted, false
	return listed, nil
}
func (i ifaces) Exists(name string) bool {
	return !i.unlisted && slices.Contains(slices.Collect(maps.Values(i.addrs)), name)
}
func (i ifaces) AddrsBut(name string) []netip.Addr {
	return slices.SortedFunc(func(yield func(netip.Addr) bool) {
		for addr, device := range i.addrs {
			if device != name && !yield(addr) {
				return
			}
		}
	}, netip.Addr.Compare)
}
func (i ifaces) WithAddr(addr netip.Addr) string { return i.addrs[addr] }
func (i ifaces) Observe(e dataplane.Event) bool {
	return e.Kind == dataplane.EventAddr || e.Kind == dataplane.EventLink
}
func (r routes) InPlace(k route.Key) bool {
	return r.fail["routes"] == nil && slices.ContainsFunc(r.fake.routes,
		func(have route.Route) bool { return have.Dst == k.Dst })
}

// source hands out commits.
type source struct {
	commits chan wire.Commit
	reports []wire.Report
	answers []wire.StatusAnswer
}

func (s *source) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case c, open := <-s.commits:
		if !open {
			return wire.Commit{}, hub.ErrClosed
		}
		return c, nil
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

func (s *source) Answer(a wire.StatusAnswer) { s.answers = append(s.answers, a) }

func (s *source) Report(r wire.Report) { s.reports = append(s.reports, r) }

// speaker has what it was configured to do, and says what it is told to.
type speaker struct {
	config  bgp.Config
	changes chan struct{}
	routes  []bgp.Route
	status  bgp.Status
}

func (s *speaker) Configure(c bgp.Config)   { s.config = c }
func (s *speaker) Changes() <-chan struct{} { return s.changes }
func (s *speaker) Routes() []bgp.Route      { return s.routes }
func (s *speaker) Status() bgp.Status       { return s.status }

// nothing is node facts that do not change.
type nothing struct{}

func (nothing) Facts() <-chan node.Facts        { return nil }
func (nothing) SetTunnelPools(node.TunnelPools) {}
func (nothing) Check()                          {}

// rig is an agent in a synctest bubble.
type rig struct {
	*fake
	agent   *felix.Agent
	speaker *speaker
	events  chan dataplane.Event
	source  *source
	ended   chan error
	// registry has the agent's metrics.
	registry *prometheus.Registry
}

func newRig(t *testing.T, known ...wire.Object) *rig {
	t.Helper()
	return newRigWith(t, node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"),
		Device: "eth0"}}, known...)
}

func newRigWith(t *testing.T, facts node.Facts, known ...wire.Object) *rig {
	t.Helper()
	j := journal.Open(filepath.Join(t.TempDir(), "stream"))
	if len(known) > 0 {
		j.Append(wire.Commit{Upserts: known})
	}
	return newRigOf(t, facts, j)
}

// newRigOf starts from a journal.
func newRigOf(t *testing.T, facts node.Facts, j *journal.Journal) *rig {
	t.Helper()
	return newRigSet(t, nil, facts, j)
}

// newRigSet has settings of its own.
func newRigSet(t *testing.T, settings map[string]string, facts node.Facts, j *journal.Journal) *rig {
	t.Helper()
	return newRigOn(t, newFake(), settings, facts, j)
}

func newFake() *fake {
	return &fake{fail: map[string]error{}, sets: map[string]int{}, chains: map[string]filter.Chain{},
		addrs: map[netip.Addr]string{}}
}

// newRigOn starts on a kernel that may have something.
func newRigOn(t *testing.T, kernel *fake, settings map[string]string, facts node.Facts, j *journal.Journal) *rig {
	t.Helper()
	r := &rig{fake: kernel, source: &source{commits: make(chan wire.Commit)},
		speaker: &speaker{changes: make(chan struct{})}, events: make(chan dataplane.Event), ended: make(chan error, 1),
		registry: prometheus.NewRegistry()}
	local := []config.Source{{Name: "test", Values: settings}}
	c, err := config.Resolve(local...)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := policy.MarksOf(c.IptablesMarkMask)
	if err != nil {
		t.Fatal(err)
	}
	drivers := linux.Drivers{Tunnels: links{r.fake}, Sysctls: sysctls{r.fake}, Families: []linux.FamilyDrivers{{
		Family: dataplane.IPv4, Filter: rules{r.fake}, Routes: routes{r.fake}, Connections: connections{r.fake}}}}
	r.agent = felix.NewAgent(felix.Options{Node: "n1", Source: r.source, Whole: true, Journal: j, Speaker: r.speaker,
		Facts:     nothing{},
		Dataplane: linux.New(drivers, marks, nil), Interfaces: ifaces{r.fake},
		Underlay: map[dataplane.Family]felix.Underlay{dataplane.IPv4: underlay{}},
		Events:   r.events, FirstFacts: facts,
		Local: local, Config: c, Metrics: felix.NewMetrics(r.registry), Log: slog.New(slog.DiscardHandler)})
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

// later lets time pass, and the agent end what it then does. The agent is asked for something first, so that what the
// test did to the fake happens before what a timer makes the agent do.
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
	workload = cniserver.Workload{Namespace: "shop", Pod: "web", UID: "1", ContainerID: "c", HostIface: "cali1",
		Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.2")}}
)
