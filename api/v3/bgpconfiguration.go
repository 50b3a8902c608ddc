package v3

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPConfiguration configures BGP: the one named default for all nodes, one named node.NAME for that node.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgpconfigurations,shortName={bgpconfig,bgpconfigs}
type BGPConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPConfigurationSpec `json:"spec,omitempty"`
}

// BGPConfigurationList is a list of BGPConfiguration.
//
// +kubebuilder:object:root=true
type BGPConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BGPConfiguration `json:"items"`
}

// DefaultASNumber is the AS number of nodes if neither the Node nor a BGPConfiguration says one.
const DefaultASNumber = 64512

// BGPConfigurationSpec is the configuration.
//
// +kubebuilder:validation:XValidation:rule="!has(self.nodeMeshPassword) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",fieldPath=".nodeMeshPassword",message="needs the mesh: set nodeToNodeMeshEnabled to true or remove the password"
// +kubebuilder:validation:XValidation:rule="!has(self.nodeMeshMaxRestartTime) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",fieldPath=".nodeMeshMaxRestartTime",message="needs the mesh: set nodeToNodeMeshEnabled to true or remove the time"
// +kubebuilder:validation:XValidation:rule="!has(self.communities) || size(self.communities) == 0 || (has(self.prefixAdvertisements) && size(self.prefixAdvertisements) > 0)",fieldPath=".communities",message="are used by prefixAdvertisements alone: add some or remove the communities"
type BGPConfigurationSpec struct {
	// ASNumber is the AS number of nodes that have none of their own. Absent means 64512.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 4294967295",message="must be an AS number, 1 to 4294967295"
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// BindMode says where BGP listens: None, which is the default, on all addresses, NodeIP on the node's own.
	// +kubebuilder:validation:Enum="None";"NodeIP"
	BindMode string `json:"bindMode,omitempty"`
	// Communities gives names to BGP communities, for use in prefixAdvertisements.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	Communities []Community `json:"communities,omitempty"`
	// IgnoredInterfaces names network interfaces whose networks are not advertised. A * stands for any characters.
	// No network of an interface ever is.
	// +listType=set
	IgnoredInterfaces []string `json:"ignoredInterfaces,omitempty"`
	// IPv4NormalRoutePriority is the metric of IPv4 routes that are programmed. It is not supported.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	IPv4NormalRoutePriority *int `json:"ipv4NormalRoutePriority,omitempty"`
	// IPv6NormalRoutePriority is the metric of IPv6 routes that are programmed. It is not supported.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	IPv6NormalRoutePriority *int `json:"ipv6NormalRoutePriority,omitempty"`
	// ListenPort is the TCP port of BGP. Absent means 179.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ListenPort *int `json:"listenPort,omitempty"`
	// LocalWorkloadPeeringIPV4 is the IPv4 address at which nodes answer BGP of their own pods. It is not supported.
	LocalWorkloadPeeringIPV4 string `json:"localWorkloadPeeringIPV4,omitempty"`
	// LocalWorkloadPeeringIPV6 is the IPv6 address at which nodes answer BGP of their own pods. It is not supported.
	LocalWorkloadPeeringIPV6 string `json:"localWorkloadPeeringIPV6,omitempty"`
	// LogSeverityScreen is the least severity that is logged. It is not supported: BGP logs with Felix.
	// +kubebuilder:default="Info"
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	LogSeverityScreen string `json:"logSeverityScreen,omitempty"`
	// NodeMeshMaxRestartTime is how long nodes of the mesh keep each other's routes during a restart (RFC 4724).
	// Absent means 120s.
	NodeMeshMaxRestartTime string `json:"nodeMeshMaxRestartTime,omitempty"`
	// NodeMeshPassword is the password of the sessions of the mesh. It is not supported: no session of a mesh that is
	// to have one is opened.
	NodeMeshPassword *BGPPassword `json:"nodeMeshPassword,omitempty"`
	// NodeToNodeMeshEnabled makes all nodes peers of each other. Absent means true.
	NodeToNodeMeshEnabled *bool `json:"nodeToNodeMeshEnabled,omitempty"`
	// PrefixAdvertisements adds communities to what is advertised.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	PrefixAdvertisements []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`
	// ProgramClusterRoutes says which routes to pools BGP puts into the kernel, rather than Felix. Absent means
	// Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled";"EnabledIPIPOnly";"EnabledNoEncapOnly"
	ProgramClusterRoutes string `json:"programClusterRoutes,omitempty"`
	// ServiceClusterIPs is what is advertised of the Services' cluster addresses. It is not supported.
	// +listType=atomic
	ServiceClusterIPs []ServiceClusterIPBlock `json:"serviceClusterIPs,omitempty"`
	// ServiceExternalIPs is what is advertised of the Services' external addresses. It is not supported.
	// +listType=atomic
	ServiceExternalIPs []ServiceExternalIPBlock `json:"serviceExternalIPs,omitempty"`
	// ServiceLoadBalancerAggregation says whether load-balancer addresses are advertised by their blocks (Enabled) or
	// each (Disabled).
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +kubebuilder:default="Enabled"
	ServiceLoadBalancerAggregation string `json:"serviceLoadBalancerAggregation,omitempty"`
	// ServiceLoadBalancerIPs is what is advertised of the Services' load-balancer addresses. It is not supported.
	// +listType=atomic
	ServiceLoadBalancerIPs []ServiceLoadBalancerIPBlock `json:"serviceLoadBalancerIPs,omitempty"`
}

// Community is a BGP community with a name.
type Community struct {
	// Name is what prefixAdvertisements call the community.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Value is the community: two numbers (RFC 1997), as 65001:100, or three (RFC 8092), as 65001:100:1.
	// +kubebuilder:validation:Pattern=`^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$`
	// +kubebuilder:validation:MaxLength=40
	Value string `json:"value,omitempty"`
}

// BGPPassword says where a password is.
type BGPPassword struct {
	// SecretKeyRef selects a key of a Secret in the namespace that Maneki is installed in.
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// PrefixAdvertisement adds communities to routes of a network.
type PrefixAdvertisement struct {
	// CIDR is a network, for example 10.96.0.0/12.
	// +kubebuilder:validation:Format=cidr
	CIDR string `json:"cidr,omitempty"`
	// Communities gives names to BGP communities, for use in prefixAdvertisements.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Communities []string `json:"communities,omitempty"`
}

// ServiceClusterIPBlock is a network of cluster addresses.
type ServiceClusterIPBlock struct {
	// CIDR is a network, for example 10.96.0.0/12.
	// +kubebuilder:validation:Format=cidr
	CIDR string `json:"cidr,omitempty"`
}

// ServiceExternalIPBlock is a network of external addresses.
type ServiceExternalIPBlock struct {
	// CIDR is a network, for example 10.96.0.0/12.
	// +kubebuilder:validation:Format=cidr
	CIDR string `json:"cidr,omitempty"`
}

// ServiceLoadBalancerIPBlock is a network of load-balancer addresses.
type ServiceLoadBalancerIPBlock struct {
	// CIDR is a network, for example 10.96.0.0/12.
	// +kubebuilder:validation:Format=cidr
	CIDR string `json:"cidr,omitempty"`
}
