package stream

import "time"

// handovers keep a replica that has too many nodes from handing them over to replicas which are out of their reach:
// every one of them would come back, for ever. A node that has come back is let be for a while, and with each that
// comes back the replica waits longer before it tries another one. When one stays away it goes on as before.
//
// It is not safe for concurrent use.
type handovers struct {
	every time.Duration // between two, if all goes well
	wait  time.Duration // between two
	next  time.Time     // not before then
	nodes map[string]*handover
}

// handover is that of one node.
type handover struct {
	at   time.Time
	back bool
	rest time.Duration // how long it is let be, once it is back
	over time.Time     // the rest is
}

const (
	// comesBack is how long a node may take to come back: it tries every other replica before.
	comesBack = 5 * time.Minute
	// The rest of a node doubles from the first to the last each time that it comes back.
	firstRest, lastRest = 5 * time.Minute, time.Hour
	// lastWait is the most time between two handovers.
	lastWait = 10 * time.Minute
)

func newHandovers(every time.Duration) *handovers {
	return &handovers{every: every, wait: every, nodes: map[string]*handover{}}
}

// due reports whether a node may be handed over now.
func (h *handovers) due(now time.Time) bool {
	for node, o := range h.nodes {
		switch {
		case !o.back && now.Sub(o.at) > comesBack:
			delete(h.nodes, node)
			h.wait = h.every
			h.next = time.Time{}
		case o.back && now.Sub(o.over) > lastRest:
			delete(h.nodes, node)
		}
	}
	return !now.Before(h.next)
}

// rests reports whether a node is to be let be.
func (h *handovers) rests(node string, now time.Time) bool {
	o := h.nodes[node]
	return o != nil && o.back && now.Before(o.over)
}

// begin notes that a node is handed over.
func (h *handovers) begin(node string, now time.Time) {
	o := h.nodes[node]
	if o == nil {
		o = &handover{}
		h.nodes[node] = o
	}
	o.at, o.back = now, false
	h.next = now.Add(h.wait)
}

// opened notes that a node has opened a stream, and says whether it came back.
func (h *handovers) opened(node string, now time.Time) bool {
	o := h.nodes[node]
	if o == nil || o.back || now.Sub(o.at) > comesBack {
		return false
	}
	o.back = true
	o.rest = min(max(2*o.rest, firstRest), lastRest)
	o.over = now.Add(o.rest)
	h.wait = min(2*h.wait, lastWait)
	h.next = now.Add(h.wait)
	return true
}
