package calc_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
)

var (
	seed     = flag.Uint64("seed", 0, "seed of the random clusters; 0 takes the time")
	clusters = flag.Int("clusters", long.Or(20_000, 400), "random clusters to try")
	flows    = flag.Int("flows", 300, "random flows in each cluster")
)

func seeded(t *testing.T, n int) random {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if n == 0 {
		t.Logf("seed %d (repeat with -seed)", *seed)
	}
	return random{rand.New(rand.NewPCG(*seed, uint64(n)))}
}

type ref struct{ kind, ns, name string }

// history is the resources of a cluster at one time, and what happened to them.
type history struct {
	r    random
	live map[ref]metav1.Object
}

// step makes or removes a random resource and tells the engine.
func (h *history) step(e *calc.Engine) {
	r := h.r
	var o metav1.Object
	var at ref
	switch r.IntN(16) {
	case 13, 14, 15:
		if at, o = h.changedPod(); o == nil {
			return
		}
	case 10:
		n := r.node()
		at, o = ref{calc.KindNode, "", n.Name}, n
	case 11:
		at, o = r.pool()
	case 12:
		at, o = r.configuration()
	case 0, 1:
		at = ref{calc.KindNamespace, "", r.namespaceName()}
		o = r.namespace(at.name)
	case 2:
		b := r.block(r.IntN(3))
		at, o = ref{calc.KindIPAMBlock, "", b.Name}, b
	case 3, 4, 5:
		at = ref{calc.KindNetworkPolicy, r.namespaceName(), fmt.Sprintf("np%d", r.IntN(3))}
		o = r.policy(at.ns, at.name)
	default:
		at = ref{calc.KindPod, r.namespaceName(), r.podName()}
		o = r.pod(at.ns, at.name)
	}
	if r.chance(18) {
		e.Delete(at.kind, at.ns, at.name)
		delete(h.live, at)
		return
	}
	e.Upsert(o)
	h.live[at] = o
}

// changedPod gives a pod that exists with one thing about it changed.
func (h *history) changedPod() (ref, metav1.Object) {
	r := h.r
	at := ref{calc.KindPod, r.namespaceName(), r.podName()}
	p, ok := h.live[at].(*corev1.Pod)
	if !ok {
		return at, nil
	}
	p, other := p.DeepCopy(), r.pod(at.ns, at.name)
	switch r.IntN(4) {
	case 0:
		p.Labels = other.Labels
	case 1:
		p.Spec.Containers = other.Spec.Containers
	case 2:
		p.Status = other.Status
	case 3:
		p.DeletionTimestamp = other.DeletionTimestamp
	}
	return at, p
}

func (h *history) oracle() *oracle {
	o := &oracle{}
	for _, object := range h.live {
		switch x := object.(type) {
		case *corev1.Pod:
			o.pods = append(o.pods, x)
		case *corev1.Namespace:
			o.namespaces = append(o.namespaces, x)
		case *networkingv1.NetworkPolicy:
			o.policies = append(o.policies, x)
		case *v3.IPAMBlock:
			o.blocks = append(o.blocks, x)
		}
	}
	// The flows drawn with a seed must not depend on the order of a map.
	slices.SortFunc(o.pods, func(a, b *corev1.Pod) int { return cmpNames(a, b) })
	return o
}

func cmpNames(a, b metav1.Object) int {
	x, y := a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName()
	if x < y {
		return -1
	} else if x > y {
		return 1
	}
	return 0
}

// flow draws two addresses of one family, most of them of pods.
func (h *history) flow(o *oracle, owned map[netip.Addr]*corev1.Pod, addrs []netip.Addr) flow {
	r := h.r
	v6 := r.chance(25)
	draw := func() netip.Addr {
		for range 8 {
			if len(addrs) == 0 || r.chance(15) {
				break
			}
			if a := pick(r, addrs...); a.Is6() == v6 {
				return a
			}
		}
		return r.addr(v6)
	}
	f := flow{src: draw(), dst: draw(), port: 79 + int32(r.IntN(6))}
	f.protocol = pick(r, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	f.srcp, f.dstp = owned[f.src], owned[f.dst]
	return f
}

// ownership asks the oracle for the owner of every address that occurs.
func (o *oracle) ownership() (map[netip.Addr]*corev1.Pod, []netip.Addr) {
	owned := map[netip.Addr]*corev1.Pod{}
	for last := range 32 {
		for _, a := range []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}), netip.AddrFrom4([4]byte{10, 0, 1, byte(last)}),
			netip.AddrFrom4([4]byte{192, 168, 0, byte(last)}), netip.AddrFrom16([16]byte{0xfd, 15: byte(last)}),
		} {
			if p := o.owner(a); p != nil {
				owned[a] = p
			}
		}
	}
	return owned, slices.SortedFunc(maps.Keys(owned), netip.Addr.Compare)
}

// TestVerdictsEqualTheOracles compares, over random histories of random clusters, what the nodes would
// do with what the documentation says.
func TestVerdictsEqualTheOracles(t *testing.T) {
	allowed, denied := 0, 0
	for n := range *clusters {
		h := &history{r: seeded(t, n), live: map[ref]metav1.Object{}}
		e, w := calc.New(), newWorld()
		for range 20 + h.r.IntN(60) {
			h.step(e)
			if h.r.chance(30) {
				w.apply(t, e.Flush())
			}
		}
		w.apply(t, e.Flush())
		o := h.oracle()
		owned, addrs := o.ownership()
		for range *flows {
			f := h.flow(o, owned, addrs)
			want := o.allows(f)
			got, err := w.allows(f)
			if err != nil {
				t.Fatalf("seed %d cluster %d: %+v: %v", *seed, n, f, err)
			}
			if got != want {
				t.Fatalf("seed %d cluster %d: %s -> %s %s/%d: engine says %v, oracle %v", *seed, n, f.src, f.dst, f.protocol, f.port, got, want)
			}
			if want {
				allowed++
			} else {
				denied++
			}
		}
	}
	t.Logf("%d flows allowed, %d denied", allowed, denied)
	if total := allowed + denied; total > 1000 && (allowed < total/5 || denied < total/5) {
		t.Errorf("the clusters say little: %d allowed, %d denied", allowed, denied)
	}
}

var compareWorlds = cmp.Options{cmp.AllowUnexported(world{}), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})}

// TestOrderDoesNotMatter replays the end of a random history to other engines, in other orders,
// with repetitions and with other flushes.
func TestOrderDoesNotMatter(t *testing.T) {
	for n := range *clusters {
		h := &history{r: seeded(t, n), live: map[ref]metav1.Object{}}
		e, w := calc.New(), newWorld()
		for range 60 {
			h.step(e)
			if h.r.chance(30) {
				w.apply(t, e.Flush())
			}
		}
		w.apply(t, e.Flush())

		other, again := calc.New(), newWorld()
		refs := slices.SortedFunc(maps.Keys(h.live), func(a, b ref) int { return cmpStrings(fmt.Sprint(a), fmt.Sprint(b)) })
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
		for _, at := range refs { // those that came back before their turn were newer all along
			other.Upsert(h.live[at])
		}
		again.apply(t, other.Flush())
		if diff := cmp.Diff(w, again, compareWorlds); diff != "" {
			t.Fatalf("seed %d cluster %d: another order gives (-history +replay):\n%s", *seed, n, diff)
		}
		if d := other.Flush(); !d.Empty() {
			t.Fatalf("seed %d cluster %d: a second flush gives %+v", *seed, n, d)
		}
	}
}

func cmpStrings(a, b string) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// TestDeletionLeavesNothing takes everything out again, in random order.
func TestDeletionLeavesNothing(t *testing.T) {
	for n := range *clusters {
		h := &history{r: seeded(t, n), live: map[ref]metav1.Object{}}
		e, w := calc.New(), newWorld()
		for range 60 {
			h.step(e)
			if h.r.chance(20) {
				w.apply(t, e.Flush())
			}
		}
		for at := range h.live {
			e.Delete(at.kind, at.ns, at.name)
			if h.r.chance(20) {
				w.apply(t, e.Flush())
			}
		}
		w.apply(t, e.Flush())
		if len(w.objects)+len(w.needs) > 0 {
			t.Fatalf("seed %d cluster %d: left in the world: %v", *seed, n, w)
		}
		if residue := e.Residue(); len(residue) > 0 {
			t.Fatalf("seed %d cluster %d: left in the engine: %v", *seed, n, residue)
		}
	}
}
