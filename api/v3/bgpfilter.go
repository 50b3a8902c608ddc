package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPFilter says which routes are exchanged with the BGP peers that name it, and how they are changed.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgpfilters
type BGPFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPFilterSpec `json:"spec,omitempty"`
}

// BGPFilterList is a list of BGPFilter.
//
// +kubebuilder:object:root=true
type BGPFilterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BGPFilter `json:"items"`
}

// BGPFilterSpec is the rules for each direction and IP version. The first rule that matches a route decides.
type BGPFilterSpec struct {
	// ExportV4 are the rules for IPv4 routes that are sent to the peer.
	// +listType=atomic
	ExportV4 []BGPFilterRuleV4 `json:"exportV4,omitempty"`
	// ExportV6 are the rules for IPv6 routes that are sent to the peer.
	// +listType=atomic
	ExportV6 []BGPFilterRuleV6 `json:"exportV6,omitempty"`
	// ImportV4 are the rules for IPv4 routes that the peer sends.
	// +listType=atomic
	ImportV4 []BGPFilterRuleV4 `json:"importV4,omitempty"`
	// ImportV6 are the rules for IPv6 routes that the peer sends.
	// +listType=atomic
	ImportV6 []BGPFilterRuleV6 `json:"importV6,omitempty"`
}

// BGPFilterRuleV4 is an action and what an IPv4 route must be like for it. Every part that is set must match.
//
// +kubebuilder:validation:XValidation:rule="(has(self.cidr) && size(self.cidr) > 0) == (has(self.matchOperator) && size(self.matchOperator) > 0)",fieldPath=".matchOperator",message="goes with cidr: write both, or remove both to match every prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.prefixLength) || (has(self.cidr) && size(self.cidr) > 0)",fieldPath=".prefixLength",message="needs cidr: write 0.0.0.0/0 with matchOperator In to match every prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.operations) || size(self.operations) == 0 || self.action == 'Accept'",fieldPath=".operations",message="go with action Accept only: a rejected route is not changed"
type BGPFilterRuleV4 struct {
	// Action is what happens to a route that matches: Accept, or Reject. What no rule matches is accepted.
	// +required
	Action BGPFilterAction `json:"action"`
	// ASPathPrefix matches routes whose AS path begins with these AS numbers.
	// +kubebuilder:validation:items:Format=int64
	// +listType=atomic
	ASPathPrefix []uint32 `json:"asPathPrefix,omitempty"`
	// CIDR is the network that matchOperator compares the route's with, for example 10.0.0.0/8.
	// +kubebuilder:validation:Format=cidr
	// +kubebuilder:validation:MaxLength=18
	CIDR string `json:"cidr,omitempty"`
	// Communities matches routes that carry a community.
	Communities *BGPFilterCommunityMatch `json:"communities,omitempty"`
	// Interface matches routes that leave by this network interface. A * stands for any characters.
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`
	// MatchOperator says how the route's network is compared with cidr: Equal, NotEqual, In, which is equal or within,
	// or NotIn. It goes with cidr.
	MatchOperator BGPFilterMatchOperator `json:"matchOperator,omitempty"`
	// Operations change a route that is accepted, in order.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	Operations []BGPFilterOperation `json:"operations,omitempty"`
	// PeerType matches routes to or from peers of another AS (eBGP) or of the own (iBGP). Absent is both.
	PeerType BGPFilterPeerType `json:"peerType,omitempty"`
	// PrefixLength matches routes whose prefix length is in a range. It goes with cidr.
	PrefixLength *BGPFilterPrefixLengthV4 `json:"prefixLength,omitempty"`
	// Priority matches routes of this metric, as the route priorities in FelixConfiguration give it.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	Priority *int `json:"priority,omitempty"`
	// Source is RemotePeers: it matches routes that were learned from a BGP peer. Absent is any route.
	Source BGPFilterMatchSource `json:"source,omitempty"`
}

// BGPFilterPrefixLengthV4 is a range of prefix lengths, of which both ends belong to it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",fieldPath=".min",message="must not be greater than max"
type BGPFilterPrefixLengthV4 struct {
	// Max is 0 to 32. Absent means 32.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	Max *int32 `json:"max,omitempty"`
	// Min is 0 to 32. Absent means the prefix length of cidr.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	Min *int32 `json:"min,omitempty"`
}

// BGPFilterRuleV6 is an action and what an IPv6 route must be like for it. Every part that is set must match.
//
// +kubebuilder:validation:XValidation:rule="(has(self.cidr) && size(self.cidr) > 0) == (has(self.matchOperator) && size(self.matchOperator) > 0)",fieldPath=".matchOperator",message="goes with cidr: write both, or remove both to match every prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.prefixLength) || (has(self.cidr) && size(self.cidr) > 0)",fieldPath=".prefixLength",message="needs cidr: write ::/0 with matchOperator In to match every prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.operations) || size(self.operations) == 0 || self.action == 'Accept'",fieldPath=".operations",message="go with action Accept only: a rejected route is not changed"
type BGPFilterRuleV6 struct {
	// Action is what happens to a route that matches: Accept, or Reject. What no rule matches is accepted.
	// +required
	Action BGPFilterAction `json:"action"`
	// ASPathPrefix matches routes whose AS path begins with these AS numbers.
	// +kubebuilder:validation:items:Format=int64
	// +listType=atomic
	ASPathPrefix []uint32 `json:"asPathPrefix,omitempty"`
	// CIDR is the network that matchOperator compares the route's with, for example fd00::/8.
	// +kubebuilder:validation:Format=cidr
	// +kubebuilder:validation:MaxLength=43
	CIDR string `json:"cidr,omitempty"`
	// Communities matches routes that carry a community.
	Communities *BGPFilterCommunityMatch `json:"communities,omitempty"`
	// Interface matches routes that leave by this network interface. A * stands for any characters.
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`
	// MatchOperator says how the route's network is compared with cidr: Equal, NotEqual, In, which is equal or within,
	// or NotIn. It goes with cidr.
	MatchOperator BGPFilterMatchOperator `json:"matchOperator,omitempty"`
	// Operations change a route that is accepted, in order.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	Operations []BGPFilterOperation `json:"operations,omitempty"`
	// PeerType matches routes to or from peers of another AS (eBGP) or of the own (iBGP). Absent is both.
	PeerType BGPFilterPeerType `json:"peerType,omitempty"`
	// PrefixLength matches routes whose prefix length is in a range. It goes with cidr.
	PrefixLength *BGPFilterPrefixLengthV6 `json:"prefixLength,omitempty"`
	// Priority matches routes of this metric, as the route priorities in FelixConfiguration give it.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	Priority *int `json:"priority,omitempty"`
	// Source is RemotePeers: it matches routes that were learned from a BGP peer. Absent is any route.
	Source BGPFilterMatchSource `json:"source,omitempty"`
}

// BGPFilterPrefixLengthV6 is a range of prefix lengths, of which both ends belong to it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",fieldPath=".min",message="must not be greater than max"
type BGPFilterPrefixLengthV6 struct {
	// Max is 0 to 128. Absent means 128.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Max *int32 `json:"max,omitempty"`
	// Min is 0 to 128. Absent means the prefix length of cidr.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Min *int32 `json:"min,omitempty"`
}

// BGPFilterCommunityMatch is a community that a route must carry.
type BGPFilterCommunityMatch struct {
	// Values holds the one community.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1
	// +listType=atomic
	// +required
	Values []BGPCommunityValue `json:"values"`
}

// BGPFilterOperation is one change of a route: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.addCommunity) ? 1 : 0) + (has(self.prependASPath) ? 1 : 0) + (has(self.setPriority) ? 1 : 0) == 1",message="must have exactly one of addCommunity, prependASPath and setPriority: write an entry for each"
type BGPFilterOperation struct {
	// AddCommunity gives the route a community.
	AddCommunity *BGPFilterAddCommunity `json:"addCommunity,omitempty"`
	// PrependASPath puts AS numbers before the route's AS path.
	PrependASPath *BGPFilterPrependASPath `json:"prependASPath,omitempty"`
	// SetPriority sets the route's metric.
	SetPriority *BGPFilterSetPriority `json:"setPriority,omitempty"`
}

// BGPFilterAddCommunity is the community to add.
type BGPFilterAddCommunity struct {
	// Value is the community, for example 65001:100.
	// +required
	Value BGPCommunityValue `json:"value"`
}

// BGPFilterPrependASPath is what is put before an AS path.
type BGPFilterPrependASPath struct {
	// Prefix holds the AS numbers with which the path then begins, in this order.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:Format=int64
	// +listType=atomic
	// +required
	Prefix []uint32 `json:"prefix"`
}

// BGPFilterSetPriority is the metric to set.
type BGPFilterSetPriority struct {
	// Value is the metric, as the route priorities in FelixConfiguration give it: lower is preferred.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	// +required
	Value int `json:"value"`
}

// BGPCommunityValue is a community: two numbers up to 65535 (RFC 1997), as 65001:100, or three up to 4294967295
// (RFC 8092), as 65001:100:1.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^(([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]))$`
type BGPCommunityValue string

// BGPFilterAction is what happens to a route.
//
// +kubebuilder:validation:Enum=Accept;Reject
type BGPFilterAction string

// The actions of a filter.
const (
	Accept BGPFilterAction = "Accept"
	Reject BGPFilterAction = "Reject"
)

// BGPFilterMatchOperator says how networks are compared.
//
// +kubebuilder:validation:Enum=Equal;NotEqual;In;NotIn
type BGPFilterMatchOperator string

// The operators.
const (
	MatchOperatorEqual    BGPFilterMatchOperator = "Equal"
	MatchOperatorNotEqual BGPFilterMatchOperator = "NotEqual"
	MatchOperatorIn       BGPFilterMatchOperator = "In"
	MatchOperatorNotIn    BGPFilterMatchOperator = "NotIn"
)

// BGPFilterPeerType says whether a peer is of another AS.
//
// +kubebuilder:validation:Enum=eBGP;iBGP
type BGPFilterPeerType string

// The types of peers.
const (
	BGPFilterPeerTypeEBGP BGPFilterPeerType = "eBGP"
	BGPFilterPeerTypeIBGP BGPFilterPeerType = "iBGP"
)

// BGPFilterMatchSource says where a route comes from.
//
// +kubebuilder:validation:Enum=RemotePeers
type BGPFilterMatchSource string

// BGPFilterSourceRemotePeers is a route that was learned from a BGP peer.
const BGPFilterSourceRemotePeers BGPFilterMatchSource = "RemotePeers"
