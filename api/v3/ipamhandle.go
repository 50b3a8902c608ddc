package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAMHandle tells in which blocks addresses were given with a handle, such as that of a pod. Users read it only.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ipamhandles
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.spec.handleID`
type IPAMHandle struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPAMHandleSpec `json:"spec,omitempty"`
}

// IPAMHandleList is a list of IPAMHandle.
//
// +kubebuilder:object:root=true
type IPAMHandleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPAMHandle `json:"items"`
}

// IPAMHandleSpec is the handle and its blocks.
type IPAMHandleSpec struct {
	// Block has the number of addresses that were given with the handle, by block.
	// +required
	Block map[string]int `json:"block"`
	// Deleted says that the handle is on its way out.
	// +optional
	Deleted bool `json:"deleted"`
	// HandleID is the handle.
	// +required
	HandleID string `json:"handleID"`
}
