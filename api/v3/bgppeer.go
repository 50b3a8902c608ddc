package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer is a BGPPeer resource of projectcalico.org/v3.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgppeers
// +kubebuilder:printcolumn:name="Node Selector",type=string,JSONPath=`.spec.nodeSelector`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Local ASN",type=integer,JSONPath=`.spec.localASNumber`
// +kubebuilder:printcolumn:name="Peer Selector",type=string,JSONPath=`.spec.peerSelector`
// +kubebuilder:printcolumn:name="Peer IP",type=string,JSONPath=`.spec.peerIP`
// +kubebuilder:printcolumn:name="Peer ASN",type=integer,JSONPath=`.spec.asNumber`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPPeerSpec `json:"spec,omitempty"`
}

// BGPPeerList is a list of BGPPeer.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BGPPeer `json:"items"`
}

// BGPPeerSpec is what the user wants of a BGPPeer.
// +kubebuilder:validation:XValidation:rule="(!has(self.node) || size(self.node) == 0) || (!has(self.nodeSelector) || size(self.nodeSelector) == 0)",message="must hold: (!has(self.node) || size(self.node) == 0) || (!has(self.nodeSelector) || size(self.nodeSelector) == 0)"
// +kubebuilder:validation:XValidation:rule="(!has(self.peerIP) || size(self.peerIP) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",message="must hold: (!has(self.peerIP) || size(self.peerIP) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)"
// +kubebuilder:validation:XValidation:rule="(!has(self.peerSelector) || size(self.peerSelector) == 0) || !has(self.asNumber) || self.asNumber == 0",message="must hold: (!has(self.peerSelector) || size(self.peerSelector) == 0) || !has(self.asNumber) || self.asNumber == 0"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerIP) || size(self.peerIP) == 0)",message="must hold: (!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerIP) || size(self.peerIP) == 0)"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",message="must hold: (!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (has(self.asNumber) && self.asNumber != 0)",message="must hold: (!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (has(self.asNumber) && self.asNumber != 0)"
// +kubebuilder:validation:XValidation:rule="!has(self.reachableBy) || size(self.reachableBy) == 0 || (has(self.peerIP) && size(self.peerIP) > 0)",message="must hold: !has(self.reachableBy) || size(self.reachableBy) == 0 || (has(self.peerIP) && size(self.peerIP) > 0)"
// +kubebuilder:validation:XValidation:rule="!has(self.keepOriginalNextHop) || !self.keepOriginalNextHop || !has(self.nextHopMode)",message="must hold: !has(self.keepOriginalNextHop) || !self.keepOriginalNextHop || !has(self.nextHopMode)"
type BGPPeerSpec struct {
	// ASNumber is the field asNumber of the API.
	// +optional
	ASNumber uint32 `json:"asNumber,omitempty"`
	// Filters is the field filters of the API.
	// +listType=atomic
	// +optional
	Filters []string `json:"filters,omitempty"`
	// KeepOriginalNextHop is the field keepOriginalNextHop of the API.
	// +optional
	KeepOriginalNextHop bool `json:"keepOriginalNextHop,omitempty"`
	// KeepaliveTime is the field keepaliveTime of the API.
	// +optional
	KeepaliveTime string `json:"keepaliveTime,omitempty"`
	// LocalASNumber is the field localASNumber of the API.
	// +optional
	LocalASNumber *uint32 `json:"localASNumber,omitempty"`
	// LocalWorkloadSelector is the field localWorkloadSelector of the API.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	LocalWorkloadSelector string `json:"localWorkloadSelector,omitempty"`
	// MaxRestartTime is the field maxRestartTime of the API.
	// +optional
	MaxRestartTime string `json:"maxRestartTime,omitempty"`
	// NextHopMode is the field nextHopMode of the API.
	// +kubebuilder:validation:Enum="Auto";"Self";"Keep"
	// +optional
	NextHopMode string `json:"nextHopMode,omitempty"`
	// Node is the field node of the API.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Node string `json:"node,omitempty"`
	// NodeSelector is the field nodeSelector of the API.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	NodeSelector string `json:"nodeSelector,omitempty"`
	// NumAllowedLocalASNumbers is the field numAllowedLocalASNumbers of the API.
	// +optional
	NumAllowedLocalASNumbers *uint32 `json:"numAllowedLocalASNumbers,omitempty"`
	// Password is the field password of the API.
	// +optional
	Password *BGPPassword `json:"password,omitempty"`
	// PeerIP is the field peerIP of the API.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	PeerIP string `json:"peerIP,omitempty"`
	// PeerSelector is the field peerSelector of the API.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	PeerSelector string `json:"peerSelector,omitempty"`
	// ReachableBy is the field reachableBy of the API.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ReachableBy string `json:"reachableBy,omitempty"`
	// ReversePeering is the field reversePeering of the API.
	// +optional
	ReversePeering string `json:"reversePeering,omitempty"`
	// SourceAddress is the field sourceAddress of the API.
	// +kubebuilder:validation:Enum="UseNodeIP";"None"
	// +optional
	SourceAddress string `json:"sourceAddress,omitempty"`
	// TTLSecurity is the field ttlSecurity of the API.
	// +optional
	TTLSecurity *int `json:"ttlSecurity,omitempty"`
}
