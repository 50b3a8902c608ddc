package v3

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StagedKubernetesNetworkPolicy is a NetworkPolicy of Kubernetes on trial: it is computed beside the others and never
// enforced.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,path=stagedkubernetesnetworkpolicies,shortName={sknp}
type StagedKubernetesNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec StagedKubernetesNetworkPolicySpec `json:"spec,omitempty"`
}

// StagedKubernetesNetworkPolicyList is a list of StagedKubernetesNetworkPolicy.
//
// +kubebuilder:object:root=true
type StagedKubernetesNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []StagedKubernetesNetworkPolicy `json:"items"`
}

// StagedKubernetesNetworkPolicySpec is that of networking.k8s.io/v1 NetworkPolicy, with what is tried.
type StagedKubernetesNetworkPolicySpec struct {
	// Egress are the rules for what the selected pods send.
	// +listType=atomic
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress,omitempty"`
	// Ingress are the rules for what the selected pods receive.
	// +listType=atomic
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress,omitempty"`
	// PodSelector selects the pods that the policy applies to. Empty is every pod of the namespace.
	PodSelector metav1.LabelSelector `json:"podSelector,omitempty"`
	// PolicyTypes are the directions that the policy applies to. Absent means Ingress, and Egress if there are egress
	// rules.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	PolicyTypes []networkingv1.PolicyType `json:"policyTypes,omitempty"`
	// StagedAction is what is tried: Set adds or replaces the policy of the same name, Delete removes it, Learn and
	// Ignore try nothing.
	// +kubebuilder:default="Set"
	// +kubebuilder:validation:Enum=Set;Delete;Learn;Ignore
	StagedAction StagedAction `json:"stagedAction,omitempty"`
}
