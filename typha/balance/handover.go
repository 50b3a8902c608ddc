package balance

import "time"

// handovers limit how often a replica with too many nodes hands one over while the other replicas are out of the nodes'
// reach: then every node would come back, again and again. A node that has come back is left alone for a while, and
// each node that comes back doubles the time to the next handover. When a node stays away, that time is the shortest
// again.
//
// It is not safe for concurrent use.
type handovers struct {
	every time.Duration // the shortest time between two handovers
	wait  time.Duration // the present time between two handovers
	next  time.Time     // of the next handover at the earliest
	nodes map[string]*handover
}

// handover is the last one of a node.
type handover struct {
	at       time.Time
	returned bool
	rest     time.Duration // for how long the node is left alone after it has returned
	restEnds time.Time
}

const (
	// returnTime is how long a node may take to come back, since it tries every other replica first.
	returnTime = 5 * time.Minute
	// The rest of a node doubles from firstRest to lastRest with each return.
	firstRest, lastRest = 5 * time.Minute, time.Hour
	// lastWait is the longest time between two handovers.
	lastWait = 10 * time.Minute
)

func newHandovers(every time.Duration) *handovers {
	return &handovers{every: every, wait: every, nodes: map[string]*handover{}}
}

// due reports whether a node may be handed over now. It forgets nodes that have stayed away or have rested long enough.
func (h *handovers) due(now time.Time) bool {
	for node, o := range h.nodes {
		switch {
		case !o.returned && now.Sub(o.at) > returnTime:
			delete(h.nodes, node)
			h.wait = h.every
			h.next = time.Time{}
		case o.returned && now.Sub(o.restEnds) > lastRest:
			delete(h.nodes, node)
		}
	}
	return !now.Before(h.next)
}

// resting reports whether a node has come back and is to be left alone.
func (h *handovers) resting(node string, now time.Time) bool {
	o := h.nodes[node]
	return o != nil && o.returned && now.Before(o.restEnds)
}

// begin notes that a node is handed over.
func (h *handovers) begin(node string, now time.Time) {
	o := h.nodes[node]
	if o == nil {
		o = &handover{}
		h.nodes[node] = o
	}
	o.at, o.returned = now, false
	h.next = now.Add(h.wait)
}

// opened notes that a node has opened a stream, and reports whether it has come back after a handover.
func (h *handovers) opened(node string, now time.Time) bool {
	o := h.nodes[node]
	if o == nil || o.returned || now.Sub(o.at) > returnTime {
		return false
	}
	o.returned = true
	o.rest = min(max(2*o.rest, firstRest), lastRest)
	o.restEnds = now.Add(o.rest)
	h.wait = min(2*h.wait, lastWait)
	h.next = now.Add(h.wait)
	return true
}
