package calc

import (
	"slices"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// defaultStatusPeriod is that of a CalicoNodeStatus that has none, in seconds.
const defaultStatusPeriod = 10

// statusRequests are what CalicoNodeStatuses ask nodes for, by name and by the names of the nodes.
type statusRequests struct {
	named map[string]*wire.StatusRequest
	of    map[string]map[string]*wire.StatusRequest
}

func newStatusRequests() statusRequests {
	return statusRequests{named: map[string]*wire.StatusRequest{}, of: map[string]map[string]*wire.StatusRequest{}}
}

// statusRequestOf returns what a CalicoNodeStatus asks for; nil is nothing. One with a period of 0 asks until it has a
// status.
func statusRequestOf(o *v3.CalicoNodeStatus) *wire.StatusRequest {
	r := &wire.StatusRequest{Node: o.Spec.Node, PeriodSeconds: defaultStatusPeriod,
		Agent:  slices.Contains(o.Spec.Classes, v3.NodeStatusClassTypeAgent),
		BGP:    slices.Contains(o.Spec.Classes, v3.NodeStatusClassTypeBGP),
		Routes: slices.Contains(o.Spec.Classes, v3.NodeStatusClassTypeRoutes)}
	if period := o.Spec.UpdatePeriodSeconds; period != nil && *period > 0 {
		r.PeriodSeconds = *period
	} else if period != nil && !o.Status.LastUpdated.IsZero() {
		return nil
	}
	if r.Node == "" || !r.Agent && !r.BGP && !r.Routes {
		return nil
	}
	return r
}

// set takes in what a CalicoNodeStatus asks for, nil if nothing, and returns the nodes whose request changes with it.
func (s *statusRequests) set(name string, r *wire.StatusRequest) (nodes []string) {
	before := s.named[name]
	if before == nil && r == nil || before != nil && r != nil && *before == *r {
		return nil
	}
	if before != nil {
		nodes = append(nodes, before.Node)
		delete(s.named, name)
		if delete(s.of[before.Node], name); len(s.of[before.Node]) == 0 {
			delete(s.of, before.Node)
		}
	}
	if r != nil {
		nodes = append(nodes, r.Node)
		s.named[name] = r
		if s.of[r.Node] == nil {
			s.of[r.Node] = map[string]*wire.StatusRequest{}
		}
		s.of[r.Node][name] = r
	}
	return nodes
}

// to returns what a node is asked for by all together; nil is nothing.
func (s *statusRequests) to(node string) *wire.StatusRequest {
	var all *wire.StatusRequest
	for _, r := range s.of[node] {
		if all == nil {
			all = &wire.StatusRequest{Node: node, PeriodSeconds: r.PeriodSeconds}
		}
		all.Agent, all.BGP, all.Routes = all.Agent || r.Agent, all.BGP || r.BGP, all.Routes || r.Routes
		all.PeriodSeconds = min(all.PeriodSeconds, r.PeriodSeconds)
	}
	return all
}

// askForStatus takes in what a CalicoNodeStatus asks for; nil is nothing.
func (e *Engine) askForStatus(name string, r *wire.StatusRequest) {
	for _, node := range e.asks.set(name, r) {
		if all := e.asks.to(node); all != nil {
			e.setNodeObject(node, all)
		} else {
			e.removeNodeObject(node, wire.ID{Kind: wire.KindStatusRequest, Name: node})
		}
	}
}
