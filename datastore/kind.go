package datastore

import (
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
}

// String gives the kind's name, for messages.
func (k Kind) String() string { return k.GroupVersionKind.Kind }

func calico(kind, plural string, status bool) Kind {
	return Kind{GroupVersionKind: v3.GroupVersion.WithKind(kind), Plural: plural, HasStatus: status}
}

// The kinds that Maneki defines (projectcalico.org/v3).
var (
	BGPConfigurations   = calico("BGPConfiguration", "bgpconfigurations", false)
	BGPPeers            = calico("BGPPeer", "bgppeers", false)
	BlockAffinities     = calico("BlockAffinity", "blockaffinities", false)
	ClusterInformations = calico("ClusterInformation", "clusterinformations", false)
	FelixConfigurations = calico("FelixConfiguration", "felixconfigurations", false)
	IPAMBlocks          = calico("IPAMBlock", "ipamblocks", false)
	IPAMConfigurations  = calico("IPAMConfiguration", "ipamconfigurations", false)
	IPPools             = calico("IPPool", "ippools", true)
)

// The Kubernetes kinds that Maneki reads.
var (
	Pods            = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"), Plural: "pods", Namespaced: true, HasStatus: true}
	Namespaces      = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"), Plural: "namespaces", HasStatus: true}
	Nodes           = Kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"), Plural: "nodes", HasStatus: true}
	NetworkPolicies = Kind{GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), Plural: "networkpolicies", Namespaced: true}
)

// CalicoKinds are the projectcalico.org/v3 kinds, sorted by name.
func CalicoKinds() []Kind {
	kinds := []Kind{BGPConfigurations, BGPPeers, BlockAffinities, ClusterInformations,
		FelixConfigurations, IPAMBlocks, IPAMConfigurations, IPPools}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].String() < kinds[j].String() })
	return kinds
}

// KindOf gives the Kind of an object by its Go type.
func KindOf(object Object) (Kind, error) {
	switch object.(type) {
	case *v3.BGPConfiguration:
		return BGPConfigurations, nil
	case *v3.BGPPeer:
		return BGPPeers, nil
	case *v3.BlockAffinity:
		return BlockAffinities, nil
	case *v3.ClusterInformation:
		return ClusterInformations, nil
	case *v3.FelixConfiguration:
		return FelixConfigurations, nil
	case *v3.IPAMBlock:
		return IPAMBlocks, nil
	case *v3.IPAMConfiguration:
		return IPAMConfigurations, nil
	case *v3.IPPool:
		return IPPools, nil
	case *corev1.Pod:
		return Pods, nil
	case *corev1.Namespace:
		return Namespaces, nil
	case *corev1.Node:
		return Nodes, nil
	case *networkingv1.NetworkPolicy:
		return NetworkPolicies, nil
	}
	return Kind{}, fmt.Errorf("no kind is registered for Go type %T", object)
}
