package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BlockAffinity says that a node owns a block, or claims it. Users read it only.
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

// BlockAffinitySpec is the claim.
type BlockAffinitySpec struct {
	// CIDR is the block.
	// +kubebuilder:validation:Format=cidr
	// +required
	CIDR string `json:"cidr"`
	// Deleted says that the affinity is on its way out.
	// +kubebuilder:default=false
	// +required
	Deleted bool `json:"deleted"`
	// Node is the node that the block belongs to.
	// +required
	Node string `json:"node"`
	// State is where the claim stands: pending before the block is written, confirmed after, pendingDeletion while it
	// is given up.
	// +kubebuilder:validation:Enum="";"confirmed";"pending";"pendingDeletion"
	// +required
	State BlockAffinityState `json:"state"`
	// Type is host, which is also what absent means, or virtual.
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
