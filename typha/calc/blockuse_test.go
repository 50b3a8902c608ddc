package calc_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// blockAt makes a block that was created at a time, in seconds, whose first address serves a pod, or nothing if owner
// is nil.
func blockAt(cidr string, created int64, affinity string, owner map[string]string) *v3.IPAMBlock {
	prefix := netip.MustParsePrefix(cidr)
	b := newBlock(affinity, owner)
	b.ObjectMeta = metav1.ObjectMeta{Name: strings.NewReplacer(".", "-", ":", "-", "/", "-").Replace(cidr),
		CreationTimestamp: at(created)}
	b.Spec.CIDR = cidr
	allocations := make([]*int, 1<<(prefix.Addr().BitLen()-prefix.Bits()))
	copy(allocations, b.Spec.Allocations)
	b.Spec.Allocations = allocations
	return b
}

// routes lists the routes of a world as "destination node".
func routes(w *world) (list []string) {
	for _, o := range w.objects {
		if r, is := o.(*wire.Route); is {
			list = append(list, r.Dst.String()+" "+r.Node)
		}
	}
	slices.Sort(list)
	return list
}

// TestBlocksThatAreNotUsed: what a node writes into blocks of its own making draws nobody else's traffic.
func TestBlocksThatAreNotUsed(t *testing.T) {
	e, w := calc.New(), newWorld()
	problems := map[string]string{}
	expect := func(what string, unused []string, want ...string) {
		t.Helper()
		d := e.Flush()
		w.apply(t, d)
		for _, v := range d.Problems {
			problems[v.Name] = v.Reason
			if v.Reason == "" {
				delete(problems, v.Name)
			}
		}
		if got := routes(w); !slices.Equal(got, want) {
			t.Errorf("%s: routes %v, want %v", what, got, want)
		}
		for _, name := range unused {
			if !strings.Contains(problems[name], "not used") {
				t.Errorf("%s: the problem on block %s is %q", what, name, problems[name])
			}
		}
		if len(problems) != len(unused) {
			t.Errorf("%s: problems %v, want some on %v", what, problems, unused)
		}
	}
	pool := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: meta(name), Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	e.Upsert(pool("p", "10.244.0.0/16"))
	e.Upsert(blockAt("10.244.0.0/29", 1, "host:n1", map[string]string{"node": "n2"}))
	e.Upsert(blockAt("8.8.8.8/29", 1, "host:evil", nil))
	expect("a block outside the pools", []string{"8-8-8-8-29"}, "10.244.0.0/29 n1", "10.244.0.0/32 n2")

	e.Upsert(blockAt("10.244.0.0/32", 2, "host:evil", nil))
	e.Upsert(blockAt("10.244.0.0/20", 2, "host:evil", nil))
	expect("younger blocks within and around", []string{"10-244-0-0-20", "10-244-0-0-32", "8-8-8-8-29"},
		"10.244.0.0/29 n1", "10.244.0.0/32 n2")
	e.Delete(calc.KindIPAMBlock, "", "10-244-0-0-29")
	expect("the older block goes", []string{"10-244-0-0-32", "8-8-8-8-29"}, "10.244.0.0/20 evil")
	e.Upsert(blockAt("10.244.0.0/29", 3, "host:n1", nil))
	expect("it is made again", []string{"10-244-0-0-29", "10-244-0-0-32", "8-8-8-8-29"}, "10.244.0.0/20 evil")
	e.Upsert(blockAt("10.244.0.0/20", 4, "host:evil", nil))
	expect("the large one is made again", []string{"10-244-0-0-20", "10-244-0-0-29", "8-8-8-8-29"},
		"10.244.0.0/32 evil")
	e.Delete(calc.KindIPAMBlock, "", "10-244-0-0-32")
	expect("the small one goes", []string{"10-244-0-0-20", "8-8-8-8-29"}, "10.244.0.0/29 n1")

	e.Delete(calc.KindIPPool, "", "p")
	expect("the pool goes", []string{"10-244-0-0-20", "10-244-0-0-29", "8-8-8-8-29"})
	e.Upsert(pool("q", "8.8.8.0/24"))
	e.Upsert(pool("p", "10.244.0.0/24"))
	expect("pools come", []string{"10-244-0-0-20"}, "10.244.0.0/29 n1", "8.8.8.8/29 evil")
}

// TestAllocationOfAnotherNodesPod: a node that says that one of its addresses is a pod of another node gets nothing of
// that pod's.
func TestAllocationOfAnotherNodesPod(t *testing.T) {
	victim := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "u",
		Labels: map[string]string{"app": "db"}},
		Spec: corev1.PodSpec{NodeName: "n1"}}
	attribute := func(node string) map[string]string {
		return map[string]string{"namespace": "shop", "pod": "db", "uid": "u", "node": node}
	}
	members := func(resources ...metav1.Object) (nets []netip.Prefix) {
		resources = append(resources, &v3.IPPool{ObjectMeta: meta("p"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}},
			&corev1.Namespace{ObjectMeta: meta("shop")},
			&v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "from-db"},
				Spec: v3.NetworkPolicySpec{
					Selector: "all()", Ingress: []v3.Rule{{Action: v3.Allow,
						Source: v3.EntityRule{Selector: "app == 'db'"}}}}})
		w, _ := compute(t, resources...)
		for _, o := range w.objects {
			if s, is := o.(*wire.IPSet); is {
				nets = append(nets, s.Nets...)
			}
		}
		return nets
	}
	of := netip.MustParsePrefix("10.244.0.0/32")
	if got := members(victim, blockAt("10.244.0.0/29", 1, "host:n1", attribute("n1"))); !slices.Contains(got, of) {
		t.Errorf("the address that the pod's node gave it: members %v", got)
	}
	if got := members(victim, blockAt("10.244.0.0/29", 1, "host:evil", attribute("evil"))); len(got) > 0 {
		t.Errorf("the address that another node gave it: members %v", got)
	}
}

// TestDamagedBlock is reported until it is mended. What it gave stays reachable meanwhile, as far as it can be read.
func TestDamagedBlock(t *testing.T) {
	pool := &v3.IPPool{ObjectMeta: meta("p"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/24"}}
	on := func(node string) map[string]string { return map[string]string{"node": node} }
	whole := wire.ID{Kind: wire.KindRoute, Name: "10.244.0.0/29"}
	borrowed := wire.ID{Kind: wire.KindRoute, Name: "10.244.0.1/32"}
	tests := map[string]struct {
		damage func(*v3.IPAMBlock)
		says   string
	}{
		"no network": {func(b *v3.IPAMBlock) { b.Spec.CIDR = "10.244.0.0" },
			`spec.cidr: "10.244.0.0" has to be 10.244.0.0/29`},
		"another's network": {func(b *v3.IPAMBlock) { b.Spec.CIDR = "10.244.0.8/29" },
			`spec.cidr: "10.244.0.8/29" has to be 10.244.0.0/29`},
		"too few allocations": {func(b *v3.IPAMBlock) { b.Spec.Allocations = b.Spec.Allocations[:2] },
			"spec.allocations: 2 entries"},
		"too many": {func(b *v3.IPAMBlock) { b.Spec.Allocations = append(b.Spec.Allocations, pointer(0)) },
			"spec.allocations: 9 entries"},
		"no such attribute": {func(b *v3.IPAMBlock) { b.Spec.Allocations[2] = pointer(7) },
			"spec.allocations[2]: there is no attribute 7"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, mended := range []bool{false, true} { // damaged from the start, or later
				e, routes := calc.New(), map[wire.ID]bool{}
				say := func(o metav1.Object) (reasons []string) {
					e.Upsert(o)
					d := e.Flush()
					for _, object := range d.Upserts {
						routes[object.ID()] = true
					}
					for _, id := range d.Deletes {
						delete(routes, id)
					}
					for _, v := range d.Problems {
						reasons = append(reasons, v.Reason)
					}
					return reasons
				}
				say(pool)
				if mended {
					say(newBlock("host:n1", on("n1"), on("n2")))
				}
				damaged := newBlock("host:n1", on("n1"), on("n2"))
				test.damage(damaged)
				if got := say(damaged); len(got) != 1 || !strings.Contains(got[0], test.says) {
					t.Errorf("problems %q, want one that has %q", got, test.says)
				}
				if !routes[whole] || !routes[borrowed] {
					t.Errorf("routes %v", routes)
				}
				if got := say(newBlock("host:n1", on("n1"), on("n2"))); len(got) != 1 || got[0] != "" {
					t.Errorf("problems after it is mended: %q", got)
				}
			}
		})
	}
}
