package calc_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// global is a policy with a selector, and without rules.
func global(name, selector string) *v3.GlobalNetworkPolicy {
	return &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v3.GlobalNetworkPolicySpec{Selector: selector}}
}

// TestHostEndpointFollowsWhatItsPoliciesAreFor changes which list of a host endpoint a policy is in. The tiers of a
// workload that the same policies select stay as they are.
func TestHostEndpointFollowsWhatItsPoliciesAreFor(t *testing.T) {
	e, w := calc.New(), newWorld()
	e.Upsert(&v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "h"},
		Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth0"}})
	for _, step := range []struct {
		name                             string
		set                              func(*v3.GlobalNetworkPolicySpec)
		tiers, forward, preDNAT, rawTier bool
	}{
		{"normal", func(*v3.GlobalNetworkPolicySpec) {}, true, false, false, false},
		{"forwarded", func(s *v3.GlobalNetworkPolicySpec) { s.ApplyOnForward = true }, true, true, false, false},
		{"untracked", func(s *v3.GlobalNetworkPolicySpec) { s.ApplyOnForward, s.DoNotTrack = true, true }, false, false,
			false, true},
		{"before DNAT", func(s *v3.GlobalNetworkPolicySpec) { s.ApplyOnForward, s.PreDNAT = true, true }, false, false,
			true, false},
		{"normal again", func(*v3.GlobalNetworkPolicySpec) {}, true, false, false, false},
	} {
		p := global("p", "all()")
		step.set(&p.Spec)
		e.Upsert(p)
		w.apply(t, e.Flush())
		h, err := get[*wire.HostEndpoint](w, "n1", (&wire.HostEndpoint{Name: "h"}).ID())
		if err != nil {
			t.Fatal(err)
		}
		for list, x := range map[string]struct {
			tiers []wire.Tier
			want  bool
		}{"tiers": {h.Tiers, step.tiers}, "forward": {h.Forward, step.forward}, "preDNAT": {h.PreDNAT, step.preDNAT},
			"untracked": {h.Untracked, step.rawTier}} {
			if len(x.tiers) > 0 != x.want {
				t.Errorf("%s: %s are %v", step.name, list, x.tiers)
			}
		}
	}
}

// TestNamespaceStandsBeforeTheProfileOfItsName: while there are both, the labels are the Namespace's and the rules the
// Profile's.
func TestNamespaceStandsBeforeTheProfileOfItsName(t *testing.T) {
	e, w := calc.New(), newWorld()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	profile := &v3.Profile{ObjectMeta: metav1.ObjectMeta{Name: "kns.a"},
		Spec: v3.ProfileSpec{LabelsToApply: map[string]string{"pcns.team": "profile"}}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a",
		Labels: map[string]string{"team": "namespace"}}}
	e.Upsert(pod)
	e.Upsert(global("profile", "pcns.team == 'profile'"))
	e.Upsert(global("namespace", "pcns.team == 'namespace'"))
	const all, own = "profile/kns.", "profile/kns.a"
	upsert := func(o metav1.Object) func() { return func() { e.Upsert(o) } }
	remove := func(kind, name string) func() { return func() { e.Delete(kind, "", name) } }
	for _, flushed := range []bool{true, false} {
		for n, step := range []struct {
			do             func()
			labels, policy string
		}{
			{upsert(profile), "profile", own},
			{upsert(namespace), "namespace", own},
			{upsert(profile), "namespace", own},
			{remove(calc.KindProfile, "kns.a"), "namespace", all},
			{upsert(profile), "namespace", own},
			{remove(calc.KindNamespace, "a"), "profile", own},
			{remove(calc.KindProfile, "kns.a"), "", all},
		} {
			step.do()
			if !flushed { // there and back again, within one flush
				e.Delete(calc.KindPod, "a", "p")
				e.Upsert(pod)
			}
			w.apply(t, e.Flush())
			got, err := get[*wire.Endpoint](w, "n1", wire.ID{Kind: wire.KindEndpoint,
				Name: wire.EndpointName("a", "p")})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if step.labels != "" {
				want = []string{"gnp.default/" + step.labels}
			}
			var policies []string
			for _, tier := range got.Tiers {
				policies = append(policies, tier.Ingress...)
			}
			if !slices.Equal(policies, want) || !slices.Equal(got.Profiles, []string{step.policy}) {
				t.Errorf("step %d: policies are %v, want %v; profiles %v, want %s", n, policies, want, got.Profiles,
					step.policy)
			}
		}
	}
}

// TestItemsThatDifferInOneThingAreToldApart has pairs that only the account, the orchestrator, the profiles, the kind
// or the ports tell apart.
func TestItemsThatDifferInOneThingAreToldApart(t *testing.T) {
	workload := func(name string, set func(*v3.WorkloadEndpointSpec)) *v3.WorkloadEndpoint {
		w := &v3.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name},
			Spec: v3.WorkloadEndpointSpec{Node: "n1", Orchestrator: "cni",
				InterfaceName: "cali-" + name, Profiles: []string{"one"}}}
		set(&w.Spec)
		return w
	}
	for name, pair := range map[string]struct {
		selector string
		set      func(*v3.WorkloadEndpointSpec)
	}{
		"account": {"projectcalico.org/serviceaccount == 'x'",
			func(s *v3.WorkloadEndpointSpec) { s.ServiceAccountName = "x" }},
		"orchestrator": {"projectcalico.org/orchestrator == 'x'",
			func(s *v3.WorkloadEndpointSpec) { s.Orchestrator = "x" }},
		"profiles": {"is == 'two'", func(s *v3.WorkloadEndpointSpec) { s.Profiles = []string{"two"} }},
		"more": {"is == 'two'", func(s *v3.WorkloadEndpointSpec) {
			s.Profiles = []string{"one", "two",
				"two"}
		}},
	} {
		e, w := calc.New(), newWorld()
		e.Upsert(&v3.Profile{ObjectMeta: metav1.ObjectMeta{Name: "two"},
			Spec: v3.ProfileSpec{LabelsToApply: map[string]string{"is": "two"}}})
		e.Upsert(global("p", pair.selector))
		e.Upsert(workload("plain", func(*v3.WorkloadEndpointSpec) {}))
		e.Upsert(workload("other", pair.set))
		w.apply(t, e.Flush())
		for endpoint, want := range map[string]int{"plain": 0, "other": 1} {
			got, err := get[*wire.Endpoint](w, "n1", wire.ID{Kind: wire.KindEndpoint,
				Name: wire.EndpointName("a", endpoint)})
			if err != nil || len(got.Tiers) != want {
				t.Errorf("%s: %s has the tiers %v, want %d: %v", name, endpoint, got.Tiers, want, err)
			}
		}
		e.Delete(calc.KindWorkloadEndpoint, "a", "plain")
		e.Delete(calc.KindWorkloadEndpoint, "a", "other")
		e.Delete(calc.KindGlobalNetworkPolicy, "", "p")
		e.Delete(calc.KindProfile, "", "two")
		w.apply(t, e.Flush())
		if residue := e.Residue(); len(residue) > 0 {
			t.Errorf("%s: left in the engine: %v", name, residue)
		}
	}
}
