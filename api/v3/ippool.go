package v3

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPPoolFinalizer keeps an IPPool that is being deleted while addresses of it are in use. It has Calico's name.
const IPPoolFinalizer = "projectcalico.org/ippool-finalizer"

// IPPool is a range of addresses that pods, tunnels or load balancers are given, and how packets of these
// addresses travel between nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ippools
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="VXLAN",type=string,JSONPath=`.spec.vxlanMode`
// +kubebuilder:printcolumn:name="IPIP",type=string,JSONPath=`.spec.ipipMode`
// +kubebuilder:printcolumn:name="NAT",type=boolean,JSONPath=`.spec.natOutgoing`
// +kubebuilder:printcolumn:name="Allocatable",type=string,JSONPath=`.status.conditions[?(@.type=='Allocatable')].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec   IPPoolSpec   `json:"spec"`
	Status IPPoolStatus `json:"status,omitempty,omitzero"`
}

// IPPoolList is a list of IPPool.
//
// +kubebuilder:object:root=true
type IPPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPPool `json:"items"`
}

// IPPoolSpec is the range and its use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ipipMode) || !has(self.vxlanMode) || self.ipipMode == 'Never' || self.vxlanMode == 'Never' || size(self.ipipMode) == 0 || size(self.vxlanMode) == 0",fieldPath=".vxlanMode",message="cannot be combined with ipipMode: set one of the two to Never"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || (!has(self.ipipMode) || size(self.ipipMode) == 0 || self.ipipMode == 'Never') && (!has(self.vxlanMode) || size(self.vxlanMode) == 0 || self.vxlanMode == 'Never')",fieldPath=".allowedUses",message="a pool of LoadBalancer addresses has no encapsulation: set ipipMode and vxlanMode to Never"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || !self.allowedUses.exists(u, u == 'Workload' || u == 'Tunnel')",fieldPath=".allowedUses",message="LoadBalancer cannot be combined with Workload or Tunnel: make a pool for each"
// +kubebuilder:validation:XValidation:rule="cidr(self.cidr).ip().family() != 6 || !has(self.ipipMode) || self.ipipMode == 'Never' || size(self.ipipMode) == 0",fieldPath=".ipipMode",message="must be Never in an IPv6 pool: use vxlanMode"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || !has(self.disableBGPExport) || !self.disableBGPExport",fieldPath=".disableBGPExport",message="must be false in a pool of LoadBalancer addresses, which are reached by BGP"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || self.nodeSelector == 'all()'",fieldPath=".nodeSelector",message="must be all() in a pool of LoadBalancer addresses, which belong to no node"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'Tunnel') || !has(self.namespaceSelector) || size(self.namespaceSelector) == 0",fieldPath=".namespaceSelector",message="must be empty in a pool of Tunnel addresses, which belong to no namespace"
// +kubebuilder:validation:XValidation:rule="!has(self.nodeSelector) || !self.nodeSelector.contains('global(')",fieldPath=".nodeSelector",message="cannot use global(): write all() to select every node"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaceSelector) || !self.namespaceSelector.contains('global(')",fieldPath=".namespaceSelector",message="cannot use global(): write all() to select every namespace"
// +kubebuilder:validation:XValidation:rule="cidr(self.cidr) == cidr(self.cidr).masked()",fieldPath=".cidr",messageExpression="self.cidr + ' has bits set beyond its prefix length: write the first address of the network, as in 10.244.0.0/16'"
// +kubebuilder:validation:XValidation:rule="!cidr('169.254.0.0/16').containsIP(cidr(self.cidr).ip()) && !cidr(self.cidr).containsIP('169.254.0.0')",fieldPath=".cidr",messageExpression="self.cidr + ' must not overlap 169.254.0.0/16, whose addresses are valid on one link only'"
// +kubebuilder:validation:XValidation:rule="!cidr('fe80::/10').containsIP(cidr(self.cidr).ip()) && !cidr(self.cidr).containsIP('fe80::')",fieldPath=".cidr",messageExpression="self.cidr + ' must not overlap fe80::/10, whose addresses are valid on one link only'"
// +kubebuilder:validation:XValidation:rule="!has(self.blockSize) || self.blockSize == 0 || (cidr(self.cidr).ip().family() == 4 ? self.blockSize >= 20 && self.blockSize <= 32 : self.blockSize >= 116 && self.blockSize <= 128)",fieldPath=".blockSize",message="must be 20 to 32 in an IPv4 pool and 116 to 128 in an IPv6 pool; absent means 26 or 122"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || cidr(self.cidr).prefixLength() <= (has(self.blockSize) && self.blockSize != 0 ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122))",fieldPath=".cidr",messageExpression="self.cidr + ' is smaller than a block (a /26 or /122, if blockSize does not say otherwise): choose a larger network, or a blockSize not less than its prefix length'"
// +kubebuilder:validation:XValidation:rule="has(self.blockSize) && has(oldSelf.blockSize) || (has(self.blockSize) && self.blockSize != 0 ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122)) == (has(oldSelf.blockSize) && oldSelf.blockSize != 0 ? oldSelf.blockSize : (cidr(oldSelf.cidr).ip().family() == 4 ? 26 : 122))",fieldPath=".blockSize",message="cannot be changed: make another pool, move the pods and delete this one"
type IPPoolSpec struct {
	// AllowedUses says what addresses of the pool are for. Empty means Workload and Tunnel.
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	// +kubebuilder:validation:items:Enum=Workload;Tunnel;LoadBalancer
	AllowedUses []IPPoolAllowedUse `json:"allowedUses,omitempty"`
	// AssignmentMode says who gets addresses of the pool: with Automatic every pod that asks for none in particular,
	// with Manual only those that name the pool or an address.
	// +kubebuilder:validation:Enum="Automatic";"Manual"
	// +kubebuilder:default="Automatic"
	AssignmentMode AssignmentMode `json:"assignmentMode,omitempty"`
	// BlockSize is the prefix length of the blocks that nodes take from the pool: 20 to 32 for IPv4 and 116 to 128 for
	// IPv6. Zero or absent means 26 or 122. It cannot be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another pool, move the pods and delete this one"
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	BlockSize int `json:"blockSize,omitempty"`
	// CIDR is the pool, for example 10.244.0.0/16 or fd00:10:244::/48. It cannot be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another pool, move the pods and delete this one"
	// +kubebuilder:validation:MaxLength=48
	// +kubebuilder:validation:Format=cidr
	// +required
	CIDR string `json:"cidr"`
	// DisableBGPExport keeps the pool's routes from BGP peers.
	DisableBGPExport bool `json:"disableBGPExport,omitempty"`
	// Disabled keeps new addresses from being given from the pool. Those given stay.
	Disabled bool `json:"disabled,omitempty"`
	// IPIPMode says when IPIP carries packets between nodes: Never, Always, or CrossSubnet, which is between nodes of
	// different subnets only. IPv4 only. Absent means Never.
	// +kubebuilder:validation:Enum="Never";"Always";"CrossSubnet"
	IPIPMode IPIPMode `json:"ipipMode,omitempty"`
	// NamespaceSelector selects the namespaces whose pods may use the pool, by their labels. Empty selects all.
	// +kubebuilder:validation:MaxLength=1024
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// NATOutgoing gives packets that leave from the pool to outside every pool the source address of the node.
	NATOutgoing bool `json:"natOutgoing,omitempty"`
	// NodeSelector selects the nodes whose pods may use the pool, by their labels.
	// +kubebuilder:default="all()"
	// +kubebuilder:validation:MaxLength=1024
	NodeSelector string `json:"nodeSelector,omitempty"`
	// VXLANMode says when VXLAN carries packets between nodes: Never, Always, or CrossSubnet, which is between nodes of
	// different subnets only. Absent means Never.
	// +kubebuilder:validation:Enum="Never";"Always";"CrossSubnet"
	VXLANMode VXLANMode `json:"vxlanMode,omitempty"`
}

// IPPoolStatus is what kube-controllers found out about a pool.
type IPPoolStatus struct {
	// Conditions tells what is known of the pool; Allocatable says whether addresses are given from it.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AssignmentMode says whether addresses are given without being asked for by pool.
type AssignmentMode string

// The assignment modes.
const (
	Automatic AssignmentMode = "Automatic"
	Manual    AssignmentMode = "Manual"
)

// IPIPMode says when IPIP is used between nodes.
type IPIPMode string

// The IPIP modes.
const (
	IPIPModeNever       IPIPMode = "Never"
	IPIPModeAlways      IPIPMode = "Always"
	IPIPModeCrossSubnet IPIPMode = "CrossSubnet"
)

// VXLANMode says when VXLAN is used between nodes.
type VXLANMode string

// The VXLAN modes.
const (
	VXLANModeNever       VXLANMode = "Never"
	VXLANModeAlways      VXLANMode = "Always"
	VXLANModeCrossSubnet VXLANMode = "CrossSubnet"
)

// IPPoolAllowedUse is what addresses of a pool may be for.
type IPPoolAllowedUse string

// The uses.
const (
	IPPoolAllowedUseWorkload     IPPoolAllowedUse = "Workload"
	IPPoolAllowedUseTunnel       IPPoolAllowedUse = "Tunnel"
	IPPoolAllowedUseLoadBalancer IPPoolAllowedUse = "LoadBalancer"
)

// DefaultBlockSize returns the prefix length of the blocks of a pool that does not say it, by the family of the pool's
// addresses: 64 addresses, as in Calico.
func DefaultBlockSize(family netip.Addr) int {
	const bits = 6
	return family.BitLen() - bits
}
