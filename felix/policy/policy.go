// Package policy renders endpoints and policies into the chains that enforce them in one IP family, as package filter
// has them.
//
// A Program is told what there is to enforce, and gives, as a commit, the chains that a change changes. It does no I/O.
// The dataplane calls it on the agent's goroutine and hands the commits to the backend of the family. It names IP sets
// and never fills them.
//
// The path of a packet through the filter table, with the chains in Calico's names:
//
//	FORWARD ─ cali-FORWARD ─┬ anything ──── cali-from-hep-forward ─ cali-fhfw-<iface> ┬ cali-pi-<policy> …
//	                        ├ to another node's tunnel: dropped, unless it is a node's
//	                        ├ from a pod ── cali-wl-to-nodes: no BGP
//	                        ├ from a pod ── cali-from-wl-dispatch ─ cali-fw-<iface> ──┼ cali-po-<policy> … cali-pro-<profile> …
//	                        ├ to a pod ──── cali-to-wl-dispatch ─── cali-tw-<iface> ──┼ cali-pi-<policy> … cali-pri-<profile> …
//	                        └ anything ──── cali-to-hep-forward ─── cali-thfw-<iface> ┴ cali-po-<policy> …
//	INPUT ─── cali-INPUT ───┬ from a pod ── cali-wl-to-host: no BGP, no loopback; cali-from-wl-dispatch …, then the configured action
//	                        ├ tunnels, from known nodes alone
//	                        └ the rest ──── cali-from-host-endpoint ─ cali-fh-<iface> ─ cali-failsafe-in, policies, profiles
//	OUTPUT ── cali-OUTPUT ──┬ tunnels to known nodes; the node itself may always reach its pods
//	                        └ the rest ──── cali-to-host-endpoint ─── cali-th-<iface> ─ cali-failsafe-out, policies, profiles
//
// Before all that, the raw table drops what a pod sends from an address that is not its own (cali-wl-source), so that
// no connection is tracked for it. Later rules may trust the source address.
// The chains of host endpoints exist while there are host endpoints. The raw table then also evaluates the policies
// with doNotTrack, and the mangle table those with preDNAT. The mangle table also evaluates the ordinary policies for
// packets of the node itself whose destination is translated, because the translation comes after the filter table.
//
// A chain drops a denied packet, and sets the accept mark on an allowed one and returns, so that a packet between pods
// of the same node passes both ends. The mark stays from table to table: a packet that raw or mangle allowed is not
// checked again at the same end. The first table clears marks that the outer packet of a tunnel may have left.
package policy

import (
	"fmt"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/typha/wire"
)

// The ids of the sets that the chains name besides those of policies, Calico's.
const (
	SetAllPools  = "all-ipam-pools"  // the CIDRs of all pools
	SetMasqPools = "masq-ipam-pools" // of those whose natOutgoing is on
	SetAllHosts  = "all-hosts-net"   // the addresses of all nodes
)

// Marks are the bits of the packet mark that the chains use, one bit each.
type Marks struct {
	Accept uint32 // a policy allowed the packet
	Pass   uint32 // a policy passed it to the next tier
	// Scratch are two bits that a backend uses within a rule.
	Scratch uint32
	// Endpoint are the remaining bits. They hold the number of an endpoint.
	Endpoint uint32
}

// MarksOf returns the marks in a mask: the four lowest bits, in Calico's order, and the others for endpoints. It fails
// if the mask has fewer than four bits.
func MarksOf(mask uint32) (Marks, error) {
	if bits.OnesCount32(mask) < 4 {
		return Marks{}, fmt.Errorf("mark mask %#x has fewer than the 4 bits that are needed", mask)
	}
	next := func() uint32 {
		bit := mask & -mask
		mask &^= bit
		return bit
	}
	m := Marks{Accept: next(), Pass: next()}
	for range 2 {
		m.Scratch |= next()
	}
	m.Endpoint = contiguous(mask)
	return m, nil
}

// contiguous returns the bits of a mask from the lowest one up to the first gap.
func contiguous(mask uint32) uint32 {
	return mask &^ (mask + lowest(mask))
}

func (m Marks) every() uint32 { return m.Accept | m.Pass | m.Scratch }

// Renderer says how to render. It is not changed once a Program has it.
type Renderer struct {
	Family dataplane.Family
	Marks  Marks
	// InterfacePrefixes begin the names of the host's ends of all workloads: "cali".
	InterfacePrefixes []string
	// ToHost is what becomes of a packet from a pod to its node that the pod's policy
	// allows: Accept, Drop or Return.
	ToHost filter.Action
	// Deny is what becomes of a denied packet: Drop or Reject. Raw and mangle only drop.
	Deny filter.Action
	// AllowReturns leaves the final word on an allowed packet to the rules that follow ours.
	AllowReturns bool
	// NoInvalidCheck lets packets through that connection tracking calls invalid.
	NoInvalidCheck bool
	// Tunnels are the tunnels of the node whose packets outside are of this family.
	Tunnels []TunnelGuard
	// BGPPort is the TCP port of the nodes' BGP speakers, or 0 if it is 179.
	BGPPort uint16
	// IPVS is nil if kube-proxy does not use IPVS.
	IPVS *IPVS
	// LogPrefix begins the kernel log's lines of Log rules.
	LogPrefix string
	// FailsafeIn and FailsafeOut are what no policy of a host endpoint closes.
	FailsafeIn, FailsafeOut []Failsafe
}

// Failsafe is a port of the node, or one that the node reaches.
type Failsafe struct {
	Protocol uint8        // IANA number: TCP, UDP or SCTP
	Net      netip.Prefix // of the peer; invalid for any
	Port     uint16
}

// Endpoint is a workload's interface, and what applies to it.
type Endpoint struct {
	Interface string // the host's end, for which ValidInterface is true
	Addrs     []netip.Addr
	// Sources are networks that it may send from beside Addrs.
	Sources []netip.Prefix
	// Policy is nil while it is not known: the endpoint is closed.
	Policy *wire.Endpoint
	// Mark is the number of EndpointMarks with IPVS. Without one the endpoint reaches no Service.
	Mark uint32
}

// AnyInterface is the interface of the host endpoint that stands for all that have none of their own.
const AnyInterface = "*"

// HostEndpoint is an interface of the node that policies select.
type HostEndpoint struct {
	Interface string // for which ValidInterface is true, or AnyInterface
	Policy    *wire.HostEndpoint
	Mark      uint32 // as that of an Endpoint; AnyInterface has none
}

var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9:._-]{1,15}$`)

// ValidInterface reports whether a name can be that of an interface in a rule.
func ValidInterface(name string) bool {
	return interfaceName.MatchString(name) && name != "." && name != ".."
}

// table collects what is rendered of one table.
type table struct {
	*Renderer
	name       filter.Table
	chains     []filter.Chain
	dispatches []filter.Dispatch
	hooks      map[filter.Hook]filter.HookRules
	policies   []reference // that the chains name
}

func (r *Renderer) table(name filter.Table) *table {
	t := &table{Renderer: r, name: name, hooks: map[filter.Hook]filter.HookRules{}}
	if name != filter.Filter {
		own := *r
		own.Deny = filter.Drop{} // the kernel rejects in the filter table alone
		t.Renderer = &own
	}
	return t
}

func (t *table) add(name string, rules []filter.Rule) {
	t.chains = append(t.chains, filter.Chain{Table: t.name, Name: name, Rules: rules})
}

// addClosing adds a chain that denies if the kernel lacks what it ought to be.
func (t *table) addClosing(name, about string, rules []filter.Rule) {
	t.chains = append(t.chains, filter.Chain{Table: t.name, Name: name, Rules: rules, About: about,
		Fallback: []filter.Rule{{Action: t.Deny, Comment: "The kernel lacks the rules, or a set that they name"}}})
}

// reference is one direction of a policy or of a profile, in one table.
type reference struct {
	table   filter.Table
	chain   string
	policy  string
	ingress bool
}

// addPolicies notes that chains name the policies of tiers, and profiles, in one direction.
func (t *table) addPolicies(tiers []wire.Tier, profiles []string, ingress bool) {
	for _, tier := range tiers {
		for _, name := range namesOf(tier, ingress) {
			t.policies = append(t.policies, reference{t.name, policyChain(name, ingress), name, ingress})
		}
	}
	for _, name := range profiles {
		t.policies = append(t.policies, reference{t.name, profileChain(name, ingress), name, ingress})
	}
}

func rulesOf(p *wire.Policy, ingress bool) []wire.Rule {
	if ingress {
		return p.Ingress
	}
	return p.Egress
}

// namesOf returns the policies of a tier in one direction.
func namesOf(tier wire.Tier, ingress bool) []string {
	if ingress {
		return tier.Ingress
	}
	return tier.Egress
}

// marked matches a packet that has a mark's bit.
func (r *Renderer) marked(bit uint32) filter.Match {
	return filter.Match{Mark: filter.Mark{Value: bit, Mask: bit}}
}

// unmarked matches a packet that has not.
func (r *Renderer) unmarked(bit uint32) filter.Match {
	return filter.Match{Mark: filter.Mark{Mask: bit}}
}

func (r *Renderer) setMark(bit uint32) filter.Action {
	return filter.SetMark{Value: bit, Mask: bit}
}

// inFrom matches packets that come from workloads, outTo those that go to them.
func inFrom(prefix string) filter.Match {
	return filter.In.Match(filter.Interface{Name: prefix, Prefix: true})
}

func outTo(prefix string) filter.Match {
	return filter.Out.Match(filter.Interface{Name: prefix, Prefix: true})
}

// toPort is an end with one port.
func toPort(port uint16) filter.End {
	return filter.End{Ports: []filter.PortRange{{First: port, Last: port}}}
}

func policyChain(policy string, ingress bool) string {
	if ingress {
		return "cali-pi-" + filter.Short(policy)
	}
	return "cali-po-" + filter.Short(policy)
}

// profileChain has the name of the Profile resource in it where that fits, as in Calico.
func profileChain(profile string, ingress bool) string {
	profile = strings.TrimPrefix(profile, wire.ProfilePrefix)
	if ingress {
		return filter.ChainName("cali-pri-", profile)
	}
	return filter.ChainName("cali-pro-", profile)
}

// EndpointPrefixes returns the prefixes of the names of workloads' interfaces: the configured ones, and the one that
// the CNI server uses.
func EndpointPrefixes(configured []string) []string {
	if slices.Contains(configured, derive.HostInterfacePrefix) {
		return configured
	}
	return append(slices.Clone(configured), derive.HostInterfacePrefix)
}
