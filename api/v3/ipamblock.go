package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAMBlock is a part of an IPPool from which addresses are given, and to whom they are given. Users read it only.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ipamblocks
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Affinity",type=string,JSONPath=`.spec.affinity`
// +kubebuilder:printcolumn:name="ClaimTime",type=date,JSONPath=`.spec.affinityClaimTime`
type IPAMBlock struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPAMBlockSpec `json:"spec,omitempty"`
}

// IPAMBlockList is a list of IPAMBlock.
//
// +kubebuilder:object:root=true
type IPAMBlockList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPAMBlock `json:"items"`
}

// IPAMBlockSpec is the state of a block.
type IPAMBlockSpec struct {
	// Affinity is who the block belongs to, as host:NAME for a node or virtual:NAME. Absent means nobody.
	// +kubebuilder:validation:Pattern=`^(host|virtual):[a-zA-Z0-9\.\-_]+$`
	Affinity string `json:"affinity,omitempty"`
	// AffinityClaimTime is when the block got its affinity.
	AffinityClaimTime *metav1.Time `json:"affinityClaimTime,omitempty"`
	// Allocations has an entry for each address in order: the index into attributes, or null if it is free.
	// +listType=atomic
	// +required
	Allocations []*int `json:"allocations"`
	// Attributes are what addresses are given with. Several addresses may share an entry.
	// +listType=atomic
	// +required
	Attributes []AllocationAttribute `json:"attributes"`
	// CIDR is the block.
	// +kubebuilder:validation:Format=cidr
	// +required
	CIDR string `json:"cidr"`
	// Deleted says that the block is on its way out: nothing is allocated from it.
	Deleted bool `json:"deleted,omitempty"`
	// SequenceNumber grows with each change of the block.
	// +kubebuilder:default=0
	SequenceNumber uint64 `json:"sequenceNumber,omitempty"`
	// SequenceNumberForAllocation is the sequence number at which each address was given, by its place in the block
	// in decimal. A release names it, so that it cannot hit the next user of the address.
	SequenceNumberForAllocation map[string]uint64 `json:"sequenceNumberForAllocation,omitempty"`
	// StrictAffinity keeps nodes other than the affine one from taking addresses. Deprecated: see IPAMConfiguration.
	// +required
	StrictAffinity bool `json:"strictAffinity"`
	// Unallocated are the places of free addresses, the one to be given next first.
	// +listType=atomic
	// +required
	Unallocated []int `json:"unallocated"`
}

// AllocationAttribute is what addresses are given with.
type AllocationAttribute struct {
	// AlternateOwnerAttrs are the attributes of the owner to be, while a virtual machine moves between nodes.
	AlternateOwnerAttrs map[string]string `json:"alternateOwnerAttrs,omitempty"`
	// HandleID names what the address was given to; a release by handle frees all of them.
	HandleID *string `json:"handle_id,omitempty"`
	// ReleasedAt is when the address was released, while it rests before it is given again.
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`
	// ActiveOwnerAttrs are the attributes of the owner: namespace, pod, uid, node.
	ActiveOwnerAttrs map[string]string `json:"secondary,omitempty"`
}

// Keys of ActiveOwnerAttrs, by which others learn what an address was given to. AttributeUID is Maneki's own; the
// others are as Calico's CNI plugin and node agent write them.
const (
	AttributeNamespace = "namespace"
	AttributePod       = "pod"
	AttributeUID       = "uid" // the pod's metadata.uid, or the kubelet's for a static pod
	AttributeNode      = "node"
)
