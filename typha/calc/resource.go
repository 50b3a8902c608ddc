package calc

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/sets"
)

// The kinds that an Engine takes, as Upsert recognises them by type and Delete by name. A name that two API groups have
// is told apart by the group.
const (
	KindPod                           = "Pod"
	KindNamespace                     = "Namespace"
	KindServiceAccount                = "ServiceAccount"
	KindNode                          = "Node"
	KindEndpointSlice                 = "EndpointSlice.discovery.k8s.io"
	KindNetworkPolicy                 = compile.KindNetworkPolicy
	KindClusterNetworkPolicy          = compile.KindClusterNetworkPolicy
	KindIPPool                        = "IPPool.projectcalico.org"
	KindIPAMBlock                     = "IPAMBlock.projectcalico.org"
	KindIPAMConfiguration             = "IPAMConfiguration.projectcalico.org"
	KindIPReservation                 = "IPReservation.projectcalico.org"
	KindBGPConfiguration              = "BGPConfiguration.projectcalico.org"
	KindBGPFilter                     = "BGPFilter.projectcalico.org"
	KindBGPPeer                       = "BGPPeer.projectcalico.org"
	KindFelixConfiguration            = "FelixConfiguration.projectcalico.org"
	KindTier                          = "Tier.projectcalico.org"
	KindCalicoNetworkPolicy           = compile.KindCalicoNetworkPolicy
	KindGlobalNetworkPolicy           = compile.KindGlobalNetworkPolicy
	KindStagedNetworkPolicy           = compile.KindStagedNetworkPolicy
	KindStagedGlobalNetworkPolicy     = compile.KindStagedGlobalNetworkPolicy
	KindStagedKubernetesNetworkPolicy = compile.KindStagedKubernetesNetworkPolicy
	KindNetworkSet                    = "NetworkSet.projectcalico.org"
	KindGlobalNetworkSet              = "GlobalNetworkSet.projectcalico.org"
	KindHostEndpoint                  = "HostEndpoint.projectcalico.org"
	KindProfile                       = compile.KindProfile
	KindCalicoNode                    = "Node.projectcalico.org"
	KindClusterInformation            = "ClusterInformation.projectcalico.org"
	KindWorkloadEndpoint              = "WorkloadEndpoint.projectcalico.org"
	KindCalicoNodeStatus              = "CalicoNodeStatus.projectcalico.org"
)

// Upsert takes in a resource, new or changed. The resource is only read during the call, but
// its maps and slices are kept and must not be modified later. Types that mean nothing to the
// engine are ignored.
func (e *Engine) Upsert(object metav1.Object) {
	switch o := object.(type) {
	case *corev1.Pod:
		e.upsertPod(o)
	case *corev1.Namespace:
		e.upsertNamespace(o)
	case *corev1.ServiceAccount:
		e.upsertServiceAccount(o)
	case *discoveryv1.EndpointSlice:
		e.upsertEndpointSlice(o)
	case *corev1.Node:
		e.upsertNode(o)
	default:
		key, policy, is := e.budget.Policy(object)
		if is {
			e.offerPolicy(key, policy)
		} else {
			e.upsertCalico(object)
		}
	}
}

// upsertCalico processes the resources of projectcalico.org/v3 that are not policies.
func (e *Engine) upsertCalico(object metav1.Object) {
	switch o := object.(type) {
	case *v3.Tier:
		e.upsertTier(o)
	case *v3.NetworkSet:
		e.setNetworks(KindNetworkSet, resourceName{o.Namespace, o.Name}, o.Labels, o.Spec.Nets)
	case *v3.GlobalNetworkSet:
		e.setNetworks(KindGlobalNetworkSet, resourceName{name: o.Name}, o.Labels, o.Spec.Nets)
	case *v3.HostEndpoint:
		e.upsertHostEndpoint(o)
	case *v3.WorkloadEndpoint:
		e.upsertWorkloadEndpoint(o)
	case *v3.Profile:
		e.upsertProfile(o)
	case *v3.Node:
		e.upsertCalicoNode(o)
	default:
		e.upsertNetwork(o)
	}
}

// Refuse takes out a resource that is there and cannot be read, and says so. An IPPool is closed instead: the addresses
// that it gave stay in use. What restricts the assignment of addresses stays as it was read last.
func (e *Engine) Refuse(kind, ns, name, reason string) {
	switch kind {
	case KindIPPool:
		e.network.topology.ClosePool(name, reason)
		e.problems.set(kind, ns, name, reason)
		return
	case KindIPReservation, KindIPAMConfiguration:
		e.problems.set(kind, ns, name, reason)
		return
	}
	e.Delete(kind, ns, name)
	e.problems.set(kind, ns, name, reason)
}

// Delete takes a resource out. Deleting what is not there does nothing. Namespace is empty
// for kinds without one.
func (e *Engine) Delete(kind, ns, name string) {
	switch kind {
	case KindPod:
		e.deletePod(resourceName{ns, name})
	case KindNamespace:
		e.deleteKubeProfile(v3.NamespaceProfilePrefix + name)
	case KindServiceAccount:
		e.deleteKubeProfile(labelindex.ServiceAccountProfile(ns, name))
	case KindNode, KindCalicoNode:
		e.deleteNode(name)
	case KindEndpointSlice:
		e.sets.SetSlice(sets.SliceName{Namespace: ns, Name: name}, nil)
	case KindNetworkPolicy, KindClusterNetworkPolicy, KindCalicoNetworkPolicy, KindGlobalNetworkPolicy,
		KindStagedNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedKubernetesNetworkPolicy:
		e.removePolicyAt(compile.Key{Kind: kind, Namespace: ns, Name: name})
	case KindTier:
		e.setTier(name, nil)
	case KindNetworkSet, KindGlobalNetworkSet:
		e.removeItem(labelindex.Key{Kind: labelindex.NetworkSet, Namespace: ns, Name: name})
	case KindHostEndpoint:
		e.removeItem(labelindex.Key{Kind: labelindex.Host, Name: name})
	case KindWorkloadEndpoint:
		e.removeItem(labelindex.Key{Kind: labelindex.Workload, Namespace: ns, Name: name})
	case KindProfile:
		e.deleteProfile(name)
	default:
		e.deleteNetwork(kind, name)
	}
	e.problems.set(kind, ns, name, "")
}
