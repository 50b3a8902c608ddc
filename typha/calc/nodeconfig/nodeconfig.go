// Package nodeconfig computes the configuration of each node's Felix, and what CalicoNodeStatuses ask of nodes.
//
// A Nodes takes FelixConfigurations, CalicoNodeStatuses, the ClusterInformation and the labels of nodes by method.
// Flush returns the wire.Config and wire.StatusRequest objects that may differ, and which node needs which of them.
// What a setting means, and which of several wins, is decided on the node.
//
// The package is pure: it has no I/O, clock, goroutine or logger. A Nodes belongs to one goroutine, the engine's.
package nodeconfig

import (
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// Nodes computes the configurations of all nodes. New returns an empty one.
type Nodes struct {
	felix    map[string]*felixConfig // by the resource's name
	nodes    map[string]*node        // by the node's name
	requests requests

	changedFelix    map[string]*felixConfig // since the last Flush; nil: it is gone
	changedNodes    map[string]struct{}     // that have to choose by their labels again
	changedRequests map[string]struct{}     // nodes
	changes         Changes                 // since the last Flush
}

// Changes is what Flush returns.
type Changes struct {
	// Objects are those that may differ from what Flush returned before, and nil for one that is gone.
	Objects map[wire.ID]wire.Object
	// Needs are to be applied in their order.
	Needs []Need
	// Problems are the reasons why FelixConfigurations, or parts of them, cannot be used. An empty reason says that all
	// of the resource can be used.
	Problems map[string]string
}

// Need says that a node needs an object now, or no longer.
type Need struct {
	Node   string
	ID     wire.ID
	Needed bool
}

// New returns a Nodes without nodes and resources.
func New() *Nodes {
	return &Nodes{
		felix:           map[string]*felixConfig{},
		nodes:           map[string]*node{},
		requests:        newRequests(),
		changedFelix:    map[string]*felixConfig{},
		changedNodes:    map[string]struct{}{},
		changedRequests: map[string]struct{}{},
		changes:         newChanges(),
	}
}

func newChanges() Changes {
	return Changes{Objects: map[wire.ID]wire.Object{}, Problems: map[string]string{}}
}

// Flush returns what changed since the last Flush.
func (n *Nodes) Flush() Changes {
	n.flushFelix()
	for name := range n.changedRequests {
		if all := n.requests.to(name); all != nil {
			n.set(name, all)
		} else {
			n.remove(name, wire.ID{Kind: wire.KindStatusRequest, Name: name})
		}
	}
	clear(n.changedRequests)
	changes := n.changes
	if len(changes.Objects)+len(changes.Needs)+len(changes.Problems) > 0 {
		n.changes = newChanges()
	}
	return changes
}

// Size returns how many nodes and resources the Nodes holds.
func (n *Nodes) Size() int {
	return len(n.felix) + len(n.nodes) + len(n.requests.named) + len(n.requests.of)
}

// set outputs an object that one node needs, or with an empty name every node.
func (n *Nodes) set(node string, o wire.Object) {
	n.need(node, o.ID(), true)
	n.changes.Objects[o.ID()] = o
}

// remove is the reverse of set.
func (n *Nodes) remove(node string, id wire.ID) {
	n.need(node, id, false)
	n.changes.Objects[id] = nil
}

func (n *Nodes) need(node string, id wire.ID, needed bool) {
	if node != "" {
		n.changes.Needs = append(n.changes.Needs, Need{node, id, needed})
	}
}

// SetClusterInformation takes the ClusterInformation that counts. While it says that the datastore is not ready, every
// node has a Config that says so; nil is ready.
func (n *Nodes) SetClusterInformation(o *v3.ClusterInformation) {
	c := &wire.Config{Name: wire.ClusterConfig}
	if o == nil || o.Spec.IsDatastoreReady() {
		n.changes.Objects[c.ID()] = nil
		return
	}
	c.Values = map[string]string{wire.SettingDatastoreReady: "false"}
	n.changes.Objects[c.ID()] = c
}
