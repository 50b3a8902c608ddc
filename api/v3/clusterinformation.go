package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterInformation tells what the cluster is; there is one, named default, which Maneki writes.
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

// ClusterInformationSpec is what is told.
type ClusterInformationSpec struct {
	// CalicoVersion is the version of what is installed.
	CalicoVersion string `json:"calicoVersion,omitempty"`
	// ClusterGUID identifies the cluster.
	ClusterGUID string `json:"clusterGUID,omitempty"`
	// ClusterType names what the cluster consists of, comma-separated.
	ClusterType string `json:"clusterType,omitempty"`
	// DatastoreReady says whether the datastore may be used; components wait while it is false.
	DatastoreReady *bool `json:"datastoreReady,omitempty"`
	// Variant names the distribution.
	Variant string `json:"variant,omitempty"`
}

// ClusterInformationName is the name of the only ClusterInformation that counts.
const ClusterInformationName = "default"

// IsDatastoreReady reports whether the datastore may be used. It may if the spec does not say otherwise.
func (s *ClusterInformationSpec) IsDatastoreReady() bool {
	return s.DatastoreReady == nil || *s.DatastoreReady
}
