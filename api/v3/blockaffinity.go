package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BlockAffinity is a BlockAffinity resource of projectcalico.org/v3.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=blockaffinities,shortName={affinity,affinities}
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
type BlockAffinity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BlockAffinitySpec `json:"spec,omitempty"`
}

// BlockAffinityList is a list of BlockAffinity.
//
// +kubebuilder:object:root=true
type BlockAffinityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BlockAffinity `json:"items"`
}

// BlockAffinitySpec is what the user wants of a BlockAffinity.
type BlockAffinitySpec struct {
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +required
	CIDR string `json:"cidr"`
	// Deleted is the field deleted of the API.
	// +kubebuilder:default=false
	// +required
	Deleted bool `json:"deleted"`
	// Node is the field node of the API.
	// +required
	Node string `json:"node"`
	// State is the field state of the API.
	// +kubebuilder:validation:Enum="";"confirmed";"pending";"pendingDeletion"
	// +required
	State BlockAffinityState `json:"state"`
	// Type is the field type of the API.
	// +optional
	Type string `json:"type,omitempty"`
}

// BlockAffinityState is how far the claim of a block has come.
type BlockAffinityState string

// The states of a claim.
const (
	StateConfirmed       BlockAffinityState = "confirmed"
	StatePending         BlockAffinityState = "pending"
	StatePendingDeletion BlockAffinityState = "pendingDeletion"
)
