package filter

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
)

// Table is a stage of a packet's way. A mark that one stage sets stays for the next.
type Table string

// The tables, in the order in which a packet passes them. Raw comes before connection tracking.
const (
	Raw    Table = "raw"
	Mangle Table = "mangle"
	NAT    Table = "nat"
	Filter Table = "filter"
)

// Tables returns the tables in the order in which a packet passes them.
func Tables() []Table { return []Table{Raw, Mangle, NAT, Filter} }

// Hook is where packets enter a table.
type Hook string

// The hooks. Not every table has every hook.
const (
	Prerouting  Hook = "PREROUTING"
	Input       Hook = "INPUT"
	Forward     Hook = "FORWARD"
	Output      Hook = "OUTPUT"
	Postrouting Hook = "POSTROUTING"
)

// HookRules are our rules at a hook.
type HookRules struct {
	First []Rule // before those of other programs
	Last  []Rule // after those of other programs
}

// ChainPrefix begins the name of every chain.
const ChainPrefix = "cali-"

// MaxChainName is the longest name of a chain in bytes, in every backend.
const MaxChainName = 28

// Chain is a list of rules that other rules name.
type Chain struct {
	Table Table
	Name  string // begins with ChainPrefix, at most MaxChainName bytes
	Rules []Rule
	// Fallback takes the place of Rules that the kernel refuses, so that they hold up nothing else. A chain without
	// a fallback has to be programmed with the rest of its table.
	Fallback []Rule
	About    string // what the chain is made of, for messages; may be empty
}

// Dispatch is a chain that sends each packet to the chain of its interface, which does not come back to it. A packet of
// an interface that has none goes on with Default.
type Dispatch struct {
	Table     Table
	Name      string // as that of a Chain
	Direction Direction
	Targets   map[string]string // chains by interface
	Default   []Rule
}

// Direction says which of a packet's interfaces is meant.
type Direction uint8

// The directions.
const (
	In  Direction = iota // the interface that the packet came in by
	Out                  // the interface that the packet goes out by
)

// Match returns the match of packets whose interface is i.
func (d Direction) Match(i Interface) Match {
	if d == Out {
		return Match{Out: i}
	}
	return Match{In: i}
}

var chainName = regexp.MustCompile(`^[a-zA-Z0-9.-]+$`)

// ChainName returns the name of the chain of something: the prefix and its name, with a hash in place of a name that
// does not fit.
func ChainName(prefix, name string) string {
	if chain := prefix + name; chainName.MatchString(name) && len(chain) <= MaxChainName {
		return chain
	}
	return (prefix + "_" + Short(name))[:MaxChainName]
}

// Short returns a hash of a name that is short enough for the name of a chain: 20 bytes.
func Short(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}
