package calc

import (
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

// Delta is what changed between two calls of Flush. Everything in it is immutable.
type Delta struct {
	// Upserts are the objects that are new or differ, sorted by kind, then name.
	Upserts []wire.Object
	// Deletes are the objects that are gone, sorted by kind descending, then name.
	Deletes []wire.ID
	// Sets are the changes of sets that were there before and stay, sorted by name. Upserts holds the new ones whole.
	Sets []wire.SetDelta
	// Interest holds, by node, the objects that the node now needs or no longer needs.
	// Objects that ForEveryNode are not listed.
	Interest map[string]needs.Interest
	// Problems are those that changed: resources that cannot be used any more, or can be used again.
	Problems []Problem
}

// Empty says that nothing changed.
func (d Delta) Empty() bool {
	return len(d.Upserts)+len(d.Deletes)+len(d.Sets)+len(d.Interest)+len(d.Problems) == 0
}

// ForEveryNode says that every node needs the object. The others go to the nodes that
// Delta.Interest names.
func ForEveryNode(id wire.ID) bool {
	switch id.Kind {
	case wire.KindPool, wire.KindIPAM, wire.KindHost, wire.KindTunnelEndpoint, wire.KindRoute:
		return true
	case wire.KindConfig:
		return id.Name == wire.GlobalConfig || id.Name == wire.ClusterConfig
	}
	return false
}
