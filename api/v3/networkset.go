package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkSet names networks by labels, so that rules of policies in its namespace can select them.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,path=networksets
type NetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NetworkSetSpec `json:"spec,omitempty"`
}

// NetworkSetList is a list of NetworkSet.
//
// +kubebuilder:object:root=true
type NetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []NetworkSet `json:"items"`
}

// NetworkSetSpec is the networks.
type NetworkSetSpec struct {
	// Nets are networks such as 198.51.100.0/24 or fd00::/8, and addresses.
	// +listType=set
	Nets []string `json:"nets,omitempty"`
}
