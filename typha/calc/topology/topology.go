// Package topology computes what every node has to know of the cluster's network: the pools, the nodes and their ends
// of tunnels, the routes to blocks and addresses, and what else restricts the assignment of addresses.
//
// A Topology takes IPPools, IPAMBlocks, IPReservations, the IPAMConfiguration and nodes by method. Flush returns the
// objects of the stream that may differ, and what is wrong with blocks and nodes. It gives the blocks that are used to
// the owner.Table, which decides from them which pod owns an address; the caller takes the changes of owners from
// there.
//
// The package is pure: it has no I/O, clock, goroutine or logger, and it knows no pods, policies or sets. A Topology
// belongs to one goroutine, the engine's.
package topology

import (
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/wire"
)

// Topology is the cluster's network. New returns an empty one.
type Topology struct {
	pools      pools
	assignment assignment
	owners     *owner.Table
	blocks     map[string]*block
	regions    map[netip.Prefix][]string // the names of the blocks in each region; no list is empty
	hosts      map[string]*wire.Host
	tunnels    tunnels

	// What Flush has to decide again: which blocks of these regions are used, and the tunnels of these nodes.
	changedRegions map[netip.Prefix]struct{}
	changedTunnels map[string]struct{}
	changes        Changes // since the last Flush
}

// Changes is what Flush returns.
type Changes struct {
	// Objects are those that may differ from what Flush returned before, and nil for one that is gone.
	Objects map[wire.ID]wire.Object
	// Blocks and Nodes are the reasons why these resources, or a part of them, cannot be used. An empty reason says
	// that all of the resource can be used.
	Blocks map[string]string
	Nodes  map[Node]string
}

// Node names the resource that a node comes from.
type Node struct{ Kind, Name string }

// New returns a Topology without nodes and resources. owners gets the blocks that are used.
func New(owners *owner.Table) *Topology {
	return &Topology{
		pools:          newPools(),
		assignment:     assignment{reserved: map[string][]netip.Prefix{}},
		owners:         owners,
		blocks:         map[string]*block{},
		regions:        map[netip.Prefix][]string{},
		hosts:          map[string]*wire.Host{},
		tunnels:        newTunnels(),
		changedRegions: map[netip.Prefix]struct{}{},
		changedTunnels: map[string]struct{}{},
		changes:        newChanges(),
	}
}

func newChanges() Changes {
	return Changes{Objects: map[wire.ID]wire.Object{}, Blocks: map[string]string{}, Nodes: map[Node]string{}}
}

// Flush returns what changed since the last Flush.
func (t *Topology) Flush() Changes {
	t.flushPools()
	t.flushAssignment()
	for region := range t.changedRegions { // of blocks: what pools there are decides, too
		t.decideRegion(region)
	}
	for name := range t.changedTunnels {
		t.decideTunnels(name)
	}
	if len(t.changedRegions) > 0 {
		t.changedRegions = map[netip.Prefix]struct{}{}
	}
	if len(t.changedTunnels) > 0 {
		t.changedTunnels = map[string]struct{}{}
	}
	changes := t.changes
	if len(changes.Objects)+len(changes.Blocks)+len(changes.Nodes) > 0 {
		t.changes = newChanges()
	}
	return changes
}

// Size returns how many resources, regions and addresses of tunnels the Topology holds.
func (t *Topology) Size() int {
	return len(t.pools.stored) + len(t.pools.unread) + len(t.pools.current) + t.pools.ranges.Size() +
		len(t.assignment.reserved) +
		len(t.blocks) + len(t.regions) + len(t.hosts) + len(t.tunnels.nodes) + len(t.tunnels.named)
}

func (t *Topology) set(object wire.Object) { t.changes.Objects[object.ID()] = object }

func (t *Topology) remove(id wire.ID) { t.changes.Objects[id] = nil }
