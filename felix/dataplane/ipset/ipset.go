// Package ipset is the driver of the kernel's IP sets of one family.
//
// It owns the sets whose names begin with its prefix and touches no other. Rules that name the sets are not its
// business, except that a set in use cannot go: so Grow comes before the rules change and Shrink after. It
// speaks netlink itself, with many members in one message. The agent's goroutine calls it.
package ipset

import (
	"context"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// MaxNameLength is the kernel's limit of a set's name in bytes.
const MaxNameLength = 31

// DefaultMaxElements is the most members a set may have unless configured otherwise: Calico's maxIpsetSize.
const DefaultMaxElements = 1048576

// Type is the kernel's type of a set.
type Type string

// The types of sets.
const (
	HashNet    Type = "hash:net"     // networks; members have no protocol and port
	HashIPPort Type = "hash:ip,port" // an address with protocol and port
)

// Member is one member of a set. It is comparable.
type Member struct {
	Net      netip.Prefix // masked; full length in a HashIPPort set
	Protocol uint8        // IANA number; HashIPPort only
	Port     uint16       // HashIPPort only
}

// Set is one desired set. A member of the other family is left out, which lets one list serve both. The
// default network /0 becomes two halves, since the kernel's hash:net has no /0.
type Set struct {
	Name    string
	Type    Type
	Members []Member
}

// Config says which sets a Sets owns.
type Config struct {
	Family dataplane.Family
	// MaxElements is the limit of members of a set that is created; 0 is DefaultMaxElements.
	MaxElements uint32
}

// SetName gives the name of the set that holds, in one family, the members of an id of any length: "cali40" or
// "cali60" and the id, with a hash in place of an end that does not fit.
func SetName(f dataplane.Family, id string) string { panic("not built yet") }

// Sets is the driver.
type Sets struct{}

// Open connects to the kernel in the calling thread's network namespace and returns a driver that wants no sets.
func Open(cfg Config) (*Sets, error) { panic("not built yet") }

// Close closes the connection; the sets stay.
func (s *Sets) Close() error { return nil }

// Set makes a set desired, in place of what was desired under its name.
func (s *Sets) Set(set Set) {}

// AddMembers makes further members of a desired set desired; of a set that is not, it panics.
func (s *Sets) AddMembers(name string, members ...Member) {}

// RemoveMembers is the reverse of AddMembers.
func (s *Sets) RemoveMembers(name string, members ...Member) {}

// Remove makes a set not desired.
func (s *Sets) Remove(name string) {}

// Name is "ipset".
func (s *Sets) Name() string { return "ipset" }

// Resync makes the next Grow read the kernel's sets back.
func (s *Sets) Resync() {}

// Changed asks the kernel cheaply, without the members, whether somebody else created, deleted or
// resized one of our sets, and if so does what Resync does. A member exchanged for another goes unnoticed until the next Resync.
func (s *Sets) Changed(ctx context.Context) (bool, error) { panic("not built yet") }

// Grow creates sets and adds members: what must be there before a rule that names a set.
func (s *Sets) Grow(ctx context.Context) error { panic("not built yet") }

// Shrink removes members and sets: what must go after the last rule that names a set.
func (s *Sets) Shrink(ctx context.Context) error { panic("not built yet") }

// Apply is Grow and then Shrink.
func (s *Sets) Apply(ctx context.Context) error { panic("not built yet") }
