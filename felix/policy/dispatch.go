package policy

import "github.com/maneki-net/maneki/felix/dataplane/filter"

// dispatch adds the dispatches that send a packet to its endpoint's chain. Their return is that of the dispatch, past
// its end, where what belongs to no endpoint is dropped.
func (t *table) dispatch(endpoints []Endpoint) {
	t.dispatchTo(chainFrom, filter.In, prefixFromWorkload, endpoints)
	t.dispatchTo(chainTo, filter.Out, prefixToWorkload, endpoints)
}

// dispatchTo adds a dispatch to the endpoints' chains, whose names begin with prefix.
func (t *table) dispatchTo(name string, direction filter.Direction, prefix string, endpoints []Endpoint) {
	d := filter.Dispatch{Table: t.name, Name: name, Direction: direction, Targets: map[string]string{},
		Default: []filter.Rule{{Action: filter.Drop{}, Comment: "Unknown interface"}}}
	for _, e := range endpoints {
		d.Targets[e.Interface] = prefix + e.Interface
	}
	t.out.Dispatches = append(t.out.Dispatches, d)
}
