package wire

import "net/netip"

// SetType is what the members of an IPSet are.
type SetType uint8

// The types of sets.
const (
	// SetNet: addresses and networks of both families.
	SetNet SetType = iota + 1
	// SetPort: address, protocol and port: the endpoints behind a named port.
	SetPort
)

// IPSet is a named set of addresses. The name is a hash of what selects the members, so
// that a set two policies name exists once.
type IPSet struct {
	Name string  `cbor:"1,keyasint"`
	Type SetType `cbor:"2,keyasint"`
	// Nets are sorted and without duplicates; an address is a prefix of full length.
	Nets []netip.Prefix `cbor:"3,keyasint,omitempty"`
	// Ports are sorted and without duplicates.
	Ports []PortMember `cbor:"4,keyasint,omitempty"`
}

// ID of the set.
func (s *IPSet) ID() ID { return ID{KindIPSet, s.Name} }

// SetDelta is a change of an IPSet. Its lists are sorted and without duplicates; what is added was not in the set,
// and what is removed was. Only the lists of the set's type are used.
type SetDelta struct {
	Name         string         `cbor:"1,keyasint"`
	AddedNets    []netip.Prefix `cbor:"2,keyasint,omitempty"`
	RemovedNets  []netip.Prefix `cbor:"3,keyasint,omitempty"`
	AddedPorts   []PortMember   `cbor:"4,keyasint,omitempty"`
	RemovedPorts []PortMember   `cbor:"5,keyasint,omitempty"`
}

// PortMember is a member of a SetPort.
type PortMember struct {
	Addr     netip.Addr `cbor:"1,keyasint"`
	Protocol uint8      `cbor:"2,keyasint"` // IANA number
	Port     uint16     `cbor:"3,keyasint"`
}

// Action is what a rule, or the end of a tier, does with a packet.
type Action uint8

// The actions.
const (
	Allow Action = iota + 1
	Deny
	Pass // on to the next tier
	Log  // and go on with the next rule
)

// ProfilePrefix begins the names of Policies that are the rules of a profile.
const ProfilePrefix = "profile/"

// Policy is the rules of one policy resource, or of a profile. An empty rule list matches nothing.
type Policy struct {
	// Name is unique over all policy resources and profiles: "knp.default/<namespace>/<name>" for a
	// Kubernetes NetworkPolicy.
	Name string `cbor:"1,keyasint"`
	// Tier is empty for a profile.
	Tier    string `cbor:"2,keyasint,omitempty"`
	Ingress []Rule `cbor:"3,keyasint,omitempty"`
	Egress  []Rule `cbor:"4,keyasint,omitempty"`
}

// ID of the policy.
func (p *Policy) ID() ID { return ID{KindPolicy, p.Name} }

// Rule matches a packet when every part that is set matches.
type Rule struct {
	Action      Action `cbor:"1,keyasint"`
	Family      uint8  `cbor:"2,keyasint,omitempty"` // 4, 6, or 0 for both
	Protocol    uint8  `cbor:"3,keyasint,omitempty"` // IANA number; 0 is any
	NotProtocol uint8  `cbor:"4,keyasint,omitempty"`
	ICMP        *ICMP  `cbor:"5,keyasint,omitempty"`
	Src         Match  `cbor:"6,keyasint,omitempty"`
	Dst         Match  `cbor:"7,keyasint,omitempty"`
	NotICMP     *ICMP  `cbor:"8,keyasint,omitempty" feature:"not-icmp"`
}

// ICMP matches type, and code when HasCode.
type ICMP struct {
	Type    uint8 `cbor:"1,keyasint"`
	Code    uint8 `cbor:"2,keyasint,omitempty"`
	HasCode bool  `cbor:"3,keyasint,omitempty"`
}

// Match is one end of a Rule. The parts that are set must all hold.
type Match struct {
	Nets    []netip.Prefix `cbor:"1,keyasint,omitempty"` // the address is in one of them
	NotNets []netip.Prefix `cbor:"2,keyasint,omitempty"` // and in none of these
	Sets    []string       `cbor:"3,keyasint,omitempty"` // and in every one of these SetNet sets
	NotSets []string       `cbor:"4,keyasint,omitempty"` // and in none of these
	// Ports and PortSets together are one part: the port is in a range, or (address, protocol,
	// port) in one of the SetPort sets.
	Ports       []PortRange `cbor:"5,keyasint,omitempty"`
	PortSets    []string    `cbor:"6,keyasint,omitempty"`
	NotPorts    []PortRange `cbor:"7,keyasint,omitempty"`
	NotPortSets []string    `cbor:"8,keyasint,omitempty"`
}

// PortRange is First to Last inclusive, 0 <= First <= Last <= 65535.
type PortRange struct {
	First uint16 `cbor:"1,keyasint"`
	Last  uint16 `cbor:"2,keyasint"`
}

// Endpoint is a workload on the node: what applies to it. A pod has one from when it is scheduled; its address and
// interface come from CNI on the node itself.
type Endpoint struct {
	Namespace string `cbor:"1,keyasint"`
	Pod       string `cbor:"2,keyasint"` // or the name of the WorkloadEndpoint
	UID       string `cbor:"3,keyasint"`
	Node      string `cbor:"4,keyasint"`
	// Tiers in order of evaluation. What no tier decides, the profiles decide.
	Tiers []Tier `cbor:"5,keyasint,omitempty"`
	// Annotations are those of the pod that CNI honours, as HonouredAnnotation says, and those of its namespace that
	// the pod does not have, as HonouredOfNamespace says.
	Annotations map[string]string `cbor:"6,keyasint,omitempty"`
	// Profiles are names of Policies, asked in order after the tiers. What none decides is denied.
	Profiles []string `cbor:"7,keyasint,omitempty"`
	// Interface is the host's end where the datastore says so: that of a WorkloadEndpoint that an orchestrator
	// wrote. Addrs go with it.
	Interface string       `cbor:"8,keyasint,omitempty"`
	Addrs     []netip.Addr `cbor:"9,keyasint,omitempty"`
	// AllowedSources are networks that the workload may send from beside Addrs.
	// The node's WorkloadSourceSpoofing decides whether that counts. Key 10 was networks that always counted.
	AllowedSources []netip.Prefix `cbor:"12,keyasint,omitempty"`
	// NamespaceLabels are the labels of the pod's namespace. They are left out if no pool selects namespaces by labels.
	NamespaceLabels map[string]string `cbor:"11,keyasint,omitempty"`
}

// Annotations that determine the addresses of a pod.
const (
	AnnotationAddrs = "cni.projectcalico.org/ipAddrs"
	AnnotationPool4 = "cni.projectcalico.org/ipv4pools"
	AnnotationPool6 = "cni.projectcalico.org/ipv6pools"
)

// AnnotationSources is a pod's list of networks that it may send from: a JSON list of CIDRs.
const AnnotationSources = "cni.projectcalico.org/allowedSourcePrefixes"

// HonouredAnnotation reports whether CNI honours an annotation of a pod.
func HonouredAnnotation(name string) bool {
	return name == AnnotationAddrs || HonouredOfNamespace(name)
}

// HonouredOfNamespace reports whether CNI honours an annotation of a namespace, for all of its pods. Addresses are not
// among these, as in Calico: one address cannot belong to several pods.
func HonouredOfNamespace(name string) bool { return name == AnnotationPool4 || name == AnnotationPool6 }

// EndpointName is the name part of an Endpoint's ID: "<namespace>/<pod>".
func EndpointName(namespace, pod string) string { return namespace + "/" + pod }

// ID of the endpoint.
func (e *Endpoint) ID() ID { return ID{KindEndpoint, EndpointName(e.Namespace, e.Pod)} }

// Tier is the policies of one tier that select an endpoint, in order. A direction
// whose list is empty is not decided by the tier; one whose list is not empty ends with DefaultAction.
type Tier struct {
	Name          string   `cbor:"1,keyasint"`
	Ingress       []string `cbor:"2,keyasint,omitempty"` // names of Policies
	Egress        []string `cbor:"3,keyasint,omitempty"`
	DefaultAction Action   `cbor:"4,keyasint"` // Deny or Pass
}

// HostEndpoint is an interface of the node that policies select. What they and the profiles leave undecided is denied,
// but for what a chain says otherwise and the failsafe ports.
type HostEndpoint struct {
	Name string `cbor:"1,keyasint"`
	Node string `cbor:"2,keyasint"`
	// Interface is a name, or "*" for all interfaces of the node that have no endpoint of their own; empty: the one
	// that has one of ExpectedIPs.
	Interface   string       `cbor:"3,keyasint,omitempty"`
	ExpectedIPs []netip.Addr `cbor:"4,keyasint,omitempty"`
	// Tiers are the policies for what begins or ends at the node.
	Tiers []Tier `cbor:"5,keyasint,omitempty"`
	// Forward are those with applyOnForward, for what the node forwards. What they leave undecided is allowed.
	Forward []Tier `cbor:"6,keyasint,omitempty"`
	// PreDNAT are those with preDNAT, ingress alone, asked before addresses are translated. What they leave undecided
	// goes on.
	PreDNAT []Tier `cbor:"7,keyasint,omitempty"`
	// Untracked are those with doNotTrack, asked before connections are tracked. What they allow is not tracked; what
	// they leave undecided goes on.
	Untracked []Tier `cbor:"8,keyasint,omitempty"`
	// Profiles as in Endpoint, for Tiers.
	Profiles []string `cbor:"9,keyasint,omitempty"`
}

// ID of the host endpoint.
func (h *HostEndpoint) ID() ID { return ID{KindHostEndpoint, h.Name} }
