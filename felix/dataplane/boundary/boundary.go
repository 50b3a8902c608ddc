// Package boundary is what the agent and a dataplane say to each other. It speaks of endpoints, host endpoints,
// policies, sets, routes, tunnels, address translation and settings, and never of chains, tables or maps of the kernel.
//
// The agent decides what is desired and hands over what has changed. The dataplane decides how the kernel is told: in
// which order, what a failure holds up, and what is tried again. It remembers what it was handed, so an Apply costs
// what changed. felix/dataplane/linux implements Dataplane with the drivers of the Linux kernel;
// docs/design/dataplane.md says how another one would.
//
// The package holds values and does no I/O. The agent's goroutine calls a Dataplane; nothing else does.
package boundary

import (
	"context"
	"net/netip"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/typha/wire"
)

// Dataplane makes a node's kernel match what is desired.
type Dataplane interface {
	// Families returns the IP families that the dataplane programs. They do not change.
	Families() []dataplane.Family
	// Apply takes changes, and makes the kernel match everything that was desired so far. What it could not do it tries
	// again with every further Apply, also of empty changes. If ctx ends meanwhile, the Result says nothing.
	Apply(ctx context.Context, changes Desired) Result
	// Observe takes a change of the kernel's state, and reports whether an Apply is due because of it.
	Observe(e dataplane.Event) bool
	// Check looks for changes of which the kernel sends no event, and reports whether an Apply is due because of them.
	Check(ctx context.Context) (bool, error)
	// Resync makes the next Apply read a part of the kernel's state back before it compares.
	Resync(part Part)
	// InPlace reports whether, after the last Apply, the kernel enforces all of an endpoint: its policy, its routes and
	// the settings of its interface.
	InPlace(endpoint string) bool
	// RouteInPlace reports whether the kernel has the desired route of a key.
	RouteInPlace(key route.Key) bool
	// SourcesDropped returns why the kernel drops what endpoints send from their Sources; empty if it does not.
	SourcesDropped() string
}

// Part is a part of the kernel's state that is read back at an interval of its own.
type Part uint8

// The parts.
const (
	Rules Part = iota
	Sets
	Routes
	Links // tunnels, the settings of interfaces, and which interfaces there are
)

// Scope says how much of what is desired an Apply may program. The guard of a start is narrower than everything: host
// endpoints are closed before the node's addresses or its policy are known to be current.
type Scope uint8

// The scopes.
const (
	// Everything is the whole desired state.
	Everything Scope = iota
	// Guard is policies, and the sets that they name. Nothing else changes, and nothing that the kernel has is removed
	// from a set.
	Guard
	// GuardUnprogrammed is Guard in a kernel in which no earlier process left rules. In any other kernel Apply changes
	// nothing. What counts is the first Apply: the rules of this process are not an earlier one's.
	GuardUnprogrammed
)

// Desired is what changed since the last Apply.
type Desired struct {
	Scope Scope
	// Whole is set if the changes hold everything: what they lack is not desired. The first Apply is whole, and others
	// may be.
	Whole bool
	// Settings is nil if they have not changed.
	Settings *Settings
	// Endpoints are by their interfaces, and so are HostEndpoints, of which that of
	// policy.AnyInterface stands for all interfaces that have none.
	Endpoints     Delta[string, Endpoint]
	HostEndpoints Delta[string, *wire.HostEndpoint]
	// Policies are by name, profiles among them. A policy that an endpoint names and that is missing denies.
	Policies Delta[string, *wire.Policy]
	// Sets are by the names that rules have for them.
	Sets Delta[string, SetChange]
	// Networks is nil if they have not changed.
	Networks *Networks
	Routes   Delta[route.Key, route.Route]
	// Tunnels are by the names of their devices.
	Tunnels Delta[string, tunnel.Device]
	// Forget are addresses whose connections must not outlive this change: they belong to another endpoint now, or to
	// none.
	Forget []netip.Addr
}

// Settings are what all endpoints have in common.
type Settings struct {
	Config *config.Config
	// BGPPort is the TCP port of the nodes' BGP speakers, or 0 for the default.
	BGPPort uint16
	// IPVS is set if the node's kube-proxy is in IPVS mode. Own are then the node's own networks, without the addresses
	// of Services, which are on an interface of the node too.
	IPVS bool
	Own  []netip.Prefix
}

// Endpoint is a workload's interface, and what applies to it.
type Endpoint struct {
	Addrs []netip.Addr
	// Sources are networks that it may send from beside Addrs.
	Sources []netip.Prefix
	// Policy is nil while it is not known: the endpoint is closed.
	Policy *wire.Endpoint
	// Present is set if the interface exists. Policy is programmed before, and settings are not.
	Present bool
}

// SetChange is what changed of a set: first Whole takes the place of its members if it is not nil, then Changes apply
// in their order.
type SetChange struct {
	Whole   *wire.IPSet
	Changes []wire.SetDelta
}

// Networks are what rules name beside the sets of policies, of both families.
type Networks struct {
	// Pools are the networks of pods; the sources in Masquerade are translated when a packet leaves them.
	Pools, Masquerade []netip.Prefix
	// Nodes are the addresses of all nodes.
	Nodes []netip.Addr
}

// Delta is what changed of the objects of one kind.
type Delta[K comparable, V any] struct {
	Upserts map[K]V
	Deletes map[K]bool
}

// Set says that v is desired for a key.
func (d *Delta[K, V]) Set(k K, v V) {
	if d.Upserts == nil {
		d.Upserts = map[K]V{}
	}
	d.Upserts[k] = v
	delete(d.Deletes, k)
}

// Delete says that nothing is desired for a key.
func (d *Delta[K, V]) Delete(k K) {
	if d.Deletes == nil {
		d.Deletes = map[K]bool{}
	}
	d.Deletes[k] = true
	delete(d.Upserts, k)
}

// Empty reports whether nothing changed.
func (d *Delta[K, V]) Empty() bool { return len(d.Upserts)+len(d.Deletes) == 0 }

// ApplyTo makes the changes in a map, which is everything if whole.
func (d *Delta[K, V]) ApplyTo(all map[K]V, whole bool) {
	if whole {
		clear(all)
	}
	for k := range d.Deletes {
		delete(all, k)
	}
	for k, v := range d.Upserts {
		all[k] = v
	}
}

// Result is what an Apply has come to.
type Result struct {
	// Enforced holds the families in which policy stands: sets and rules are as desired, be it that some policies deny
	// because of a failure. What Guard leaves out is not looked at.
	Enforced map[dataplane.Family]bool
	// Failures say what is not as desired and why, in the order in which it was programmed. A further Apply may cure
	// them.
	Failures []error
	// Unusable says what cannot be enforced as it is written. Trying again does not help.
	Unusable []string
	// Notices are what is as configured, but may surprise a user.
	Notices []string
	// Refused is why no further endpoint can be connected, or nil.
	Refused error
}
