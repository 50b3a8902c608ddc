package calc

import (
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// Stats are figures of an Engine, as of its last Flush. The counts of what was done grow for ever.
type Stats struct {
	Cluster wire.Cluster
	Items   int // endpoints, network sets and nodes, which selectors may select
	// Indexed are the selectors in use that the index finds by a label or a namespace, Unindexed the others.
	Indexed, Unindexed int
	// Matched and Unmatched are how often a selector was evaluated, by the result.
	Matched, Unmatched uint64
	// FullScans and NamespaceScans are how often items were searched for those that new selectors select.
	FullScans, NamespaceScans uint64
}

// tally is what of the Stats is counted where it changes.
type tally struct {
	endpoints             [itemHost + 1]int // by kind: those that policies apply to
	profiles              int               // that have a resource
	indexed, unindexed    int
	matched, unmatched    uint64
	full, namespaceScoped uint64
}

// filed counts that a selector came under keys of the index, or went.
func (t *tally) filed(keys []indexKey, n int) {
	everywhere := func(k indexKey) bool { return k.label == "" && k.namespace == "" }
	if slices.ContainsFunc(keys, everywhere) {
		t.unindexed += n
	} else {
		t.indexed += n
	}
}

// evaluated counts that selectors were asked, of which some matched.
func (t *tally) evaluated(asked, matched int) {
	t.matched += uint64(matched)
	t.unmatched += uint64(asked - matched)
}

// count counts a profile while it has a resource.
func (t *tally) count(p *profile) {
	if exists := p.kube || p.object != nil; exists != p.counted {
		if p.counted = exists; exists {
			t.profiles++
		} else {
			t.profiles--
		}
	}
}

// Stats returns the figures. It costs little.
func (e *Engine) Stats() Stats {
	t := &e.tally
	return Stats{
		Cluster: wire.Cluster{
			Policies: e.policies.Len(), Tiers: len(e.tiers), Profiles: t.profiles,
			HostEndpoints: t.endpoints[itemHost], WorkloadEndpoints: t.endpoints[itemPod] + t.endpoints[itemWorkload],
		},
		Items: e.items.Len(), Indexed: t.indexed, Unindexed: t.unindexed,
		Matched: t.matched, Unmatched: t.unmatched, FullScans: t.full, NamespaceScans: t.namespaceScoped,
	}
}
