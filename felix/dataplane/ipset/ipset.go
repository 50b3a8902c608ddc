// Package ipset is the driver of the kernel's IP sets of one family.
//
// It owns the sets whose names begin with its prefix and touches no other. Rules that name the sets are not its
// business, except that a set in use cannot go: so Before comes before the rules change and After after them. It
// speaks netlink itself, with many members in one message. The backend of rules of its family calls it.
package ipset

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
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

// Set is one desired set. A member of the other family is left out, which lets one list serve both. The
// default network /0 becomes two halves, since the kernel's hash:net has no /0.
type Set struct {
	Name    string
	Type    Type
	Members []filter.Member
}

// SetName returns the name of the set that holds, in one family, the members of an id of any length: "cali40" or
// "cali60" and the id, with a hash in place of an end that does not fit.
func SetName(f dataplane.Family, id string) string { return Name(f, id, 0) }

// Versions is how many names an id has.
const Versions = 10

// Name returns one of the names of the set of an id, which differ in the digit after "cali4" or "cali6". One takes the
// place of another when rules are to change from one content of the set to another at once.
func Name(f dataplane.Family, id string, version int) string {
	name := fmt.Sprintf("%s%d%s", prefix(f), version, id)
	if len(name) <= MaxNameLength {
		return name
	}
	const hashLength = 12
	sum := sha256.Sum256([]byte(id))
	return name[:MaxNameLength-hashLength] + base64.RawURLEncoding.EncodeToString(sum[:])[:hashLength]
}

// prefix begins the names of our sets of a family, as in Calico. A digit follows.
func prefix(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "cali6"
	}
	return "cali4"
}

// isOurs reports whether a name is one of ours in a family.
func isOurs(f dataplane.Family, name string) bool {
	rest, ours := strings.CutPrefix(name, prefix(f))
	return ours && rest != "" && (rest[0] >= '0' && rest[0] <= '9' || rest[0] == 't')
}

// temporaryPrefix begins the names of sets that stand in while another is made anew.
func temporaryPrefix(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "cali6t"
	}
	return "cali4t"
}

// expand returns the member in the form the kernel holds it in: one, none of another family, two for /0.
func expand(m filter.Member, f dataplane.Family) []filter.Member {
	if !m.Net.IsValid() || dataplane.FamilyOf(m.Net.Addr()) != f {
		return nil
	}
	m.Net = m.Net.Masked()
	if m.Net.Bits() > 0 {
		return []filter.Member{m}
	}
	low := netip.PrefixFrom(m.Net.Addr(), 1)
	high := m.Net.Addr().AsSlice()
	high[0] = 0x80
	addr, _ := netip.AddrFromSlice(high)
	return []filter.Member{{Net: low}, {Net: netip.PrefixFrom(addr, 1)}}
}
