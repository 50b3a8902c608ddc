package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tier is a step of policy evaluation: its policies are asked in their order, before those of the tiers with a higher
// order. A packet that none of the policies that select an endpoint decides gets the tier's default action.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=tiers
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Order",type=number,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="DefaultAction",type=string,JSONPath=`.spec.defaultAction`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
type Tier struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TierSpec   `json:"spec,omitempty"`
	Status TierStatus `json:"status,omitempty,omitzero"`
}

// TierList is a list of Tier.
//
// +kubebuilder:object:root=true
type TierList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Tier `json:"items"`
}

// TierSpec is the tier's place and its end.
type TierSpec struct {
	// DefaultAction is what happens to a packet that no policy of the tier decides, at an endpoint that one of them
	// selects: Deny, or Pass, which goes on with the next tier.
	// +kubebuilder:default="Deny"
	// +kubebuilder:validation:XValidation:rule="self in ['Deny', 'Pass']",message="must be Deny or Pass"
	DefaultAction *Action `json:"defaultAction,omitempty"`
	// Order is the tier's place: lower is earlier. Absent is last. Of equal orders the name decides.
	Order *float64 `json:"order,omitempty"`
}

// TierStatus is what kube-controllers found out about a tier.
type TierStatus struct {
	// Conditions tells what is known of the tier; Ready says whether it is used.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The tiers that always exist. DefaultTier holds policies that name no tier, and Kubernetes NetworkPolicies. The tiers
// of KubeAdminTier and KubeBaselineTier hold ClusterNetworkPolicies.
const (
	DefaultTier      = "default"
	KubeAdminTier    = "kube-admin"
	KubeBaselineTier = "kube-baseline"
)

// The orders of these tiers.
const (
	KubeAdminTierOrder    = 1_000
	DefaultTierOrder      = 1_000_000
	KubeBaselineTierOrder = 10_000_000
)

// BuiltInTiers gives the tiers that always exist, in their order, as they are stored at first. Neither their orders nor
// their default actions can be changed.
func BuiltInTiers() []*Tier {
	builtIn := func(name string, order float64, action Action) *Tier {
		return &Tier{TypeMeta: metav1.TypeMeta{APIVersion: GroupVersion.String(), Kind: "Tier"},
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       TierSpec{Order: &order, DefaultAction: &action}}
	}
	return []*Tier{
		builtIn(KubeAdminTier, KubeAdminTierOrder, Pass),
		builtIn(DefaultTier, DefaultTierOrder, Deny),
		builtIn(KubeBaselineTier, KubeBaselineTierOrder, Pass),
	}
}

// TierLabel is the label of a policy that names its tier, by which policies of one tier are listed.
const TierLabel = "projectcalico.org/tier"
