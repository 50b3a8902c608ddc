package filter

import "net/netip"

// Action is what a rule does: one of the types of this file.
type Action interface{ action() }

// Actions that decide on the packet, and actions that leave the chain.
type (
	Accept struct{}               // the packet passes this hook
	Drop   struct{}               // the packet is dropped
	Reject struct{}               // the packet is dropped, and its sender is told; in table Filter only
	Return struct{}               // on with the calling chain
	Jump   struct{ Chain string } // evaluate the chain, and come back
	Goto   struct{ Chain string } // evaluate the chain, and return to the calling chain
	// NoTrack keeps the packet out of connection tracking; in table Raw only.
	NoTrack struct{}
)

// SetMark sets the bits in Mask of the packet's mark to Value.
//
// With Return the packet then returns to the calling chain. Such a rule sets all bits of Mask, and a packet that
// reaches it has none of them: a backend that has one action a rule recognises by them which packets it has marked.
type SetMark struct {
	Value, Mask uint32
	Return      bool
}

// ClearMark clears the bits in Mask.
type ClearMark struct{ Mask uint32 }

// Masquerade gives the packet the outgoing device's address as source, and a random port; in table NAT only.
type Masquerade struct{}

// SNAT gives the packet a source address, and a random port; in table NAT only.
type SNAT struct{ To netip.Addr }

// Log writes the packet's headers to the kernel's log.
type Log struct {
	Prefix string // at most 29 bytes
	Level  uint8  // syslog's; 0 is the kernel's default
}

func (Accept) action()     {}
func (Drop) action()       {}
func (Reject) action()     {}
func (Return) action()     {}
func (Jump) action()       {}
func (Goto) action()       {}
func (NoTrack) action()    {}
func (SetMark) action()    {}
func (ClearMark) action()  {}
func (Masquerade) action() {}
func (SNAT) action()       {}
func (Log) action()        {}
