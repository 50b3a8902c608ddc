package calc

import (
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/wire"
)

// Stats are figures of an Engine, as of its last Flush. The counts of what was done grow forever.
type Stats struct {
	Cluster wire.Cluster
	labelindex.Stats
}

// tally is what of the Stats is counted where it changes.
type tally struct {
	endpoints [labelindex.Host + 1]int // by kind: those that policies apply to
	profiles  int                      // that have a resource
}

// count counts a profile while it has a resource.
func (t *tally) count(p *profile) {
	exists := p.kube || p.object != nil
	if exists == p.counted {
		return
	}
	p.counted = exists
	if exists {
		t.profiles++
	} else {
		t.profiles--
	}
}

// Stats returns the figures. It costs little.
func (e *Engine) Stats() Stats {
	endpoints := &e.tally.endpoints
	return Stats{
		Cluster: wire.Cluster{
			Policies: e.policies.Len(), Tiers: len(e.tiers), Profiles: e.tally.profiles,
			HostEndpoints:     endpoints[labelindex.Host],
			WorkloadEndpoints: endpoints[labelindex.Pod] + endpoints[labelindex.Workload],
		},
		Stats: e.index.Stats(),
	}
}
