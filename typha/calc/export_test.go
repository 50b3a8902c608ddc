package calc

// Residue counts everything that an Engine remembers.
func (e *Engine) Residue() map[string]int {
	a := e.addresses
	counts := map[string]int{
		"current": len(e.out.current), "pending": len(e.out.pending),
		"interest": len(e.interest.nodes), "verdicts": len(e.judged),
		"namespaces": len(e.namespaces), "selectors": len(e.selectors), "index": len(e.index), "sets": len(e.sets),
		"policies": len(e.policies), "profiles": len(e.profiles), "pools": len(e.pools), "blocks": len(e.blocks), "hosts": len(e.hosts),
		"attributed": len(a.attributed), "byPod": len(a.byPod), "claims": len(a.claims), "owners": len(a.owners),
		"covers": len(a.blocks), "lengths": len(a.lengths),
		"configurations": len(e.bgp.configurations), "peers": len(e.bgp.peers),
	}
	for k, n := range counts {
		if n == 0 {
			delete(counts, k)
		}
	}
	return counts
}
