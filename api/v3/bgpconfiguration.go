package v3

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPConfiguration is a BGPConfiguration resource of projectcalico.org/v3.
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

// BGPConfigurationSpec is what the user wants of a BGPConfiguration.
// +kubebuilder:validation:XValidation:rule="!has(self.nodeMeshPassword) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",message="must hold: !has(self.nodeMeshPassword) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true"
// +kubebuilder:validation:XValidation:rule="!has(self.nodeMeshMaxRestartTime) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true",message="must hold: !has(self.nodeMeshMaxRestartTime) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true"
// +kubebuilder:validation:XValidation:rule="!has(self.communities) || size(self.communities) == 0 || (has(self.prefixAdvertisements) && size(self.prefixAdvertisements) > 0)",message="must hold: !has(self.communities) || size(self.communities) == 0 || (has(self.prefixAdvertisements) && size(self.prefixAdvertisements) > 0)"
type BGPConfigurationSpec struct {
	// ASNumber is the field asNumber of the API.
	// +optional
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// BindMode is the field bindMode of the API.
	// +kubebuilder:validation:Enum="None";"NodeIP"
	// +optional
	BindMode string `json:"bindMode,omitempty"`
	// Communities is the field communities of the API.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	// +optional
	Communities []Community `json:"communities,omitempty"`
	// IgnoredInterfaces is the field ignoredInterfaces of the API.
	// +listType=set
	// +optional
	IgnoredInterfaces []string `json:"ignoredInterfaces,omitempty"`
	// IPv4NormalRoutePriority is the field ipv4NormalRoutePriority of the API.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	// +optional
	IPv4NormalRoutePriority *int `json:"ipv4NormalRoutePriority,omitempty"`
	// IPv6NormalRoutePriority is the field ipv6NormalRoutePriority of the API.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483646
	// +optional
	IPv6NormalRoutePriority *int `json:"ipv6NormalRoutePriority,omitempty"`
	// ListenPort is the field listenPort of the API.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	ListenPort *int `json:"listenPort,omitempty"`
	// LocalWorkloadPeeringIPV4 is the field localWorkloadPeeringIPV4 of the API.
	// +optional
	LocalWorkloadPeeringIPV4 string `json:"localWorkloadPeeringIPV4,omitempty"`
	// LocalWorkloadPeeringIPV6 is the field localWorkloadPeeringIPV6 of the API.
	// +optional
	LocalWorkloadPeeringIPV6 string `json:"localWorkloadPeeringIPV6,omitempty"`
	// LogSeverityScreen is the field logSeverityScreen of the API.
	// +kubebuilder:default="Info"
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	// +optional
	LogSeverityScreen string `json:"logSeverityScreen,omitempty"`
	// NodeMeshMaxRestartTime is the field nodeMeshMaxRestartTime of the API.
	// +optional
	NodeMeshMaxRestartTime string `json:"nodeMeshMaxRestartTime,omitempty"`
	// NodeMeshPassword is the field nodeMeshPassword of the API.
	// +optional
	NodeMeshPassword *BGPPassword `json:"nodeMeshPassword,omitempty"`
	// NodeToNodeMeshEnabled is the field nodeToNodeMeshEnabled of the API.
	// +optional
	NodeToNodeMeshEnabled *bool `json:"nodeToNodeMeshEnabled,omitempty"`
	// PrefixAdvertisements is the field prefixAdvertisements of the API.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	// +optional
	PrefixAdvertisements []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`
	// ProgramClusterRoutes is the field programClusterRoutes of the API.
	// +kubebuilder:validation:Enum="Enabled";"Disabled";"EnabledIPIPOnly";"EnabledNoEncapOnly"
	// +optional
	ProgramClusterRoutes string `json:"programClusterRoutes,omitempty"`
	// ServiceClusterIPs is the field serviceClusterIPs of the API.
	// +listType=atomic
	// +optional
	ServiceClusterIPs []ServiceClusterIPBlock `json:"serviceClusterIPs,omitempty"`
	// ServiceExternalIPs is the field serviceExternalIPs of the API.
	// +listType=atomic
	// +optional
	ServiceExternalIPs []ServiceExternalIPBlock `json:"serviceExternalIPs,omitempty"`
	// ServiceLoadBalancerAggregation is the field serviceLoadBalancerAggregation of the API.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +kubebuilder:default="Enabled"
	// +optional
	ServiceLoadBalancerAggregation string `json:"serviceLoadBalancerAggregation,omitempty"`
	// ServiceLoadBalancerIPs is the field serviceLoadBalancerIPs of the API.
	// +listType=atomic
	// +optional
	ServiceLoadBalancerIPs []ServiceLoadBalancerIPBlock `json:"serviceLoadBalancerIPs,omitempty"`
}

// Community is an element of spec.communities[] of a BGPConfiguration.
type Community struct {
	// Name is the field name of the API.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`
	// Value is the field value of the API.
	// +kubebuilder:validation:Pattern=`^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$`
	// +kubebuilder:validation:MaxLength=40
	// +optional
	Value string `json:"value,omitempty"`
}

// BGPPassword is an element of spec.nodeMeshPassword of a BGPConfiguration.
type BGPPassword struct {
	// SecretKeyRef is the field secretKeyRef of the API.
	// +optional
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// PrefixAdvertisement is an element of spec.prefixAdvertisements[] of a BGPConfiguration.
type PrefixAdvertisement struct {
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +optional
	CIDR string `json:"cidr,omitempty"`
	// Communities is the field communities of the API.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	Communities []string `json:"communities,omitempty"`
}

// ServiceClusterIPBlock is an element of spec.serviceClusterIPs[] of a BGPConfiguration.
type ServiceClusterIPBlock struct {
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +optional
	CIDR string `json:"cidr,omitempty"`
}

// ServiceExternalIPBlock is an element of spec.serviceExternalIPs[] of a BGPConfiguration.
type ServiceExternalIPBlock struct {
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +optional
	CIDR string `json:"cidr,omitempty"`
}

// ServiceLoadBalancerIPBlock is an element of spec.serviceLoadBalancerIPs[] of a BGPConfiguration.
type ServiceLoadBalancerIPBlock struct {
	// CIDR is the field cidr of the API.
	// +kubebuilder:validation:Format=cidr
	// +optional
	CIDR string `json:"cidr,omitempty"`
}
