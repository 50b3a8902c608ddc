package iptables

import (
	"fmt"
	"net/netip"
)

// Action is what a rule does: one of the types of this file.
type Action interface {
	// args gives the target's arguments.
	args() string
}

// Terminal actions, and those that end a chain.
type (
	Accept struct{} // the packet passes this hook
	Drop   struct{} // the packet is dropped
	Return struct{} // on with the calling chain
	// Reject drops the packet and tells the sender. With is as in iptables-extensions(8); empty for the default.
	Reject struct{ With string }
	Jump   struct{ Chain string } // and come back
	Goto   struct{ Chain string } // and return to the caller's caller
	// NoTrack keeps the packet out of connection tracking.
	NoTrack struct{}
)

// SetMark sets the bits in Mask of the packet's mark to Value.
type SetMark struct{ Value, Mask uint32 }

// ClearMark clears the bits in Mask.
type ClearMark struct{ Mask uint32 }

// Masquerade gives the packet the outgoing device's address as source.
type Masquerade struct {
	RandomFully bool // choose the port at random
}

// SNAT gives the packet a source address.
type SNAT struct {
	To          netip.Addr
	RandomFully bool
}

// Log writes the packet's headers to the kernel's log.
type Log struct {
	Prefix string // at most 29 bytes
	Level  uint8  // syslog's; 0 is the kernel's default
}

func (Accept) args() string  { return "-j ACCEPT" }
func (Drop) args() string    { return "-j DROP" }
func (Return) args() string  { return "-j RETURN" }
func (NoTrack) args() string { return "-j CT --notrack" }
func (a Jump) args() string  { return "-j " + a.Chain }
func (a Goto) args() string  { return "-g " + a.Chain }

func (a Reject) args() string {
	if a.With == "" {
		return "-j REJECT"
	}
	return "-j REJECT --reject-with " + a.With
}

func (a SetMark) args() string {
	return fmt.Sprintf("-j MARK --set-xmark %#x/%#x", a.Value, a.Mask)
}

func (a ClearMark) args() string { return fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", a.Mask) }

func (a Masquerade) args() string {
	if a.RandomFully {
		return "-j MASQUERADE --random-fully"
	}
	return "-j MASQUERADE"
}

func (a SNAT) args() string {
	s := "-j SNAT --to-source " + a.To.String()
	if a.RandomFully {
		s += " --random-fully"
	}
	return s
}

func (a Log) args() string {
	s := "-j LOG --log-prefix " + quote(a.Prefix+" ")
	if a.Level != 0 {
		s += fmt.Sprintf(" --log-level %d", a.Level)
	}
	return s
}
