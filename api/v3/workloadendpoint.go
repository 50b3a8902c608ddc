package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// WorkloadEndpoint is an interface of a workload. In a Kubernetes datastore it is derived from a Pod and can be read
// only; it has no CRD. In etcd the orchestrator writes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:skipversion
type WorkloadEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec WorkloadEndpointSpec `json:"spec,omitempty"`
}

// WorkloadEndpointList is a list of WorkloadEndpoint.
//
// +kubebuilder:object:root=true
type WorkloadEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []WorkloadEndpoint `json:"items"`
}

// WorkloadEndpointSpec is whose interface it is, and its addresses. The resource's name is node, orchestrator, workload
// or pod, and endpoint, joined by dashes, with the dashes within them doubled: node1-k8s-web--0-eth0.
type WorkloadEndpointSpec struct {
	// AllowSpoofedSourcePrefixes are networks whose addresses the workload may send from beside its own.
	AllowSpoofedSourcePrefixes []string `json:"allowSpoofedSourcePrefixes,omitempty"`
	// ContainerID is the runtime's id of the sandbox.
	ContainerID string `json:"containerID,omitempty"`
	// Endpoint is the name of the interface inside the workload.
	Endpoint string `json:"endpoint,omitempty"`
	// InterfaceName is the name of the interface on the node.
	InterfaceName string `json:"interfaceName,omitempty"`
	// IPNATs are addresses that are translated to those of the workload.
	IPNATs []IPNAT `json:"ipNATs,omitempty"`
	// IPNetworks are the workload's addresses, each with /32 or /128.
	IPNetworks []string `json:"ipNetworks,omitempty"`
	// IPv4Gateway is the workload's gateway.
	IPv4Gateway string `json:"ipv4Gateway,omitempty"`
	// IPv6Gateway is the workload's gateway.
	IPv6Gateway string `json:"ipv6Gateway,omitempty"`
	// MAC is the address of the interface.
	MAC string `json:"mac,omitempty"`
	// Node is the name of the node.
	Node string `json:"node,omitempty"`
	// Orchestrator is who made the workload: k8s, cni, libnetwork, openstack.
	Orchestrator string `json:"orchestrator,omitempty"`
	// Pod is the name of the pod, with orchestrator k8s.
	Pod string `json:"pod,omitempty"`
	// Ports are the workload's ports that rules may name.
	Ports []WorkloadEndpointPort `json:"ports,omitempty"`
	// Profiles are the names of profiles, which decide in their order what policies leave undecided.
	Profiles []string `json:"profiles,omitempty"`
	// ServiceAccountName is the pod's service account, with orchestrator k8s.
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Workload is the name of the workload, with other orchestrators.
	Workload string `json:"workload,omitempty"`
}

// WorkloadEndpointPort is a port of a workload.
type WorkloadEndpointPort struct {
	// HostIP is the node's address that HostPort is on. Empty is any.
	HostIP string `json:"hostIP,omitempty"`
	// HostPort is the port of the node that leads here; 0 is none.
	HostPort uint16 `json:"hostPort,omitempty"`
	// Name by which rules name the port.
	Name string `json:"name,omitempty"`
	// Port is 1 to 65535.
	Port uint16 `json:"port"`
	// Protocol is TCP, UDP or SCTP.
	Protocol intstr.IntOrString `json:"protocol"`
}

// IPNAT is a pair of addresses.
type IPNAT struct {
	// ExternalIP is what others use.
	ExternalIP string `json:"externalIP"`
	// InternalIP is the workload's.
	InternalIP string `json:"internalIP"`
}
