package calc_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/wire"
)

// kubePolicy gives a NetworkPolicy that allows ingress to all pods of its namespace from so many peers, each of which
// is selected by another label.
func kubePolicy(name string, peers int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "namespace-1", Name: name}}
	rule := networkingv1.NetworkPolicyIngressRule{}
	for i := range peers {
		rule.From = append(rule.From,
			networkingv1.NetworkPolicyPeer{PodSelector: matching(map[string]string{"a": strconv.Itoa(i)})})
	}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return p
}

func matching(labels map[string]string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels}
}

// widePolicy is kubePolicy with peers each of which selects nearly every pod of the cluster.
func widePolicy(name string, peers int) *networkingv1.NetworkPolicy {
	p := kubePolicy(name, peers)
	for i := range peers {
		p.Spec.Ingress[0].From[i] = networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{},
			PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "a", Operator: metav1.LabelSelectorOpNotIn, Values: []string{name + strconv.Itoa(i)}}}}}
	}
	return p
}

// reasonIn gives the reason in a delta why a policy of namespace-1 cannot be used, and whether there is one at all.
func reasonIn(d calc.Delta, name string) (string, bool) {
	i := slices.IndexFunc(d.Problems, func(v calc.Problem) bool { return v.Name == name })
	if i < 0 {
		return "", false
	}
	return d.Problems[i].Reason, true
}

// TestPolicyBeyondItsBudget: of each kind one that is as large as it may be is used, and one that is larger is not.
func TestPolicyBeyondItsBudget(t *testing.T) {
	budget := compile.Budget{PolicyRules: 100, PolicySets: 50}
	numbers := func(n int) (ports []intstr.IntOrString) {
		for i := range n {
			ports = append(ports, intstr.FromInt(i+1))
		}
		return ports
	}
	selectors := func(n int) (rules []v3.Rule) {
		for i := range n {
			rules = append(rules, v3.Rule{Action: v3.Allow, Source: v3.EntityRule{Selector: fmt.Sprintf("a == '%d'",
				i)}})
		}
		return rules
	}
	for name, make := range map[string]func(size int) metav1.Object{
		"peers of a NetworkPolicy": func(size int) metav1.Object {
			p := kubePolicy("p", 1)
			for range size/2 - 1 {
				p.Spec.Ingress[0].From = append(p.Spec.Ingress[0].From, p.Spec.Ingress[0].From[0])
			}
			p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{Port: &intstr.IntOrString{IntVal: 1}},
				{Port: &intstr.IntOrString{IntVal: 2}}}
			return p
		},
		"excepted networks": func(size int) metav1.Object {
			p := kubePolicy("p", 1)
			p.Spec.Ingress[0].From[0] = networkingv1.NetworkPolicyPeer{
				IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8",
					Except: slices.Repeat([]string{"10.1.0.0/16"}, size-1)}}
			return p
		},
		"selectors of a NetworkPolicy": func(size int) metav1.Object { return kubePolicy("p", size/2) },
		"selectors of a NetworkPolicy, Calico": func(size int) metav1.Object {
			return &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "namespace-1", Name: "p"},
				Spec: v3.NetworkPolicySpec{Ingress: selectors(size / 2)}}
		},
		"ports of a GlobalNetworkPolicy": func(size int) metav1.Object {
			tcp := intstr.FromString("TCP")
			return &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v3.GlobalNetworkPolicySpec{
				Egress: []v3.Rule{{Action: v3.Deny, Protocol: &tcp, Destination: v3.EntityRule{Ports: numbers(size)}}}}}
		},
		"requirements of one selector": func(size int) metav1.Object {
			var values []string
			for i := range size/2*10 - 9 {
				values = append(values, strconv.Itoa(i))
			}
			p := kubePolicy("p", 1)
			p.Spec.Ingress[0].From[0].PodSelector = &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: values}}}
			return p
		},
		"networks of a ClusterNetworkPolicy": func(size int) metav1.Object {
			return &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"},
				Spec: policyv1alpha2.ClusterNetworkPolicySpec{
					Tier:    policyv1alpha2.AdminTier,
					Subject: policyv1alpha2.ClusterNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}},
					Egress: []policyv1alpha2.ClusterNetworkPolicyEgressRule{
						{Action: policyv1alpha2.ClusterNetworkPolicyRuleActionDeny,
							To: []policyv1alpha2.ClusterNetworkPolicyEgressPeer{{Networks: slices.Repeat(
								[]policyv1alpha2.CIDR{"10.0.0.0/8"}, size)}}}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := calc.NewWithin(budget)
			fits, exceeds := make(100), make(102)
			if reason := budget.Exceeded(fits); reason != "" {
				t.Errorf("as much as is allowed: %s", reason)
			}
			reason := budget.Exceeded(exceeds)
			e.Upsert(fits)
			if d := e.Flush(); len(d.Problems) > 0 {
				t.Errorf("as much as is allowed: %+v", d.Problems)
			}
			e.Upsert(exceeds)
			d := e.Flush()
			if got, _ := reasonIn(d, "p"); reason == "" || got != reason || !strings.Contains(got, "split it") {
				t.Errorf("more than is allowed: the engine says %q, and before it is taken in it is %q", got, reason)
			}
			if i := slices.IndexFunc(d.Upserts,
				func(o wire.Object) bool { return o.ID().Kind == wire.KindPolicy }); i < 0 {
				t.Error("the policy stays as it was")
			} else if p := d.Upserts[i].(*wire.Policy); len(p.Ingress)+len(p.Egress) > 2 || allows(p.Ingress) ||
				allows(p.Egress) {
				t.Errorf("the policy is %+v", p)
			}
			e.Upsert(fits)
			if got, told := reasonIn(e.Flush(), "p"); !told || got != "" {
				t.Errorf("after it shrank: %q, told %v", got, told)
			}
		})
	}
}

func allows(rules []wire.Rule) bool {
	return slices.ContainsFunc(rules, func(r wire.Rule) bool { return r.Action == wire.Allow })
}

// TestOlderPoliciesOfANamespaceComeFirst: what does not fit is the newest, other namespaces do not notice, and when
// there is room again the policy is used.
func TestOlderPoliciesOfANamespaceComeFirst(t *testing.T) {
	e := calc.NewWithin(compile.Budget{NamespaceSets: 100})
	aged := func(namespace, name string, age int) metav1.Object {
		p := kubePolicy(name, 40)
		for i := range p.Spec.Ingress[0].From {
			p.Spec.Ingress[0].From[i].PodSelector.MatchLabels["of"] = name
		}
		p.Namespace = namespace
		p.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000-age), 0))
		return p
	}
	e.Upsert(aged("namespace-1", "young", 1))
	e.Upsert(aged("namespace-1", "old", 3))
	e.Upsert(aged("namespace-2", "other", 1))
	if d := e.Flush(); len(d.Problems) > 0 {
		t.Fatalf("all fit, and the engine says %+v", d.Problems)
	}
	e.Upsert(aged("namespace-1", "middle", 2))
	d := e.Flush()
	if reason, _ := reasonIn(d, "young"); len(d.Problems) != 1 || !strings.Contains(reason, "NamespaceMaxSets") ||
		!strings.Contains(reason, "allows nothing") {
		t.Errorf("the youngest does not fit any more: %+v", d.Problems)
	}
	e.Delete(calc.KindNetworkPolicy, "namespace-1", "old")
	if reason, told := reasonIn(e.Flush(), "young"); !told || reason != "" {
		t.Errorf("there is room again: %q, told %v", reason, told)
	}
}

// TestMembersOfAPolicy: a policy whose sets have too many members is closed while they have, and makes no set.
func TestMembersOfAPolicy(t *testing.T) {
	e := calc.NewWithin(compile.Budget{PolicyMembers: 10 * 128})
	for o := range scale.Labelled(128, 0, 10) {
		e.Upsert(o)
	}
	e.Upsert(widePolicy("ten", 10))
	e.Upsert(widePolicy("eleven", 11))
	d := e.Flush()
	if reason, _ := reasonIn(d, "eleven"); len(d.Problems) != 1 || !strings.Contains(reason, "PolicyMaxMembers") {
		t.Errorf("the engine says %+v", d.Problems)
	}
	sets := 0
	for _, o := range d.Upserts {
		if o.ID().Kind == wire.KindIPSet {
			sets++
		}
	}
	if sets != 10 {
		t.Errorf("%d sets are handed out, want the 10 of the policy that fits", sets)
	}
	for o := range scale.Labelled(64, 0, 10) { // half of the pods go
		e.Delete(calc.KindPod, o.GetNamespace(), o.GetName())
	}
	if reason, told := reasonIn(e.Flush(), "eleven"); !told || reason != "" {
		t.Errorf("half of the pods are gone, and the engine says %q, told %v", reason, told)
	}
}

// TestLightChangesDoNotWaitForHeavyPolicies: while a policy that takes long is put in place step by step, what else
// happens is handed out at once; until it is there, the policy allows nothing.
func TestLightChangesDoNotWaitForHeavyPolicies(t *testing.T) {
	e, w := calc.New(), newWorld()
	for i := range 2000 {
		p := scale.LabelledPod(i, 0)
		p.Labels["own"] = strconv.Itoa(i) // each is a class of its own
		e.Upsert(p)
	}
	w.apply(t, e.Flush())
	e.Upsert(widePolicy("heavy", 100))
	steps := 0
	for more := true; more; steps++ {
		p := scale.LabelledPod(steps%2, 0)
		p.Labels["step"] = strconv.Itoa(steps)
		p.Spec.NodeName = fmt.Sprintf("moved-%d", steps)
		e.Upsert(p)
		var d calc.Delta
		d, more = e.Step(20_000)
		w.apply(t, d)
		if len(d.Interest[p.Spec.NodeName].Added) == 0 {
			t.Fatalf("step %d: the pod that moved is not handed out", steps)
		}
		knp, _ := w.objects[wire.ID{Kind: wire.KindPolicy, Name: "knp.default/namespace-1/heavy"}].(*wire.Policy)
		if knp == nil || more && steps < 5 && allows(knp.Ingress) {
			t.Fatalf("step %d, more %v: the policy is %+v", steps, more, knp)
		}
	}
	if steps < 10 {
		t.Errorf("it took %d steps: nothing was put off", steps)
	}
	if p := w.objects[wire.ID{Kind: wire.KindPolicy,
		Name: "knp.default/namespace-1/heavy"}].(*wire.Policy); len(p.Ingress) != 100 {
		t.Errorf("in the end the policy has %d rules, want 100", len(p.Ingress))
	}
}

// TestStagedPoliciesAreMatchedInSteps: a Step matches few classes for a staged policy with many selectors. Explain is
// right after each Step, and the budget counts the members in the end.
func TestStagedPoliciesAreMatchedInSteps(t *testing.T) {
	const pods, selectors, limit = 2000, 100, 20_000
	e := calc.NewWithin(compile.Budget{PolicyMembers: selectors * 1024})
	for i := range pods {
		p := scale.LabelledPod(i, 0)
		p.Labels["own"] = strconv.Itoa(i) // each is a class of its own
		e.Upsert(p)
	}
	e.Flush()
	one, two := scale.LabelledPod(1, 0), scale.LabelledPod(2, 0)
	flow := calc.Flow{Src: netip.MustParseAddr(two.Status.PodIPs[0].IP),
		Dst: netip.MustParseAddr(one.Status.PodIPs[0].IP), Protocol: 6}
	e.Upsert(&v3.StagedKubernetesNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "namespace-1", Name: "heavy"},
		Spec: v3.StagedKubernetesNetworkPolicySpec{Ingress: widePolicy("heavy", selectors).Spec.Ingress}})
	steps, reason := 0, ""
	for more := true; more; steps++ {
		before := e.Progress()
		var d calc.Delta
		d, more = e.Step(limit)
		if did := e.Progress() - before; did > 2*limit/selectors {
			t.Errorf("step %d matched %d of %d classes", steps, did, pods)
		}
		if r, told := reasonIn(d, "heavy"); told {
			reason = r
			continue
		}
		x := e.Explain(flow)
		if len(x.Ingress) != 1 || x.Ingress[0].Staged == nil {
			t.Fatalf("step %d: the staged policy is not told of: %+v", steps, x)
		}
		if by := x.Ingress[0].Staged.By; !by.Staged || by.Action != wire.Allow || by.Rule != 0 {
			t.Errorf("step %d: the staged policy would decide by %+v", steps, by)
		}
	}
	if steps < 10 {
		t.Errorf("it took %d steps: nothing was put off", steps)
	}
	if !strings.Contains(reason, "PolicyMaxMembers") {
		t.Errorf("in the end the engine says %q", reason)
	}
}

// TestShutPoliciesCostLittle: a change in a namespace with many policies that do not fit makes nothing anew for each of
// them.
func TestShutPoliciesCostLittle(t *testing.T) {
	const fit, shut = 10, 2000
	e := calc.NewWithin(compile.Budget{NamespaceRules: fit})
	policy := func(i int) metav1.Object {
		p := kubePolicy(fmt.Sprintf("p-%d", i), 0)
		p.CreationTimestamp = metav1.NewTime(time.Unix(int64(i), 0))
		return p
	}
	for i := range fit + shut {
		e.Upsert(policy(i))
	}
	e.Flush()
	next := fit + shut
	if made := testing.AllocsPerRun(10, func() {
		e.Upsert(policy(next))
		if reason, _ := reasonIn(e.Flush(), fmt.Sprintf("p-%d", next)); !strings.Contains(reason, "NamespaceMaxRules") {
			t.Errorf("the engine says %q of one more", reason)
		}
		next++
	}); made > shut/4 {
		t.Errorf("one more policy takes %v allocations beside %d that do not fit", made, shut)
	}
	e.Delete(calc.KindNetworkPolicy, "namespace-1", "p-0")
	d := e.Flush()
	if reason, told := reasonIn(d, fmt.Sprintf("p-%d", fit)); len(d.Problems) != 1 || !told || reason != "" {
		t.Errorf("there is room for the oldest that did not fit: %+v", d.Problems)
	}
}

// TestMembersAreCountedWhereTheyChange: when a selector selects many more pods than before, the policies that name
// other selectors are not counted again.
func TestMembersAreCountedWhereTheyChange(t *testing.T) {
	const others = 1000
	e := calc.NewWithin(compile.Budget{PolicyMembers: 128})
	for i := range others {
		p := kubePolicy(fmt.Sprintf("other-%d", i), 1)
		p.Namespace = fmt.Sprintf("other-%d", i)
		e.Upsert(p)
	}
	e.Upsert(kubePolicy("grows", 1))
	pod := func(i int) metav1.Object {
		p := scale.LabelledPod(i*100+1, 0) // in namespace-1
		p.Labels = map[string]string{"a": "0"}
		return p
	}
	for i := range 128 {
		e.Upsert(pod(i))
	}
	if d := e.Flush(); len(d.Problems) > 0 {
		t.Fatalf("all fit, and the engine says %+v", d.Problems)
	}
	before := e.Progress()
	e.Upsert(pod(128))
	if reason, _ := reasonIn(e.Flush(), "grows"); !strings.Contains(reason, "PolicyMaxMembers") {
		t.Errorf("one member more than may be: the engine says %q", reason)
	}
	if did := e.Progress() - before; did > others/10 {
		t.Errorf("it took %d steps beside %d policies that do not change", did, others)
	}
}

// TestMergedComparesLittle: what comes to a sorted list is compared with few of its values.
func TestMergedComparesLittle(t *testing.T) {
	var list, want []int
	for i := range 10_000 {
		list = append(list, 2*i)
	}
	more := []int{40_000, 5, -1, 777}
	want = slices.Sorted(slices.Values(slices.Concat(list, more)))
	compared := 0
	got := calc.Merged(list, more, func(a, b int) int { compared++; return a - b })
	if !slices.Equal(got, want) || compared > 100 {
		t.Errorf("it is right: %v; %d values were compared", slices.Equal(got, want), compared)
	}
}
