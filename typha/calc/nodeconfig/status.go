package nodeconfig

import (
	"slices"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// defaultStatusPeriod is that of a CalicoNodeStatus that has none, in seconds.
const defaultStatusPeriod = 10

// requests are what CalicoNodeStatuses ask of nodes, by their names and by the names of the nodes.
type requests struct {
	named map[string]*wire.StatusRequest
	of    map[string]map[string]*wire.StatusRequest
}

func newRequests() requests {
	return requests{named: map[string]*wire.StatusRequest{}, of: map[string]map[string]*wire.StatusRequest{}}
}

// SetStatus adds or changes a CalicoNodeStatus.
func (n *Nodes) SetStatus(o *v3.CalicoNodeStatus) { n.requestChanged(o.Name, requestOf(o)) }

// DeleteStatus removes a CalicoNodeStatus.
func (n *Nodes) DeleteStatus(name string) { n.requestChanged(name, nil) }

func (n *Nodes) requestChanged(name string, r *wire.StatusRequest) {
	for _, node := range n.requests.set(name, r) {
		n.changedRequests[node] = struct{}{}
	}
}

// requestOf returns what a CalicoNodeStatus asks for; nil is nothing. One with a period of 0 asks until it has a
// status.
func requestOf(o *v3.CalicoNodeStatus) *wire.StatusRequest {
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

// set stores what a CalicoNodeStatus asks for; nil is nothing. It returns the nodes of which something else is asked
// now.
func (s *requests) set(name string, r *wire.StatusRequest) (nodes []string) {
	before := s.named[name]
	if before == nil && r == nil || before != nil && r != nil && *before == *r {
		return nil
	}
	if before != nil {
		nodes = append(nodes, before.Node)
		delete(s.named, name)
		delete(s.of[before.Node], name)
		if len(s.of[before.Node]) == 0 {
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

// to returns what all CalicoNodeStatuses together ask of a node; nil is nothing.
func (s *requests) to(node string) *wire.StatusRequest {
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
