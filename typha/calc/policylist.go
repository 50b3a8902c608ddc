package calc

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/wire"
)

// policyList is the policies that apply to endpoints which the same selectors select. Groups of endpoints share it, and
// the tiers made from it.
type policyList struct {
	key       string
	selectors compact.Pointers[labelindex.Selector] // each is the subject of an enforced policy
	groups    int32                                 // that have the list
	changed   bool                                  // the list is in policyLists.changed
	hash      uint64                                // of the tiers of a workload; 0 if there are none
}

// policyLists are the lists that groups have. Make it with newPolicyLists.
type policyLists struct {
	byKey compact.Table[string, *policyList]
	// tiers are those of workloads: of a list that several groups have always, of other lists until the end of a Flush.
	tiers   map[*policyList][]wire.Tier
	single  []*policyList // lists in tiers that perhaps only one group has; see trim
	changed []*policyList // lists whose tiers have to be made again
}

func newPolicyLists(seed maphash.Seed) policyLists {
	return policyLists{
		byKey: compact.NewTable(seed, func(l *policyList) string { return l.key }),
		tiers: map[*policyList][]wire.Tier{},
	}
}

// of returns the list of a group, which it makes if no other group has it. It returns nil if no policy applies to the
// group.
func (p *policyLists) of(g *labelindex.Group) *policyList {
	if !g.Kind().IsEndpoint() {
		return nil
	}
	numbers := make([]byte, 0, 64)
	for s := range g.Selectors {
		if isSubject(s) {
			numbers = binary.AppendVarint(numbers, int64(s.Number()))
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	key := string(numbers)
	l := p.byKey.Get(key)
	if l == nil {
		l = &policyList{key: key}
		for s := range g.Selectors {
			if isSubject(s) {
				l.selectors.Add(s)
			}
		}
		p.byKey.Add(l)
		p.change(l)
	}
	return l
}

// assign makes a list, or nil, that of a group whose endpoints are not counted.
func (p *policyLists) assign(a *applied, l *policyList) {
	if l != nil {
		l.groups++
	}
	before := a.policies
	a.policies = l
	if before == nil {
		return
	}
	before.groups--
	switch before.groups {
	case 0:
		p.byKey.Remove(before)
		delete(p.tiers, before)
	case 1:
		p.single = append(p.single, before)
	}
}

// change has the next Flush make the tiers of a list again.
func (p *policyLists) change(l *policyList) {
	if !l.changed {
		l.changed = true
		p.changed = append(p.changed, l)
	}
}

// changeAll has the next Flush make all tiers again.
func (p *policyLists) changeAll() {
	for l := range p.byKey.All {
		p.change(l)
	}
}

// setTiers stores the tiers of workloads with a list.
func (p *policyLists) setTiers(l *policyList, tiers []wire.Tier) {
	p.tiers[l] = tiers
	if l.groups <= 1 {
		p.single = append(p.single, l)
	}
}

// ofWorkload returns the tiers of a workload with a list, which may be nil.
func (p *policyLists) ofWorkload(l *policyList) []wire.Tier {
	if l == nil || l.hash == 0 {
		return nil
	}
	tiers, made := p.tiers[l]
	if !made {
		tiers = l.tiers(allPolicies)
		p.setTiers(l, tiers)
	}
	return tiers
}

// trim drops the tiers of lists that only one group has.
func (p *policyLists) trim() {
	for _, l := range p.single {
		if l.groups <= 1 {
			delete(p.tiers, l)
		}
	}
	p.single = emptied(p.single)
}

// policies returns the policies in the order of their evaluation. The list may be nil.
func (l *policyList) policies() []*policy {
	if l == nil {
		return nil
	}
	var list []*policy
	for s := range l.selectors.All {
		list = slices.AppendSeq(list, subjectOf(s).policies.All)
	}
	slices.SortFunc(list, comparePolicies)
	return list
}

func allPolicies(*policy) bool { return true }

// tiers returns the tiers of those policies in the list that are wanted. The list may be nil.
func (l *policyList) tiers(wanted func(*policy) bool) []wire.Tier {
	var tiers []wire.Tier
	var last *tier
	for _, p := range l.policies() {
		if !wanted(p) || !p.ingress && !p.egress {
			continue
		}
		if p.tier != last {
			tiers = append(tiers, wire.Tier{Name: p.tier.name, DefaultAction: p.tier.DefaultAction})
			last = p.tier
		}
		t := &tiers[len(tiers)-1]
		if p.ingress {
			t.Ingress = append(t.Ingress, p.Name)
		}
		if p.egress {
			t.Egress = append(t.Egress, p.Name)
		}
	}
	return tiers
}
