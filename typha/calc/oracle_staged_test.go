package calc_test

import (
	"maps"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
)

// enforce gives the resources as they would be if a staged policy were in force: "Set adds or replaces the policy of
// the same name, Delete removes it, Learn and Ignore try nothing". at is the policy that it stands for.
func enforce(live map[ref]metav1.Object, staged metav1.Object) (then map[ref]metav1.Object, at ref,
	action v3.StagedAction) {
	var policy metav1.Object
	meta := metav1.ObjectMeta{Namespace: staged.GetNamespace(), Name: staged.GetName()}
	switch s := staged.(type) {
	case *v3.StagedNetworkPolicy:
		at.kind, action = calc.KindCalicoNetworkPolicy, s.Spec.StagedAction
		policy = &v3.NetworkPolicy{ObjectMeta: meta, Spec: v3.NetworkPolicySpec{
			Tier: s.Spec.Tier, Order: s.Spec.Order, Types: s.Spec.Types, Selector: s.Spec.Selector,
			ServiceAccountSelector: s.Spec.ServiceAccountSelector, Ingress: s.Spec.Ingress, Egress: s.Spec.Egress}}
	case *v3.StagedGlobalNetworkPolicy:
		at.kind, action = calc.KindGlobalNetworkPolicy, s.Spec.StagedAction
		policy = &v3.GlobalNetworkPolicy{ObjectMeta: meta, Spec: v3.GlobalNetworkPolicySpec{
			Tier: s.Spec.Tier, Order: s.Spec.Order, Types: s.Spec.Types, Selector: s.Spec.Selector,
			NamespaceSelector: s.Spec.NamespaceSelector, ServiceAccountSelector: s.Spec.ServiceAccountSelector,
			ApplyOnForward: s.Spec.ApplyOnForward, DoNotTrack: s.Spec.DoNotTrack, PreDNAT: s.Spec.PreDNAT,
			Ingress: s.Spec.Ingress, Egress: s.Spec.Egress}}
	case *v3.StagedKubernetesNetworkPolicy:
		at.kind, action = calc.KindNetworkPolicy, s.Spec.StagedAction
		policy = &networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{
			PodSelector: s.Spec.PodSelector, PolicyTypes: s.Spec.PolicyTypes, Ingress: s.Spec.Ingress,
			Egress: s.Spec.Egress}}
	}
	at.ns, at.name = meta.Namespace, meta.Name
	then = maps.Clone(live)
	switch action {
	case "", v3.StagedActionSet:
		then[at], action = policy, v3.StagedActionSet
	case v3.StagedActionDelete:
		delete(then, at)
	}
	return then, at, action
}

// isStaged says whether a resource is a policy on trial.
func isStaged(o metav1.Object) bool {
	switch o.(type) {
	case *v3.StagedNetworkPolicy, *v3.StagedGlobalNetworkPolicy, *v3.StagedKubernetesNetworkPolicy:
		return true
	}
	return false
}
