package filter

import "net/netip"

// SetType says what the members of a set are.
type SetType uint8

// The types of sets.
const (
	SetNets  SetType = iota // networks
	SetPorts                // addresses with a protocol and a port
)

// Member is one member of a set. It is comparable.
type Member struct {
	Net      netip.Prefix // masked; of full length in a set of SetPorts
	Protocol uint8        // IANA number; SetPorts only
	Port     uint16       // SetPorts only
}

// Set is what a set has. Members of another family than the backend's are left out, so that one list serves both.
type Set struct {
	Type    SetType
	Members []Member
}

// SetChange is a change of one desired set: it is replaced, or it loses and gains members, or it is not desired any
// more.
type SetChange struct {
	ID string
	// Whole, if not nil, takes the place of what was desired. Removed and Added come after it.
	Whole          *Set
	Removed, Added []Member
	Gone           bool
}
