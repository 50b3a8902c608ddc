package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GlobalNetworkPolicy allows, denies or passes on what endpoints in all namespaces, and host endpoints, receive and
// send.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=globalnetworkpolicies,shortName={gnp,cgnp}
// +kubebuilder:selectablefield:JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Order",type=number,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GlobalNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GlobalNetworkPolicySpec `json:"spec,omitempty"`
}

// GlobalNetworkPolicyList is a list of GlobalNetworkPolicy.
//
// +kubebuilder:object:root=true
type GlobalNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GlobalNetworkPolicy `json:"items"`
}

// GlobalNetworkPolicySpec is what the policy applies to, and its rules.
//
// +kubebuilder:validation:XValidation:rule="!((has(self.doNotTrack) && self.doNotTrack) && (has(self.preDNAT) && self.preDNAT))",fieldPath=".preDNAT",message="cannot be combined with doNotTrack: remove one of the two"
// +kubebuilder:validation:XValidation:rule="(!has(self.preDNAT) || !self.preDNAT) || !has(self.egress) || size(self.egress) == 0",fieldPath=".egress",message="must be empty with preDNAT, which is for ingress only"
// +kubebuilder:validation:XValidation:rule="(!has(self.preDNAT) || !self.preDNAT) || !has(self.types) || !self.types.exists(t, t == 'Egress')",fieldPath=".types",message="must be Ingress alone with preDNAT"
// +kubebuilder:validation:XValidation:rule="(has(self.applyOnForward) && self.applyOnForward) || ((!has(self.doNotTrack) || !self.doNotTrack) && (!has(self.preDNAT) || !self.preDNAT))",fieldPath=".applyOnForward",message="must be true with doNotTrack or preDNAT"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || !self.selector.contains('global(')",fieldPath=".selector",message="cannot use global(): write all() to select every endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountSelector) || !self.serviceAccountSelector.contains('global(')",fieldPath=".serviceAccountSelector",message="cannot use global(): write all() to select every service account"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaceSelector) || !self.namespaceSelector.contains('global(')",fieldPath=".namespaceSelector",message="cannot use global(): write all() to select every namespace"
type GlobalNetworkPolicySpec struct {
	// ApplyOnForward applies the policy also to what host endpoints forward, not only to what begins or ends at the
	// host.
	ApplyOnForward bool `json:"applyOnForward,omitempty"`
	// DoNotTrack applies the policy to host endpoints before connections are tracked: replies need rules of their own.
	// It needs applyOnForward.
	DoNotTrack bool `json:"doNotTrack,omitempty"`
	// Egress are the rules for what the selected endpoints send. The first that matches decides.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	Egress []Rule `json:"egress,omitempty"`
	// Ingress are the rules for what the selected endpoints receive. The first that matches decides.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	Ingress []Rule `json:"ingress,omitempty"`
	// NamespaceSelector selects the namespaces of the pods that the policy applies to, by their labels. Empty is every
	// namespace, and what is in none.
	// +kubebuilder:validation:MaxLength=1024
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// Order is the policy's place in its tier: lower is earlier. Absent is last. Of equal orders the name decides.
	Order *float64 `json:"order,omitempty"`
	// PerformanceHints tell how the policy is used.
	// +listType=set
	// +kubebuilder:validation:items:Enum=AssumeNeededOnEveryNode
	PerformanceHints []PolicyPerformanceHint `json:"performanceHints,omitempty"`
	// PreDNAT applies the ingress rules to host endpoints before addresses are translated, for example those of node
	// ports. It needs applyOnForward, and excludes egress rules and doNotTrack.
	PreDNAT bool `json:"preDNAT,omitempty"`
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
