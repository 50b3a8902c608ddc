package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAMBlock is a IPAMBlock resource of projectcalico.org/v3.
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

// IPAMBlockSpec is what the user wants of a IPAMBlock.
type IPAMBlockSpec struct {
	// Affinity is the field affinity of the API.
	// +kubebuilder:validation:Pattern=`^(host|virtual):[a-zA-Z0-9\.\-_]+$`
	// +optional
	Affinity string `json:"affinity,omitempty"`
	// AffinityClaimTime is the field affinityClaimTime of the API.
	// +optional
	AffinityClaimTime *metav1.Time `json:"affinityClaimTime,omitempty"`
	// Allocations is the field allocations of the API.
	// +listType=atomic
	// +required
	Allocations []*int `json:"allocations"`
	// Attributes is the field attributes of the API.
	// +listType=atomic
	// +required
	Attributes []AllocationAttribute `json:"attributes"`
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +required
	CIDR string `json:"cidr"`
	// Deleted is the field deleted of the API.
	// +optional
	Deleted bool `json:"deleted,omitempty"`
	// SequenceNumber is the field sequenceNumber of the API.
	// +kubebuilder:default=0
	// +optional
	SequenceNumber uint64 `json:"sequenceNumber,omitempty"`
	// SequenceNumberForAllocation is the field sequenceNumberForAllocation of the API.
	// +optional
	SequenceNumberForAllocation map[string]uint64 `json:"sequenceNumberForAllocation,omitempty"`
	// StrictAffinity is the field strictAffinity of the API.
	// +required
	StrictAffinity bool `json:"strictAffinity"`
	// Unallocated is the field unallocated of the API.
	// +listType=atomic
	// +required
	Unallocated []int `json:"unallocated"`
}

// AllocationAttribute is an element of spec.attributes[] of a IPAMBlock.
type AllocationAttribute struct {
	// AlternateOwnerAttrs is the field alternateOwnerAttrs of the API.
	// +optional
	AlternateOwnerAttrs map[string]string `json:"alternateOwnerAttrs,omitempty"`
	// HandleID is the field handle_id of the API.
	// +optional
	HandleID *string `json:"handle_id,omitempty"`
	// ReleasedAt is the field releasedAt of the API.
	// +optional
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`
	// ActiveOwnerAttrs is the field secondary of the API.
	// +optional
	ActiveOwnerAttrs map[string]string `json:"secondary,omitempty"`
}
