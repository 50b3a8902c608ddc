package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GlobalNetworkSet names networks by labels, so that rules of policies can select them.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=globalnetworksets,shortName={gns}
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GlobalNetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GlobalNetworkSetSpec `json:"spec,omitempty"`
}

// GlobalNetworkSetList is a list of GlobalNetworkSet.
//
// +kubebuilder:object:root=true
type GlobalNetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GlobalNetworkSet `json:"items"`
}

// GlobalNetworkSetSpec is the networks.
type GlobalNetworkSetSpec struct {
	// Nets are networks such as 198.51.100.0/24 or fd00::/8, and addresses.
	// +listType=set
	Nets []string `json:"nets,omitempty"`
}
