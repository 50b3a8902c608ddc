package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Profile is rules and labels for the endpoints that name it. In a Kubernetes datastore the profiles are those of
// namespaces (kns.NAMESPACE) and service accounts (ksa.NAMESPACE.NAME), and can be read only; it has no CRD.
//
// +kubebuilder:object:root=true
// +kubebuilder:skipversion
type Profile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ProfileSpec `json:"spec,omitempty"`
}

// ProfileList is a list of Profile.
//
// +kubebuilder:object:root=true
type ProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Profile `json:"items"`
}

// ProfileSpec is what the profile gives its endpoints.
type ProfileSpec struct {
	// Egress are the rules for what the endpoints send and no policy decides.
	Egress []Rule `json:"egress,omitempty"`
	// Ingress are the rules for what the endpoints receive and no policy decides.
	Ingress []Rule `json:"ingress,omitempty"`
	// LabelsToApply are labels that the endpoints have as if they were their own; their own win.
	LabelsToApply map[string]string `json:"labelsToApply,omitempty"`
}

// Names and labels of the profiles of Kubernetes.
const (
	NamespaceProfilePrefix      = "kns."
	ServiceAccountProfilePrefix = "ksa."
	NamespaceLabelPrefix        = "pcns." // in front of a namespace's own label keys
	ServiceAccountLabelPrefix   = "pcsa." // in front of a service account's

	LabelNamespace      = "projectcalico.org/namespace"
	LabelServiceAccount = "projectcalico.org/serviceaccount"
	LabelOrchestrator   = "projectcalico.org/orchestrator"
	OrchestratorK8s     = "k8s"
	LabelName           = "projectcalico.org/name" // with a prefix: the name of the namespace or account
)
