package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CalicoNodeStatus asks a node to report on itself, and holds what it reported.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=caliconodestatuses
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Classes",type=string,JSONPath=`.spec.classes`
type CalicoNodeStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CalicoNodeStatusSpec   `json:"spec,omitempty"`
	Status CalicoNodeStatusStatus `json:"status,omitempty,omitzero"`
}

// CalicoNodeStatusList is a list of CalicoNodeStatus.
//
// +kubebuilder:object:root=true
type CalicoNodeStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []CalicoNodeStatus `json:"items"`
}

// CalicoNodeStatusSpec says which node reports what, and how often.
//
// +kubebuilder:validation:XValidation:rule="has(self.node) && size(self.node) > 0",fieldPath=".node",reason="FieldValueRequired",message="is needed: the name of the node that shall report"
// +kubebuilder:validation:XValidation:rule="has(self.classes) && size(self.classes) > 0",fieldPath=".classes",reason="FieldValueRequired",message="is needed: write what to report, of Agent, BGP and Routes"
// +kubebuilder:validation:XValidation:rule="!has(self.updatePeriodSeconds) || self.updatePeriodSeconds >= 0 && self.updatePeriodSeconds <= 86400",fieldPath=".updatePeriodSeconds",message="must be 0 to 86400, which is a day"
type CalicoNodeStatusSpec struct {
	// Classes says what is reported: Agent, BGP or Routes, or several of them.
	// +listType=set
	Classes []NodeStatusClassType `json:"classes,omitempty"`
	// Node is the name of the node.
	Node string `json:"node,omitempty"`
	// UpdatePeriodSeconds is the time between reports in seconds, 0 to 86400. With 0 the node reports once; absent
	// means 10, and less than 5 means 5.
	UpdatePeriodSeconds *uint32 `json:"updatePeriodSeconds,omitempty"`
}

// CalicoNodeStatusStatus is what the node reported.
type CalicoNodeStatusStatus struct {
	// Agent is the state of the BGP speaker.
	Agent CalicoNodeAgentStatus `json:"agent,omitempty,omitzero"`
	// BGP is the state of the sessions.
	BGP CalicoNodeBGPStatus `json:"bgp,omitempty,omitzero"`
	// LastUpdated is when the node last reported.
	LastUpdated metav1.Time `json:"lastUpdated,omitempty,omitzero"`
	// Routes are the routes that the BGP speaker knows.
	Routes CalicoNodeBGPRouteStatus `json:"routes,omitempty,omitzero"`
}

// CalicoNodeAgentStatus is the state of the BGP speaker for each IP version. The fields have the names of the program
// that Calico uses for it.
type CalicoNodeAgentStatus struct {
	// BIRDV4 is the state for IPv4.
	BIRDV4 BGPDaemonStatus `json:"birdV4,omitempty,omitzero"`
	// BIRDV6 is the state for IPv6.
	BIRDV6 BGPDaemonStatus `json:"birdV6,omitempty,omitzero"`
}

// BGPDaemonStatus is the state of the BGP speaker.
type BGPDaemonStatus struct {
	// LastBootTime is when it started.
	LastBootTime string `json:"lastBootTime,omitempty"`
	// LastReconfigurationTime is when its configuration last changed.
	LastReconfigurationTime string `json:"lastReconfigurationTime,omitempty"`
	// RouterID is its identifier in BGP.
	RouterID string `json:"routerID,omitempty"`
	// State is Ready or NotReady.
	State BGPDaemonState `json:"state,omitempty"`
	// Version is its version.
	Version string `json:"version,omitempty"`
}

// CalicoNodeBGPStatus is the state of the sessions.
type CalicoNodeBGPStatus struct {
	// NumberEstablishedV4 is how many IPv4 sessions are established.
	// +required
	NumberEstablishedV4 int `json:"numberEstablishedV4"`
	// NumberEstablishedV6 is how many IPv6 sessions are established.
	// +required
	NumberEstablishedV6 int `json:"numberEstablishedV6"`
	// NumberNotEstablishedV4 is how many IPv4 sessions are not.
	// +required
	NumberNotEstablishedV4 int `json:"numberNotEstablishedV4"`
	// NumberNotEstablishedV6 is how many IPv6 sessions are not.
	// +required
	NumberNotEstablishedV6 int `json:"numberNotEstablishedV6"`
	// PeersV4 are the IPv4 peers.
	// +listType=atomic
	PeersV4 []CalicoNodePeer `json:"peersV4,omitempty"`
	// PeersV6 are the IPv6 peers.
	// +listType=atomic
	PeersV6 []CalicoNodePeer `json:"peersV6,omitempty"`
}

// CalicoNodePeer is a session.
type CalicoNodePeer struct {
	// PeerIP is the address of the peer.
	PeerIP string `json:"peerIP,omitempty"`
	// Since is when the state last changed.
	Since string `json:"since,omitempty"`
	// State is that of the session (RFC 4271).
	State BGPSessionState `json:"state,omitempty"`
	// Type says where the peer is from: NodeMesh, NodePeer, which is a BGPPeer of one node, or GlobalPeer.
	Type BGPPeerType `json:"type,omitempty"`
}

// CalicoNodeBGPRouteStatus are the routes that the BGP speaker knows.
type CalicoNodeBGPRouteStatus struct {
	// RoutesV4 are the IPv4 routes.
	// +listType=atomic
	RoutesV4 []CalicoNodeRoute `json:"routesV4,omitempty"`
	// RoutesV6 are the IPv6 routes.
	// +listType=atomic
	RoutesV6 []CalicoNodeRoute `json:"routesV6,omitempty"`
}

// CalicoNodeRoute is a route.
type CalicoNodeRoute struct {
	// Destination is the network, as a CIDR.
	Destination string `json:"destination,omitempty"`
	// Gateway is the address of the next hop.
	Gateway string `json:"gateway,omitempty"`
	// Interface is the network interface that the route leaves by.
	Interface string `json:"interface,omitempty"`
	// LearnedFrom says where the route is from.
	LearnedFrom CalicoNodeRouteLearnedFrom `json:"learnedFrom,omitempty,omitzero"`
	// Type is FIB for a route that is in use, RIB for one that is only known.
	Type CalicoNodeRouteType `json:"type,omitempty"`
}

// CalicoNodeRouteLearnedFrom says where a route is from.
type CalicoNodeRouteLearnedFrom struct {
	// PeerIP is the address of the peer that sent the route, where sourceType is NodeMesh or BGPPeer.
	PeerIP string `json:"peerIP,omitempty"`
	// SourceType is what the route was learned from.
	SourceType CalicoNodeRouteSourceType `json:"sourceType,omitempty"`
}

// NodeStatusClassType is a part of a node's report.
//
// +kubebuilder:validation:Enum=Agent;BGP;Routes
type NodeStatusClassType string

// The parts of a report.
const (
	NodeStatusClassTypeAgent  NodeStatusClassType = "Agent"
	NodeStatusClassTypeBGP    NodeStatusClassType = "BGP"
	NodeStatusClassTypeRoutes NodeStatusClassType = "Routes"
)

// BGPDaemonState says whether the BGP speaker works.
//
// +kubebuilder:validation:Enum=Ready;NotReady
type BGPDaemonState string

// The states of the speaker.
const (
	BGPDaemonStateReady    BGPDaemonState = "Ready"
	BGPDaemonStateNotReady BGPDaemonState = "NotReady"
)

// BGPPeerType says where a peer is from.
//
// +kubebuilder:validation:Enum=NodeMesh;NodePeer;GlobalPeer
type BGPPeerType string

// The types of peers.
const (
	BGPPeerTypeNodeMesh   BGPPeerType = "NodeMesh"
	BGPPeerTypeNodePeer   BGPPeerType = "NodePeer"
	BGPPeerTypeGlobalPeer BGPPeerType = "GlobalPeer"
)

// BGPSessionState is the state of a session.
//
// +kubebuilder:validation:Enum=Idle;Connect;Active;OpenSent;OpenConfirm;Established;Close
type BGPSessionState string

// The states of a session.
const (
	BGPSessionStateIdle        BGPSessionState = "Idle"
	BGPSessionStateConnect     BGPSessionState = "Connect"
	BGPSessionStateActive      BGPSessionState = "Active"
	BGPSessionStateOpenSent    BGPSessionState = "OpenSent"
	BGPSessionStateOpenConfirm BGPSessionState = "OpenConfirm"
	BGPSessionStateEstablished BGPSessionState = "Established"
	BGPSessionStateClose       BGPSessionState = "Close"
)

// CalicoNodeRouteType says whether a route is in use.
//
// +kubebuilder:validation:Enum=FIB;RIB
type CalicoNodeRouteType string

// The types of routes.
const (
	RouteTypeFIB CalicoNodeRouteType = "FIB"
	RouteTypeRIB CalicoNodeRouteType = "RIB"
)

// CalicoNodeRouteSourceType is what a route is learned from.
//
// +kubebuilder:validation:Enum=Kernel;Static;Direct;NodeMesh;BGPPeer
type CalicoNodeRouteSourceType string

// The sources of routes.
const (
	RouteSourceTypeKernel   CalicoNodeRouteSourceType = "Kernel"
	RouteSourceTypeStatic   CalicoNodeRouteSourceType = "Static"
	RouteSourceTypeDirect   CalicoNodeRouteSourceType = "Direct"
	RouteSourceTypeNodeMesh CalicoNodeRouteSourceType = "NodeMesh"
	RouteSourceTypeBGPPeer  CalicoNodeRouteSourceType = "BGPPeer"
)
