package datastore

import (
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Kind is a resource kind as a value. Kinds are compared by identity of their fields;
// use the package's variables.
type Kind struct {
	schema.GroupVersionKind
	// Plural is the lower-case plural in URLs and on the command line.
	Plural string
	// Namespaced says whether objects live in a namespace.
	Namespaced bool
	// HasStatus says whether the kind has a status subresource.
	HasStatus bool
	// Optional says that a cluster may be without the kind's CRD.
	Optional bool
}

// String returns the kind's name, for messages.
func (k Kind) String() string { return k.GroupVersionKind.Kind }

// ID returns a name that no kind of another group has, for example NetworkPolicy.networking.k8s.io and Pod.
func (k Kind) ID() string { return k.GroupKind().String() }

func calico(kind, plural string, status bool) Kind {
	return Kind{GroupVersionKind: v3.GroupVersion.WithKind(kind), Plural: plural, HasStatus: status}
}

func namespacedCalico(kind, plural string) Kind {
	k := calico(kind, plural, false)
	k.Namespaced = true
	return k
}

// The kinds that Maneki defines (projectcalico.org/v3).
var (
	BGPConfigurations               = calico("BGPConfiguration", "bgpconfigurations", false)
	BGPFilters                      = calico("BGPFilter", "bgpfilters", false)
	BGPPeers                        = calico("BGPPeer", "bgppeers", false)
	BlockAffinities                 = calico("BlockAffinity", "blockaffinities", false)
	CalicoNodeStatuses              = calico("CalicoNodeStatus", "caliconodestatuses", true)
	ClusterInformations             = calico("ClusterInformation", "clusterinformations", false)
	FelixConfigurations             = calico("FelixConfiguration", "felixconfigurations", false)
	GlobalNetworkPolicies           = calico("GlobalNetworkPolicy", "globalnetworkpolicies", false)
	GlobalNetworkSets               = calico("GlobalNetworkSet", "globalnetworksets", false)
	HostEndpoints                   = calico("HostEndpoint", "hostendpoints", false)
	IPAMBlocks                      = calico("IPAMBlock", "ipamblocks", false)
	IPAMConfigurations              = calico("IPAMConfiguration", "ipamconfigurations", false)
	IPAMHandles                     = calico("IPAMHandle", "ipamhandles", false)
	IPPools                         = calico("IPPool", "ippools", true)
	IPReservations                  = calico("IPReservation", "ipreservations", false)
	KubeControllersConfigurations   = calico("KubeControllersConfiguration", "kubecontrollersconfigurations", true)
	CalicoNetworkPolicies           = namespacedCalico("NetworkPolicy", "networkpolicies")
	NetworkSets                     = namespacedCalico("NetworkSet", "networksets")
	StagedGlobalNetworkPolicies     = calico("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", false)
	StagedKubernetesNetworkPolicies = namespacedCalico("StagedKubernetesNetworkPolicy",
		"stagedkubernetesnetworkpolicies")
	StagedNetworkPolicies = namespacedCalico("StagedNetworkPolicy", "stagednetworkpolicies")
	Tiers                 = calico("Tier", "tiers", true)
)

// The kinds of projectcalico.org/v3 that are stored in etcd alone. Where Kubernetes is the datastore they follow from
// its Nodes, Pods, Namespaces and ServiceAccounts.
var (
	CalicoNodes       = calico("Node", "nodes", false)
	Profiles          = calico("Profile", "profiles", false)
	WorkloadEndpoints = namespacedCalico("WorkloadEndpoint", "workloadendpoints")
)

// The Kubernetes kinds that Maneki reads.
var (
	Pods = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"), Plural: "pods",
		Namespaced: true, HasStatus: true}
	Namespaces = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"), Plural: "namespaces",
		HasStatus: true}
	Nodes = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"), Plural: "nodes",
		HasStatus: true}
	ServiceAccounts = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural: "serviceaccounts", Namespaced: true}
	EndpointSlices = Kind{GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural: "endpointslices", Namespaced: true}
	NetworkPolicies = Kind{GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		Plural: "networkpolicies", Namespaced: true}
	// ClusterNetworkPolicies has a CRD that the cluster's administrator installs, or not.
	ClusterNetworkPolicies = Kind{GroupVersionKind: clusterNetworkPolicy, Plural: "clusternetworkpolicies",
		HasStatus: true, Optional: true}
)

var clusterNetworkPolicy = schema.GroupVersionKind{
	Group: policyv1alpha2.GroupVersion.Group, Version: policyv1alpha2.GroupVersion.Version,
	Kind: "ClusterNetworkPolicy"}

// calicoKinds are sorted by name.
var calicoKinds = []Kind{
	BGPConfigurations, BGPFilters, BGPPeers, BlockAffinities, CalicoNodeStatuses, ClusterInformations,
	FelixConfigurations, GlobalNetworkPolicies, GlobalNetworkSets, HostEndpoints, IPAMBlocks, IPAMConfigurations,
	IPAMHandles, IPPools, IPReservations, KubeControllersConfigurations, CalicoNetworkPolicies, NetworkSets,
	StagedGlobalNetworkPolicies, StagedKubernetesNetworkPolicies, StagedNetworkPolicies, Tiers,
}

// CalicoKinds are the projectcalico.org/v3 kinds that have a CRD, sorted by name.
func CalicoKinds() []Kind { return slices.Clone(calicoKinds) }

// EtcdKinds are the kinds that are stored in etcd: CalicoKinds, and those that Kubernetes has objects of its own for.
func EtcdKinds() []Kind { return append(CalicoKinds(), CalicoNodes, Profiles, WorkloadEndpoints) }

var kindByType = map[reflect.Type]Kind{
	reflect.TypeFor[*v3.BGPConfiguration]():                 BGPConfigurations,
	reflect.TypeFor[*v3.BGPFilter]():                        BGPFilters,
	reflect.TypeFor[*v3.BGPPeer]():                          BGPPeers,
	reflect.TypeFor[*v3.BlockAffinity]():                    BlockAffinities,
	reflect.TypeFor[*v3.CalicoNodeStatus]():                 CalicoNodeStatuses,
	reflect.TypeFor[*v3.ClusterInformation]():               ClusterInformations,
	reflect.TypeFor[*v3.FelixConfiguration]():               FelixConfigurations,
	reflect.TypeFor[*v3.GlobalNetworkPolicy]():              GlobalNetworkPolicies,
	reflect.TypeFor[*v3.GlobalNetworkSet]():                 GlobalNetworkSets,
	reflect.TypeFor[*v3.HostEndpoint]():                     HostEndpoints,
	reflect.TypeFor[*v3.IPAMBlock]():                        IPAMBlocks,
	reflect.TypeFor[*v3.IPAMConfiguration]():                IPAMConfigurations,
	reflect.TypeFor[*v3.IPAMHandle]():                       IPAMHandles,
	reflect.TypeFor[*v3.IPPool]():                           IPPools,
	reflect.TypeFor[*v3.IPReservation]():                    IPReservations,
	reflect.TypeFor[*v3.KubeControllersConfiguration]():     KubeControllersConfigurations,
	reflect.TypeFor[*v3.NetworkPolicy]():                    CalicoNetworkPolicies,
	reflect.TypeFor[*v3.NetworkSet]():                       NetworkSets,
	reflect.TypeFor[*v3.StagedGlobalNetworkPolicy]():        StagedGlobalNetworkPolicies,
	reflect.TypeFor[*v3.StagedKubernetesNetworkPolicy]():    StagedKubernetesNetworkPolicies,
	reflect.TypeFor[*v3.StagedNetworkPolicy]():              StagedNetworkPolicies,
	reflect.TypeFor[*v3.Tier]():                             Tiers,
	reflect.TypeFor[*v3.Node]():                             CalicoNodes,
	reflect.TypeFor[*v3.Profile]():                          Profiles,
	reflect.TypeFor[*v3.WorkloadEndpoint]():                 WorkloadEndpoints,
	reflect.TypeFor[*corev1.Pod]():                          Pods,
	reflect.TypeFor[*corev1.Namespace]():                    Namespaces,
	reflect.TypeFor[*corev1.Node]():                         Nodes,
	reflect.TypeFor[*corev1.ServiceAccount]():               ServiceAccounts,
	reflect.TypeFor[*discoveryv1.EndpointSlice]():           EndpointSlices,
	reflect.TypeFor[*networkingv1.NetworkPolicy]():          NetworkPolicies,
	reflect.TypeFor[*policyv1alpha2.ClusterNetworkPolicy](): ClusterNetworkPolicies,
}

// KindOf returns the Kind of an object by its Go type.
func KindOf(object Object) (Kind, error) {
	if kind, ok := kindByType[reflect.TypeOf(object)]; ok {
		return kind, nil
	}
	return Kind{}, fmt.Errorf("no kind is registered for Go type %T", object)
}
