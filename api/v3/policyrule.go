package v3

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Action is what a rule or the end of a tier does with a packet.
type Action string

// The actions.
const (
	Allow Action = "Allow"
	Deny  Action = "Deny"
	Log   Action = "Log"  // write a line to the kernel's log and go on with the next rule
	Pass  Action = "Pass" // skip the rest of the tier
)

// PolicyType is a direction that a policy applies to, seen from the endpoint.
type PolicyType string

// The directions.
const (
	PolicyTypeIngress PolicyType = "Ingress"
	PolicyTypeEgress  PolicyType = "Egress"
)

// PolicyPerformanceHint tells how a policy is used.
type PolicyPerformanceHint string

// PerfHintAssumeNeededOnEveryNode has the policy sent to every node before an endpoint there needs it.
const PerfHintAssumeNeededOnEveryNode PolicyPerformanceHint = "AssumeNeededOnEveryNode"

// Rule is an action and what a packet must be like for it. Every part that is set must match.
//
// +kubebuilder:validation:XValidation:rule="!has(self.http) || !has(self.protocol) || self.protocol == 'TCP' || self.protocol == 6",fieldPath=".protocol",message="must be TCP or absent in a rule with http"
// +kubebuilder:validation:XValidation:rule="self.action == 'Allow' || !has(self.http)",fieldPath=".http",message="goes with action Allow only: remove it or change the action"
// +kubebuilder:validation:XValidation:rule="!has(self.destination) || !has(self.destination.services) || (!has(self.destination.ports) || size(self.destination.ports) == 0) && (!has(self.destination.notPorts) || size(self.destination.notPorts) == 0)",fieldPath=".destination.services",message="cannot be combined with ports or notPorts: the service's own ports are matched"
// +kubebuilder:validation:XValidation:rule="!has(self.icmp) || (has(self.protocol) && (self.protocol == 'ICMP' || self.protocol == 'ICMPv6' || self.protocol == 1 || self.protocol == 58))",fieldPath=".icmp",message="needs protocol: ICMP or protocol: ICMPv6"
// +kubebuilder:validation:XValidation:rule="(!has(self.protocol) || (self.protocol != 'ICMP' && self.protocol != 1)) || !has(self.ipVersion) || self.ipVersion == 4",fieldPath=".ipVersion",message="must be 4 or absent with protocol ICMP: for IPv6 write protocol: ICMPv6"
// +kubebuilder:validation:XValidation:rule="(!has(self.protocol) || (self.protocol != 'ICMPv6' && self.protocol != 58)) || !has(self.ipVersion) || self.ipVersion == 6",fieldPath=".ipVersion",message="must be 6 or absent with protocol ICMPv6: for IPv4 write protocol: ICMP"
// +kubebuilder:validation:XValidation:rule="(!has(self.notProtocol) || (self.notProtocol != 'ICMP' && self.notProtocol != 1)) || !has(self.ipVersion) || self.ipVersion == 4",fieldPath=".ipVersion",message="must be 4 or absent with notProtocol ICMP"
// +kubebuilder:validation:XValidation:rule="(!has(self.notProtocol) || (self.notProtocol != 'ICMPv6' && self.notProtocol != 58)) || !has(self.ipVersion) || self.ipVersion == 6",fieldPath=".ipVersion",message="must be 6 or absent with notProtocol ICMPv6"
type Rule struct {
	// Action is what happens to a packet that matches.
	// +kubebuilder:validation:Enum=Allow;Deny;Log;Pass
	// +required
	Action Action `json:"action"`
	// Destination is where the packet goes.
	Destination EntityRule `json:"destination,omitempty"`
	// HTTP matches requests of HTTP. It takes a proxy that reads them: without one the rule matches nothing.
	HTTP *HTTPMatch `json:"http,omitempty"`
	// ICMP matches messages of ICMP. It needs protocol ICMP or ICMPv6.
	ICMP *ICMPFields `json:"icmp,omitempty"`
	// IPVersion is 4 or 6. Absent is both.
	// +kubebuilder:validation:Enum=4;6
	IPVersion *int `json:"ipVersion,omitempty"`
	// Metadata is the user's own; nodes pass it on to where rules are shown.
	Metadata *RuleMetadata `json:"metadata,omitempty"`
	// NotICMP matches messages of ICMP that are not like this.
	NotICMP *ICMPFields `json:"notICMP,omitempty"`
	// NotProtocol matches every other protocol.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	NotProtocol *intstr.IntOrString `json:"notProtocol,omitempty"`
	// Protocol is TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255 (IANA protocol numbers). Absent is
	// any. Ports need TCP, UDP or SCTP.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	Protocol *intstr.IntOrString `json:"protocol,omitempty"`
	// Source is where the packet comes from.
	Source EntityRule `json:"source,omitempty"`
}

// EntityRule is one end of a packet. Every part that is set must match.
//
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || !self.selector.contains('global(')",fieldPath=".selector",message="cannot use global(): write namespaceSelector: global()"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || !has(self.namespaceSelector) || size(self.namespaceSelector) == 0",fieldPath=".services",message="cannot be combined with namespaceSelector: write the namespace into services.namespace"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || !has(self.serviceAccounts)",fieldPath=".services",message="cannot be combined with serviceAccounts: make a rule for each"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || has(self.services.name) && size(self.services.name) > 0",fieldPath=".services.name",reason="FieldValueRequired",message="is needed: the name of the Service"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || (!has(self.selector) || size(self.selector) == 0) && (!has(self.notSelector) || size(self.notSelector) == 0)",fieldPath=".services",message="cannot be combined with selector or notSelector: make a rule for each"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || (!has(self.nets) || size(self.nets) == 0) && (!has(self.notNets) || size(self.notNets) == 0)",fieldPath=".services",message="cannot be combined with nets or notNets: make a rule for each"
type EntityRule struct {
	// NamespaceSelector selects the namespaces of the endpoints that selector selects from, by their labels; global()
	// selects what is in no namespace: host endpoints and GlobalNetworkSets. In a NetworkPolicy absent means its own
	// namespace, if selector or serviceAccounts are set; in a GlobalNetworkPolicy every namespace and none.
	// +kubebuilder:validation:MaxLength=1024
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// Nets are networks, one of which the address must be in: 10.0.0.0/8, fd00::/8, or an address.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	Nets []string `json:"nets,omitempty"`
	// NotNets are networks, none of which the address may be in.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	NotNets []string `json:"notNets,omitempty"`
	// NotPorts are ports as in ports, none of which the packet's may be.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:Pattern=`^.*`
	// +kubebuilder:validation:items:XIntOrString
	// +listType=atomic
	NotPorts []intstr.IntOrString `json:"notPorts,omitempty"`
	// NotSelector selects endpoints and network sets, none of which the address may belong to.
	// +kubebuilder:validation:MaxLength=1024
	NotSelector string `json:"notSelector,omitempty"`
	// Ports are ports, one of which the packet's must be: a number, a range such as "8000:8080", or the name of a
	// port of the endpoint. They need protocol TCP, UDP or SCTP.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:Pattern=`^.*`
	// +kubebuilder:validation:items:XIntOrString
	// +listType=atomic
	Ports []intstr.IntOrString `json:"ports,omitempty"`
	// Selector selects endpoints and network sets by their labels, to one of which the address must belong. Empty is
	// any address, unless namespaceSelector or serviceAccounts is set.
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`
	// ServiceAccounts selects pods by their service account.
	ServiceAccounts *ServiceAccountMatch `json:"serviceAccounts,omitempty"`
	// Services names a Service, whose endpoints and, as destination, ports are matched.
	Services *ServiceMatch `json:"services,omitempty"`
}

// ServiceMatch names a Service of Kubernetes.
type ServiceMatch struct {
	// Name of the Service.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`
	// Namespace of the Service. In a NetworkPolicy absent means its own; in a GlobalNetworkPolicy it is needed.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// ServiceAccountMatch selects service accounts. Both parts that are set must match.
type ServiceAccountMatch struct {
	// Names of service accounts. Empty is any.
	// +listType=set
	Names []string `json:"names,omitempty"`
	// Selector selects service accounts by their labels. Empty is any.
	Selector string `json:"selector,omitempty"`
}

// HTTPMatch matches requests of HTTP. Of each part that is set, one entry must match.
type HTTPMatch struct {
	// Methods such as GET or PUT.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Methods []string `json:"methods,omitempty"`
	// Paths of the request's URL.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Paths []HTTPPath `json:"paths,omitempty"`
}

// HTTPPath is one of: a path, or the beginning of one.
type HTTPPath struct {
	// Exact is the whole path, for example /foo/bar.
	// +kubebuilder:validation:MaxLength=1024
	Exact string `json:"exact,omitempty"`
	// Prefix is its beginning, for example /foo.
	// +kubebuilder:validation:MaxLength=1024
	Prefix string `json:"prefix,omitempty"`
}

// ICMPFields matches a type, and a code of it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.code) || has(self.type)",fieldPath=".type",reason="FieldValueRequired",message="is needed with code"
type ICMPFields struct {
	// Code is 0 to 255. Absent is any. It needs type.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Code *int `json:"code,omitempty"`
	// Type is 0 to 254; 8 is an echo request of ICMP, 128 one of ICMPv6. Absent is any.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=254
	Type *int `json:"type,omitempty"`
}

// RuleMetadata is the user's own.
type RuleMetadata struct {
	// Annotations of the rule.
	Annotations map[string]string `json:"annotations,omitempty"`
}
