// Package policy renders endpoints and policies into the iptables chains that enforce
// them in one IP family.
//
// It is pure: values in, chains out, no I/O, no state. The agent calls it on its own goroutine and
// hands what it gives to the iptables driver. It names IP sets and never fills them.
//
// The path of a packet, with the chains in Calico's names:
//
//	FORWARD ─ cali-FORWARD ─┬ from a pod ─ cali-from-wl-dispatch ─ cali-fw-<iface> ─ cali-po-<policy> …
//	                        └ to a pod ─── cali-to-wl-dispatch ─── cali-tw-<iface> ─ cali-pi-<policy> …
//	INPUT ─── cali-INPUT ───┬ from a pod ─ cali-wl-to-host ─ cali-from-wl-dispatch …, then the configured action
//	                        └ VXLAN, from known nodes alone
//	OUTPUT ── cali-OUTPUT ─── VXLAN to known nodes; the node itself may always reach its pods
//
// A chain drops what is denied, and returns with the accept mark what is allowed, so that a
// packet from a pod to a pod of the same node passes both sides.
package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/iptables"
	"github.com/maneki-net/maneki/typha/wire"
)

// The ids of the sets that the chains name besides those of policies, Calico's.
const (
	SetAllPools  = "all-ipam-pools"  // the CIDRs of all pools
	SetMasqPools = "masq-ipam-pools" // of those whose natOutgoing is on
	SetAllHosts  = "all-hosts-net"   // the addresses of all nodes
	SetVXLAN     = "all-vxlan-net"   // the outer addresses of the other nodes' tunnels
)

// Marks are the bits of the packet mark that the chains use, one bit each.
type Marks struct {
	Accept uint32 // a policy allowed the packet
	Pass   uint32 // a policy passed it to the next tier
	All    uint32 // every part of a rule looked at so far matched
	Part   uint32 // the part of the rule being looked at matched
}

// MarksOf takes the four lowest bits of a mask, in Calico's order. An error says that there
// are fewer.
func MarksOf(mask uint32) (Marks, error) {
	if bits.OnesCount32(mask) < 4 {
		return Marks{}, fmt.Errorf("mark mask %#x has fewer than the 4 bits that are needed", mask)
	}
	next := func() uint32 {
		bit := mask & -mask
		mask &^= bit
		return bit
	}
	return Marks{Accept: next(), Pass: next(), All: next(), Part: next()}, nil
}

// Renderer says how to render. It is a value and is not changed.
type Renderer struct {
	Family dataplane.Family
	Marks  Marks
	// Interfaces matches the host's ends of all pods, "cali+".
	Interfaces string
	// ToHost is what becomes of a packet from a pod to its node that the pod's policy
	// allows: Accept, Drop or Return.
	ToHost iptables.Action
	// Deny is what becomes of a denied packet: Drop or Reject.
	Deny iptables.Action
	// AllowReturns leaves the final word on an allowed packet to the rules that follow ours.
	AllowReturns bool
	// NoInvalidCheck lets packets through that connection tracking calls invalid.
	NoInvalidCheck bool
	// AnySource lets pods send from addresses that are not theirs.
	AnySource bool
	// VXLANPort is the UDP port of the tunnel; 0 if the node has none of this family.
	VXLANPort uint16
	// LogPrefix begins the kernel log's lines of Log rules.
	LogPrefix string
}

// Endpoint is a pod's interface, and what applies to it.
type Endpoint struct {
	Interface string // the host's end
	Addrs     []netip.Addr
	// Policy is nil while it is not known: the endpoint is closed.
	Policy *wire.Endpoint
}

// Filter renders the filter table: our chains, and the rules in the kernel's chains by
// their names. policies holds what the endpoints name; one that is missing denies.
func (r *Renderer) Filter(endpoints []Endpoint, policies map[string]*wire.Policy) ([]iptables.Chain, map[string]iptables.Hooks) {
	chains := append(r.static(), r.dispatch(endpoints)...)
	done := map[string]bool{}
	for _, e := range endpoints {
		chains = append(chains, r.fromWorkload(e), r.toWorkload(e))
		if e.Policy == nil {
			continue
		}
		for _, tier := range e.Policy.Tiers {
			for _, name := range tier.Ingress {
				if chain := ingressChain(name); !done[chain] {
					done[chain] = true
					chains = append(chains, r.policy(chain, policies[name], true))
				}
			}
			for _, name := range tier.Egress {
				if chain := egressChain(name); !done[chain] {
					done[chain] = true
					chains = append(chains, r.policy(chain, policies[name], false))
				}
			}
		}
	}
	return chains, r.hooks()
}

func (r *Renderer) hooks() map[string]iptables.Hooks {
	forward := iptables.Hooks{Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainForward}}}}
	if !r.AllowReturns {
		forward.Append = []iptables.Rule{{Match: r.marked(r.Marks.Accept), Action: iptables.Accept{},
			Comment: "Policy explicitly accepted packet."}}
	}
	return map[string]iptables.Hooks{
		"FORWARD": forward,
		"INPUT":   {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainInput}}}},
		"OUTPUT":  {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainOutput}}}},
	}
}

// marked matches a packet that has a mark's bit.
func (r *Renderer) marked(bit uint32) iptables.Match { return iptables.Match(nil).Mark(bit, bit) }

// unmarked matches a packet that has not.
func (r *Renderer) unmarked(bit uint32) iptables.Match { return iptables.Match(nil).Mark(0, bit) }

func (r *Renderer) set(id string) string { return ipset.SetName(r.Family, id) }

func ingressChain(policy string) string { return "cali-pi-" + short(policy) }
func egressChain(policy string) string  { return "cali-po-" + short(policy) }

// short identifies a policy's name within the length of a chain's name.
func short(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}
