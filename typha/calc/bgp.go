package calc

import (
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// upsertBGPPeer passes a BGPPeer on. What is wrong with one that can be used is known at the next Flush.
func (e *Engine) upsertBGPPeer(o *v3.BGPPeer) {
	if err := e.bgp.SetPeer(o); err != nil {
		e.problems.set(KindBGPPeer, "", o.Name, err.Error())
	}
}

// flushBGP outputs the BGP configurations of nodes that changed, and the ports that other nodes have to know.
func (e *Engine) flushBGP() {
	changes := e.bgp.Flush()
	for node, port := range changes.Ports {
		h := *e.hosts[node]
		h.BGPPort = port
		e.hosts[node] = &h
		e.out.set(&h)
	}
	for peer, reason := range changes.Problems {
		e.problems.set(KindBGPPeer, "", peer, reason)
	}
	for node, object := range changes.Objects {
		if object != nil {
			e.setNodeObject(node, object)
		} else {
			e.removeNodeObject(node, wire.ID{Kind: wire.KindBGP, Name: node})
		}
	}
}

// errorText returns the text of an error, which is empty for nil.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
