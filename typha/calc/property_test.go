package calc_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

var (
	seed     = flag.Uint64("seed", 0, "seed of the random clusters; 0 takes the time")
	clusters = flag.Int("clusters", long.Or(20_000, 1000), "random clusters to try")
	flows    = flag.Int("flows", 150, "random flows in each cluster")
	only     = flag.Int("cluster", -1, "the only cluster to try")
)

// seeded gives the n-th source of random resources.
func seeded(t *testing.T, n int) random {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if n == 0 {
		t.Logf("seed %d (repeat with -seed, one cluster with -cluster)", *seed)
	}
	return random{rand.New(rand.NewPCG(*seed, uint64(n))), selectors{}}
}

// eachCluster runs a test for every random cluster, or for the one that is asked for.
func eachCluster(t *testing.T, try func(n int, h *history)) {
	for n := range *clusters {
		r := seeded(t, n)
		if *only >= 0 && n != *only {
			continue
		}
		h := &history{r: r, live: map[ref]metav1.Object{}, makers: r.makers(), engine: calc.NewBounded}
		try(n, h)
		if t.Failed() {
			t.Fatalf("seed %d cluster %d", *seed, n)
		}
	}
}

type ref struct{ kind, ns, name string }

func cmpRefs(a, b ref) int {
	return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.ns, b.ns), strings.Compare(a.name, b.name))
}

// history is the resources of a cluster at one time, and what happened to them.
type history struct {
	r      random
	live   map[ref]metav1.Object
	makers []func() metav1.Object
	engine func() *calc.Engine
}

// makers gives the kinds of resources that a cluster has: those of its datastore, and not all of them, so that those it
// has meet often.
func (r random) makers() (out []func() metav1.Object) {
	store := kubernetes
	if r.chance(15) {
		store = etcd
	}
	for _, m := range makers {
		if m.in&store == 0 || !r.chance(m.percent) {
			continue
		}
		for range m.weight {
			out = append(out, func() metav1.Object { return m.make(r) })
		}
	}
	return out
}

const (
	kubernetes = 1 << iota
	etcd
	both = kubernetes | etcd
)

// makers are the kinds of resources, in which datastores and in how many of the clusters they are.
var makers = []struct {
	in, percent, weight int
	make                func(random) metav1.Object
}{
	{kubernetes, 100, 4, func(r random) metav1.Object { return r.pod(r.namespaceName(), r.podName()) }},
	{kubernetes, 100, 2, func(r random) metav1.Object { return r.namespace(r.namespaceName()) }},
	{kubernetes, 100, 1, func(r random) metav1.Object { return r.serviceAccount() }},
	{kubernetes, 100, 1, func(r random) metav1.Object { return r.node() }},
	{both, 100, 1, func(r random) metav1.Object { return r.pool() }},
	{both, 100, 1, func(r random) metav1.Object { return r.block(r.IntN(4)) }},
	{both, 100, 1, random.configuration},
	{kubernetes, 50, 3, func(r random) metav1.Object {
		return r.policy(r.namespaceName(),
			fmt.Sprintf("np%d", r.IntN(3)))
	}},
	{both, 60, 1, func(r random) metav1.Object { return r.tier() }},
	{both, 50, 3, func(r random) metav1.Object { return r.calicoPolicy() }},
	{both, 60, 3, func(r random) metav1.Object { return r.globalPolicy() }},
	{both, 50, 1, func(r random) metav1.Object { return r.networkSet() }},
	{both, 50, 1, func(r random) metav1.Object { return r.globalNetworkSet() }},
	{both, 60, 1, func(r random) metav1.Object { return r.hostEndpoint() }},
	{etcd, 100, 4, func(r random) metav1.Object { return r.workload() }},
	{both, 60, 1, func(r random) metav1.Object { return r.profile() }},
	{kubernetes, 60, 3, func(r random) metav1.Object { return r.slice() }},
	{kubernetes, 40, 3, func(r random) metav1.Object { return r.clusterPolicy() }},
	{both, 30, 1, func(r random) metav1.Object { return r.stagedPolicy() }},
	{both, 30, 1, func(r random) metav1.Object { return r.stagedGlobalPolicy() }},
	{kubernetes, 30, 1, func(r random) metav1.Object { return r.stagedKubernetesPolicy() }},
}

// step makes or removes a random resource and tells the engine.
func (h *history) step(e *calc.Engine) {
	o := pick(h.r, h.makers...)()
	if p, is := o.(*corev1.Pod); is && h.r.chance(45) {
		o = h.changedPod(p)
		if o == nil {
			return
		}
	}
	at := refOf(o)
	if h.r.chance(15) {
		e.Delete(at.kind, at.ns, at.name)
		delete(h.live, at)
		return
	}
	e.Upsert(o)
	h.live[at] = o
}

func refOf(o metav1.Object) ref { return ref{kindOf(o), o.GetNamespace(), o.GetName()} }

func kindOf(o metav1.Object) string {
	switch o.(type) {
	case *corev1.Pod:
		return calc.KindPod
	case *corev1.Namespace:
		return calc.KindNamespace
	case *corev1.ServiceAccount:
		return calc.KindServiceAccount
	case *corev1.Node:
		return calc.KindNode
	case *discoveryv1.EndpointSlice:
		return calc.KindEndpointSlice
	case *networkingv1.NetworkPolicy:
		return calc.KindNetworkPolicy
	case *policyv1alpha2.ClusterNetworkPolicy:
		return calc.KindClusterNetworkPolicy
	case *v3.IPPool:
		return calc.KindIPPool
	case *v3.IPAMBlock:
		return calc.KindIPAMBlock
	case *v3.BGPConfiguration:
		return calc.KindBGPConfiguration
	case *v3.BGPPeer:
		return calc.KindBGPPeer
	case *v3.FelixConfiguration:
		return calc.KindFelixConfiguration
	case *v3.Tier:
		return calc.KindTier
	case *v3.NetworkPolicy:
		return calc.KindCalicoNetworkPolicy
	case *v3.GlobalNetworkPolicy:
		return calc.KindGlobalNetworkPolicy
	case *v3.StagedNetworkPolicy:
		return calc.KindStagedNetworkPolicy
	case *v3.StagedGlobalNetworkPolicy:
		return calc.KindStagedGlobalNetworkPolicy
	case *v3.StagedKubernetesNetworkPolicy:
		return calc.KindStagedKubernetesNetworkPolicy
	case *v3.NetworkSet:
		return calc.KindNetworkSet
	case *v3.GlobalNetworkSet:
		return calc.KindGlobalNetworkSet
	case *v3.HostEndpoint:
		return calc.KindHostEndpoint
	case *v3.WorkloadEndpoint:
		return calc.KindWorkloadEndpoint
	case *v3.Profile:
		return calc.KindProfile
	}
	panic(fmt.Sprintf("no kind of %T", o))
}

// changedPod gives a pod that exists with one thing about it changed, or nil.
func (h *history) changedPod(other *corev1.Pod) metav1.Object {
	p, ok := h.live[ref{calc.KindPod, other.Namespace, other.Name}].(*corev1.Pod)
	if !ok {
		return nil
	}
	p = p.DeepCopy()
	switch h.r.IntN(5) {
	case 0:
		p.Labels = other.Labels
	case 1:
		p.Spec.Containers = other.Spec.Containers
	case 2:
		p.Status = other.Status
	case 3:
		p.DeletionTimestamp = other.DeletionTimestamp
	case 4:
		p.Spec.ServiceAccountName = other.Spec.ServiceAccountName
	}
	return p
}

// run makes a history of so many steps, and gives the engine and what the nodes have.
func (h *history) run(t *testing.T, steps int) (*calc.Engine, *world) {
	e, w := h.engine(), newWorld()
	for range steps {
		h.step(e)
		if h.r.chance(30) {
			w.apply(t, e.Flush())
		}
	}
	w.apply(t, e.Flush())
	return e, w
}

// flow draws two addresses of one family, most of them of pods.
func (h *history) flow(addrs []netip.Addr) *flow {
	r := h.r
	v6 := r.chance(25)
	draw := func() netip.Addr {
		for range 8 {
			if len(addrs) == 0 || r.chance(25) {
				break
			}
			if a := pick(r, addrs...); a.Is6() == v6 {
				return a
			}
		}
		if !v6 && r.chance(30) { // of nodes, or of Services
			return netip.AddrFrom4(pick(r, [4]byte{172, 30, 0, byte(r.IntN(3))},
				[4]byte{10, 0, 0, byte(1 + r.IntN(2))}))
		}
		return r.addr(v6)
	}
	f := &flow{src: draw(), dst: draw(), protocol: protocols[pick(r, "TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP",
		"UDPLite", "GRE")]}
	switch f.protocol {
	case protocols["ICMP"]:
		f.icmpType, f.icmpCode = pick[uint8](r, 0, 8), uint8(r.IntN(2))
		if v6 {
			f.protocol = protocols["ICMPv6"]
		}
	case protocols["TCP"], protocols["UDP"], protocols["SCTP"]:
		f.sport, f.dport = 79+uint16(r.IntN(6)), 79+uint16(r.IntN(6))
	case 0:
		f.protocol = 47
	}
	return f
}

// addresses gives those that something has.
func (o *oracle) addresses() []netip.Addr {
	for last := range 32 {
		for _, a := range []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}), netip.AddrFrom4([4]byte{10, 0, 1, byte(last)}),
			netip.AddrFrom4([4]byte{192, 168, 0, byte(last)}), netip.AddrFrom16([16]byte{0xfd, 15: byte(last)}),
		} {
			o.at(a)
		}
	}
	for last := range 4 {
		o.at(netip.AddrFrom4([4]byte{192, 168, 9, byte(last)}))
		o.at(netip.AddrFrom16([16]byte{0xfd, 13: 9, 15: byte(last)}))
	}
	return slices.DeleteFunc(slices.SortedFunc(maps.Keys(o.known), netip.Addr.Compare),
		func(a netip.Addr) bool { return len(o.known[a]) == 0 })
}

var compareWorlds = gocmp.Options{gocmp.AllowUnexported(world{}),
	cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})}

// same fails where two things differ. Saying how takes long, so it is asked for only then.
func same[T any](t *testing.T, what string, a, b T) {
	t.Helper()
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s:\n%s", what, gocmp.Diff(a, b, compareWorlds))
	}
}

// TestOrderDoesNotMatter replays the end of a random history to other engines, in other orders,
// with repetitions and with other flushes.
func TestOrderDoesNotMatter(t *testing.T) {
	eachCluster(t, func(n int, h *history) {
		_, w := h.run(t, 60)
		w.equalsReplay(t, h)
	})
}

// equalsReplay replays the end of a history to another engine.
func (w *world) equalsReplay(t *testing.T, h *history) {
	other, again := h.engine(), newWorld()
	refs := slices.SortedFunc(maps.Keys(h.live), cmpRefs)
	h.r.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	for _, at := range refs {
		other.Upsert(h.live[at])
		if h.r.chance(30) {
			other.Upsert(h.live[at])
		}
		if h.r.chance(20) {
			again.apply(t, other.Flush())
		}
		if h.r.chance(20) {
			back := pick(h.r, refs...)
			other.Delete(back.kind, back.ns, back.name)
			other.Upsert(h.live[back])
		}
	}
	again.apply(t, other.Flush())
	same(t, "another order gives (-history +replay)", w, again)
	if d := other.Flush(); !d.Empty() {
		t.Errorf("a second flush gives %+v", d)
	}
}

// TestDeletionLeavesNothing takes everything out again, in random order.
func TestDeletionLeavesNothing(t *testing.T) {
	eachCluster(t, func(n int, h *history) {
		e, w := h.run(t, 60)
		w.isLeftEmpty(t, h, e)
	})
}

// isLeftEmpty takes out what a history left.
func (w *world) isLeftEmpty(t *testing.T, h *history, e *calc.Engine) {
	refs := slices.SortedFunc(maps.Keys(h.live), cmpRefs)
	h.r.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	for _, at := range refs {
		e.Delete(at.kind, at.ns, at.name)
		if h.r.chance(20) {
			w.apply(t, e.Flush())
		}
	}
	w.apply(t, e.Flush())
	if len(w.objects)+len(w.needs) > 0 {
		t.Errorf("left in the world: %v", w)
	}
	if residue := e.Residue(); len(residue) > 0 {
		t.Errorf("left in the engine: %v", residue)
	}
}

// TestWhatComesAndGoesLeavesNothing makes a resource come and go again, or change and change back, and expects that
// nodes and engine have what they had.
func TestWhatComesAndGoesLeavesNothing(t *testing.T) {
	eachCluster(t, func(n int, h *history) {
		e, w := h.run(t, 40)
		objects, needs, residue := maps.Clone(w.objects), needsOf(w), e.Residue()
		for range 10 {
			o := pick(h.r, h.makers...)()
			at := refOf(o)
			e.Upsert(o)
			if h.r.chance(70) {
				w.apply(t, e.Flush())
			}
			if before, was := h.live[at]; was {
				e.Upsert(before)
			} else {
				e.Delete(at.kind, at.ns, at.name)
			}
		}
		w.apply(t, e.Flush())
		same(t, "nodes have (-before +after)", &world{objects, needs}, w)
		same(t, "the engine remembers (-before +after)", residue, e.Residue())
	})
}

func needsOf(w *world) map[string]map[wire.ID]bool {
	needs := map[string]map[wire.ID]bool{}
	for node, ids := range w.needs {
		needs[node] = maps.Clone(ids)
	}
	return needs
}

// TestNodesGetNoMoreThanTheyNeed: a node has its endpoints, the policies and profiles that these name, and the sets
// that those name. A policy that is hinted to be needed on every node may be more.
func TestNodesGetNoMoreThanTheyNeed(t *testing.T) {
	eachCluster(t, func(n int, h *history) {
		_, w := h.run(t, 60)
		for _, o := range h.live {
			if hinted(o) {
				return
			}
		}
		for node, ids := range w.needs {
			named := w.named(node)
			for id := range ids {
				if s, is := w.objects[id].(*wire.IPSet); is && len(s.Nets)+len(s.Ports) == 0 {
					continue // it may be of a Service with too many members, which rules name but on the wire
				}
				if (id.Kind == wire.KindPolicy || id.Kind == wire.KindIPSet) && !named[id] {
					t.Errorf("%s is given %s, which nothing of it names", node, id)
				}
			}
		}
	})
}

func hinted(o metav1.Object) bool {
	switch p := o.(type) {
	case *v3.NetworkPolicy:
		return len(p.Spec.PerformanceHints) > 0
	case *v3.GlobalNetworkPolicy:
		return len(p.Spec.PerformanceHints) > 0
	}
	return false
}
