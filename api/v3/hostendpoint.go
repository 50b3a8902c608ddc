package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// HostEndpoint is an interface of a node, or all of them, that policies can select. What policies and profiles do not
// allow there is denied, but for the failsafe ports of FelixConfiguration.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=hostendpoints,shortName={hep,heps}
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interfaceName`
type HostEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HostEndpointSpec `json:"spec,omitempty"`
}

// HostEndpointList is a list of HostEndpoint.
//
// +kubebuilder:object:root=true
type HostEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []HostEndpoint `json:"items"`
}

// HostEndpointSpec is the interface and what applies to it.
//
// +kubebuilder:validation:XValidation:rule="(has(self.interfaceName) && size(self.interfaceName) > 0) || (has(self.expectedIPs) && size(self.expectedIPs) > 0)",fieldPath=".interfaceName",reason="FieldValueRequired",message="is needed, for example eth0 or * for all, or else expectedIPs: they say which interface it is"
// +kubebuilder:validation:XValidation:rule="has(self.node) && size(self.node) > 0",fieldPath=".node",reason="FieldValueRequired",message="is needed: the name of the node"
type HostEndpointSpec struct {
	// ExpectedIPs are addresses of the interface. Without interfaceName they say which interface it is.
	// +listType=set
	ExpectedIPs []string `json:"expectedIPs,omitempty"`
	// InterfaceName is the name of the interface, such as eth0, or * for all interfaces of the node.
	// +kubebuilder:validation:MaxLength=15
	InterfaceName string `json:"interfaceName,omitempty"`
	// Node is the name of the node.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// Ports are the endpoint's ports that rules may name.
	// +listType=atomic
	Ports []EndpointPort `json:"ports,omitempty"`
	// Profiles are the names of profiles, which decide in their order what policies leave undecided.
	// +listType=set
	Profiles []string `json:"profiles,omitempty"`
}

// EndpointPort is a named port.
type EndpointPort struct {
	// Name by which rules name the port.
	Name string `json:"name"`
	// Port is 1 to 65535.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port uint16 `json:"port"`
	// Protocol is TCP, UDP or SCTP.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	Protocol intstr.IntOrString `json:"protocol"`
}
