package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkPolicy allows, denies or passes on what some endpoints of its namespace receive and send.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,path=networkpolicies,shortName={cnp,caliconetworkpolicy}
// +kubebuilder:selectablefield:JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Order",type=number,JSONPath=`.spec.order`
type NetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NetworkPolicySpec `json:"spec,omitempty"`
}

// NetworkPolicyList is a list of NetworkPolicy.
//
// +kubebuilder:object:root=true
type NetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []NetworkPolicy `json:"items"`
}

// NetworkPolicySpec is what the policy applies to, and its rules.
//
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || !self.selector.contains('global(')",fieldPath=".selector",message="cannot use global(): write all() to select every endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountSelector) || !self.serviceAccountSelector.contains('global(')",fieldPath=".serviceAccountSelector",message="cannot use global(): write all() to select every service account"
type NetworkPolicySpec struct {
	// Egress are the rules for what the selected endpoints send. The first that matches decides.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	Egress []Rule `json:"egress,omitempty"`
	// Ingress are the rules for what the selected endpoints receive. The first that matches decides.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	Ingress []Rule `json:"ingress,omitempty"`
	// Order is the policy's place in its tier: lower is earlier. Absent is last. Of equal orders the name decides.
	Order *float64 `json:"order,omitempty"`
	// PerformanceHints tell how the policy is used.
	// +listType=set
	// +kubebuilder:validation:items:Enum=AssumeNeededOnEveryNode
	PerformanceHints []PolicyPerformanceHint `json:"performanceHints,omitempty"`
	// Selector selects the endpoints that the policy applies to, by their labels. Empty is all().
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`
	// ServiceAccountSelector selects the service accounts of the pods that the policy applies to, by their labels.
	// Empty is any.
	// +kubebuilder:validation:MaxLength=1024
	ServiceAccountSelector string `json:"serviceAccountSelector,omitempty"`
	// Tier is the name of the policy's tier.
	// +kubebuilder:default="default"
	Tier string `json:"tier,omitempty"`
	// Types are the directions that the policy applies to. Absent means Ingress, if there are ingress rules or none at
	// all, and Egress, if there are egress rules.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	// +kubebuilder:validation:items:Enum=Ingress;Egress
	Types []PolicyType `json:"types,omitempty"`
}
