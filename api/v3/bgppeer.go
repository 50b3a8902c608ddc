package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer makes some nodes, or all, BGP peers of a router, of other nodes or of pods.
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

	// +required
	Spec BGPPeerSpec `json:"spec"`
}

// BGPPeerList is a list of BGPPeer.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BGPPeer `json:"items"`
}

// BGPPeerSpec says which nodes peer with whom, and how.
//
// +kubebuilder:validation:XValidation:rule="(!has(self.node) || size(self.node) == 0) || (!has(self.nodeSelector) || size(self.nodeSelector) == 0)",fieldPath=".nodeSelector",message="cannot be combined with node: remove one of the two"
// +kubebuilder:validation:XValidation:rule="(!has(self.peerIP) || size(self.peerIP) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",fieldPath=".peerSelector",message="cannot be combined with peerIP: remove one of the two"
// +kubebuilder:validation:XValidation:rule="(!has(self.peerSelector) || size(self.peerSelector) == 0) || !has(self.asNumber) || self.asNumber == 0",fieldPath=".asNumber",message="must be absent with peerSelector: selected nodes have their own AS numbers"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerIP) || size(self.peerIP) == 0)",fieldPath=".localWorkloadSelector",message="cannot be combined with peerIP: remove one of the two"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)",fieldPath=".localWorkloadSelector",message="cannot be combined with peerSelector: remove one of the two"
// +kubebuilder:validation:XValidation:rule="(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (has(self.asNumber) && self.asNumber != 0)",fieldPath=".asNumber",reason="FieldValueRequired",message="is needed with localWorkloadSelector: the AS number of the pods"
// +kubebuilder:validation:XValidation:rule="!has(self.reachableBy) || size(self.reachableBy) == 0 || (has(self.peerIP) && size(self.peerIP) > 0)",fieldPath=".reachableBy",message="needs peerIP: it is the gateway to that address"
// +kubebuilder:validation:XValidation:rule="!has(self.keepOriginalNextHop) || !self.keepOriginalNextHop || !has(self.nextHopMode)",fieldPath=".keepOriginalNextHop",message="cannot be combined with nextHopMode: write nextHopMode: Keep alone"
// +kubebuilder:validation:XValidation:rule="has(self.peerIP) && size(self.peerIP) > 0 || has(self.peerSelector) && size(self.peerSelector) > 0 || has(self.localWorkloadSelector) && size(self.localWorkloadSelector) > 0",fieldPath=".peerIP",reason="FieldValueRequired",message="is needed, for example 192.168.1.1, or else peerSelector or localWorkloadSelector: they say who the peer is"
type BGPPeerSpec struct {
	// ASNumber is the AS number of the peer, which goes with peerIP. Peers found by peerSelector have the number of
	// their node, and so has a node whose address is in peerIP, where this is absent.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 4294967295",message="must be an AS number, 1 to 4294967295"
	ASNumber uint32 `json:"asNumber,omitempty"`
	// Filters names the BGPFilters that routes from and to the peer pass, in order.
	// +listType=atomic
	Filters []string `json:"filters,omitempty"`
	// KeepOriginalNextHop keeps the next hop of routes that are sent to an external peer. Deprecated: use
	// nextHopMode.
	KeepOriginalNextHop bool `json:"keepOriginalNextHop,omitempty"`
	// KeepaliveTime is the time between keepalive messages, for example 30s; the hold time is three times that.
	// Absent means 30s.
	KeepaliveTime string `json:"keepaliveTime,omitempty"`
	// LocalASNumber replaces the node's own AS number towards this peer.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 4294967295",message="must be an AS number, 1 to 4294967295"
	LocalASNumber *uint32 `json:"localASNumber,omitempty"`
	// LocalWorkloadSelector makes pods on the same node peers, selected by their labels. It is not supported: the
	// BGPPeer opens no session.
	// +kubebuilder:validation:MaxLength=1024
	LocalWorkloadSelector string `json:"localWorkloadSelector,omitempty"`
	// MaxRestartTime is how long the peer keeps our routes while we restart (RFC 4724), for example 120s, which is
	// also the default.
	MaxRestartTime string `json:"maxRestartTime,omitempty"`
	// NextHopMode says what next hop is sent to the peer: Auto follows the rules of BGP, Self is always the node,
	// Keep is what the route came with.
	// +kubebuilder:validation:Enum="Auto";"Self";"Keep"
	NextHopMode string `json:"nextHopMode,omitempty"`
	// Node is the name of the one node that has this peer. Without node and nodeSelector all nodes have it.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// NodeSelector selects the nodes that have this peer, by their labels. It excludes node.
	// +kubebuilder:validation:MaxLength=1024
	NodeSelector string `json:"nodeSelector,omitempty"`
	// NumAllowedLocalASNumbers is how often the own AS number may occur in the path of a received route. Absent means
	// 0.
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="must not be negative"
	NumAllowedLocalASNumbers *uint32 `json:"numAllowedLocalASNumbers,omitempty"`
	// Password is the password of the session (TCP MD5, RFC 2385). It is not supported: no session that is to have one
	// is opened.
	Password *BGPPassword `json:"password,omitempty"`
	// PeerIP is the address of the peer, for example 192.168.1.1 or fd00::1, with a port other than 179 written as
	// 192.168.1.1:1790 or [fd00::1]:1790.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isIP(self) || self.matches('^([0-9.]+|\\\\[[0-9A-Fa-f:.]+\\\\]):[0-9]{1,5}$') && isIP(self.substring(0, self.lastIndexOf(':')).replace('[', '').replace(']', ''))",message="must be an address such as 192.168.1.1 or fd00::1, with a port as in 192.168.1.1:1790 or [fd00::1]:1790"
	PeerIP string `json:"peerIP,omitempty"`
	// PeerSelector selects nodes of this cluster as peers, by their labels. It excludes peerIP.
	// +kubebuilder:validation:MaxLength=1024
	PeerSelector string `json:"peerSelector,omitempty"`
	// ReachableBy is the address of the gateway through which the peer is reached, when it is not on the node's
	// subnet. It is not supported: the session goes by the routes that the node has.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isIP(self)",message="must be an address such as 192.168.1.254 or fd00::fe"
	ReachableBy string `json:"reachableBy,omitempty"`
	// ReversePeering says whether peers that are nodes get the session configured towards us too: Auto or Manual.
	// Absent means Auto.
	ReversePeering string `json:"reversePeering,omitempty"`
	// SourceAddress is the source of the session: UseNodeIP, which is the default, or None, which leaves it to the
	// kernel.
	// +kubebuilder:validation:Enum="UseNodeIP";"None"
	SourceAddress string `json:"sourceAddress,omitempty"`
	// TTLSecurity is the number of hops to the peer: packets from farther away are dropped (RFC 5082).
	TTLSecurity *int `json:"ttlSecurity,omitempty"`
}
