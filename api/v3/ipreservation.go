package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPReservation keeps addresses of pools from being given unless somebody asks for that very address.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ipreservations
type IPReservation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPReservationSpec `json:"spec,omitempty"`
}

// IPReservationList is a list of IPReservation.
//
// +kubebuilder:object:root=true
type IPReservationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPReservation `json:"items"`
}

// IPReservationSpec is what is reserved.
type IPReservationSpec struct {
	// ReservedCIDRs are the networks whose addresses are reserved, for example 10.244.1.0/28. One address is written
	// with the length 32 or 128.
	// +kubebuilder:validation:items:Format=cidr
	// +listType=set
	ReservedCIDRs []string `json:"reservedCIDRs,omitempty"`
}
