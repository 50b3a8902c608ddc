package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterInformation is a ClusterInformation resource of projectcalico.org/v3.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=clusterinformations,shortName={clusterinfo,clusterinfos}
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.calicoVersion`
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.spec.datastoreReady`
// +kubebuilder:printcolumn:name="Types",type=string,JSONPath=`.spec.clusterType`
type ClusterInformation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterInformationSpec `json:"spec,omitempty"`
}

// ClusterInformationList is a list of ClusterInformation.
//
// +kubebuilder:object:root=true
type ClusterInformationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterInformation `json:"items"`
}

// ClusterInformationSpec is what the user wants of a ClusterInformation.
type ClusterInformationSpec struct {
	// CalicoVersion is the field calicoVersion of the API.
	// +optional
	CalicoVersion string `json:"calicoVersion,omitempty"`
	// ClusterGUID is the field clusterGUID of the API.
	// +optional
	ClusterGUID string `json:"clusterGUID,omitempty"`
	// ClusterType is the field clusterType of the API.
	// +optional
	ClusterType string `json:"clusterType,omitempty"`
	// DatastoreReady is the field datastoreReady of the API.
	// +optional
	DatastoreReady *bool `json:"datastoreReady,omitempty"`
	// Variant is the field variant of the API.
	// +optional
	Variant string `json:"variant,omitempty"`
}
