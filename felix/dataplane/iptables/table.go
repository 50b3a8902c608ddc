// Package iptables is the driver of one iptables table of one family: our chains, and our rules in the kernel's chains.
//
// It owns the chains whose names begin with "cali-" and the rules that carry its hash in a comment, and touches no other.
// Each rule's hash is read back, so what is right is not rewritten, whoever programmed it. It drives the save and restore commands of
// the nft or the legacy variant; it knows nothing of policy or sets. The agent's goroutine calls it.
package iptables

import (
	"context"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// ChainPrefix begins the name of every chain that is ours.
const ChainPrefix = "cali-"

// MaxChainName is the longest name of a chain in bytes, of both variants.
const MaxChainName = 28

// The tables.
const (
	Filter = "filter"
	NAT    = "nat"
	Mangle = "mangle"
	Raw    = "raw"
)

// Backend is the variant of the commands.
type Backend string

// The backends.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// Detect finds the backend that the rest of the node uses: the one that has the kubelet's or kube-proxy's chains, then the
// one with more rules, then NFT. It is what iptablesBackend Auto means.
func Detect(ctx context.Context, r Runner) (Backend, error) { panic("not built yet") }

// Chain is one desired chain of ours.
type Chain struct {
	Name  string // begins with ChainPrefix, at most MaxChainName bytes
	Rules []Rule
}

// Hooks are our rules in one of the kernel's chains.
type Hooks struct {
	Insert []Rule // at the chain's top, in this order
	Append []Rule // at its end, in this order
}

// Config says which table a Table drives and how.
type Config struct {
	Family  dataplane.Family
	Table   string // Filter, NAT, Mangle or Raw
	Backend Backend
	Runner  Runner // Exec, or a Fake
}

// Table is the driver.
type Table struct{}

// New returns a driver that wants no chains and has not read the kernel yet.
func New(cfg Config) *Table { return &Table{} }

// Set makes a chain desired, in place of what was desired under its name.
func (t *Table) Set(c Chain) {}

// Remove makes a chain not desired.
func (t *Table) Remove(name string) {}

// Replace makes exactly these chains desired. It leaves the hooks.
func (t *Table) Replace(chains []Chain) {}

// SetHooks makes these rules desired in one of the kernel's chains, in place of what was desired there.
func (t *Table) SetHooks(kernelChain string, h Hooks) {}

// Name is "iptables".
func (t *Table) Name() string { return "iptables" }

// Resync makes the next Apply read the table back.
func (t *Table) Resync() {}

// Observe takes chain events, which only the nft backend has.
func (t *Table) Observe(e dataplane.Event) bool { return false }

// Changed reads the table and reports whether somebody changed what is ours, and if so does what Resync does. It is
// the way to notice with the legacy backend, which has no events.
func (t *Table) Changed(ctx context.Context) (bool, error) { panic("not built yet") }

// Apply makes the table match in one transaction.
func (t *Table) Apply(ctx context.Context) error { panic("not built yet") }
