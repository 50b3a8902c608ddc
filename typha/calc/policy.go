package calc

import (
	"hash/maphash"
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// policyKinds are the kinds of keys.
var policyKinds = []string{KindProfile, KindNetworkPolicy, KindClusterNetworkPolicy, KindCalicoNetworkPolicy,
	KindGlobalNetworkPolicy, KindStagedNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedKubernetesNetworkPolicy}

// policies are the policies in use, but not those of profiles.
type policies struct {
	compact.Table[compile.Key, *policy]
	staged map[*labelindex.Selector]compact.Pointers[policy] // by subject
}

func newPolicies(seed maphash.Seed) policies {
	return policies{compact.NewTable(seed, (*policy).key), map[*labelindex.Selector]compact.Pointers[policy]{}}
}

// policy is a policy or profile in use.
type policy struct {
	kind         uint8  // in policyKinds
	left         bool   // its namespace; see tenant
	namespaceLen uint16 // see key

	ingress, egress                bool
	doNotTrack, preDNAT, onForward bool

	needs.Policy // its name on the wire, and the group whose nodes need it; a staged one has no group
	rules        encodedRules
	closed       encodedRules // as handed out, if they name a Service that is too large; else empty
	tier         *tier        // nil for a profile
	order        *float64
	subject      *labelindex.Selector // nil for a profile
	sets         []*sets.Set          // of an enforced policy
	staged       *staged              // nil for an enforced policy
	shut         *shut                // nil if the policy fits into the budget
	cost         compile.Cost
	members      int      // of its sets, as they are charged
	created      int64    // Unix seconds
	origins      *origins // nil if each rule comes from the rule with its own index
}

// staged is what a staged policy has instead of sets.
type staged struct {
	action    v3.StagedAction
	specs     []spec.Set
	selectors []*labelindex.Selector
}

// key returns the key of the resource. The name on the wire ends with the namespace and name of the resource.
func (p *policy) key() compile.Key {
	slash := strings.LastIndexByte(p.Name, '/')
	return compile.Key{
		Kind:      policyKinds[p.kind],
		Namespace: p.Name[max(0, slash-int(p.namespaceLen)):slash],
		Name:      p.Name[slash+1:],
	}
}

// origins are those of the rules: see compile.Rules.
type origins struct{ ingress, egress []int }

// proposal is a policy that is to be put in place.
type proposal struct {
	key compile.Key
	compile.Policy
	group *needs.Group // of a profile
	shut  *shut        // set in the closed form of a policy that does not fit
}

// offerPolicy processes a new or changed policy.
func (e *Engine) offerPolicy(key compile.Key, c compile.Policy) {
	e.problems.set(key.Kind, key.Namespace, key.Name, c.Reason)
	e.cancel(key)
	e.propose(proposal{key: key, Policy: c})
}

// setPolicy puts a policy in place.
func (e *Engine) setPolicy(c proposal) {
	before := e.policies.Get(c.key)
	if before != nil {
		e.policies.Remove(before)
		e.leave(before)
	}
	p := e.putPolicy(c, before)
	e.policies.Add(p)
	e.enter(p)
}

// putPolicy makes a policy and puts it in the place of the one before, if there is one.
func (e *Engine) putPolicy(c proposal, before *policy) *policy {
	e.progress.Add(1)
	says := c.Wire()
	p := &policy{kind: uint8(slices.Index(policyKinds, c.key.Kind)), namespaceLen: uint16(len(c.key.Namespace)),
		Policy: needs.Policy{Name: c.Name, Group: c.group}, rules: encodeRules(says), order: c.Order,
		ingress: c.AppliesToIngress, egress: c.AppliesToEgress,
		doNotTrack: c.DoNotTrack, preDNAT: c.PreDNAT, onForward: c.ApplyOnForward,
		shut: c.shut, cost: c.Cost, created: c.Created}
	if c.Ingress.Origins != nil || c.Egress.Origins != nil {
		p.origins = &origins{c.Ingress.Origins, c.Egress.Origins}
	}
	e.acquireSets(p, &c.Policy)
	object := e.closeOversized(p, says)
	if c.group == nil {
		p.subject = e.index.Acquire(c.Subject)
		e.index.Match(p.subject)
		p.tier = e.tiers.acquire(c.Tier)
		switch {
		case !c.AppliesToIngress && !c.AppliesToEgress:
			p.Group = &needs.Group{}
		case c.NeededOnEveryNode:
			p.Group = &e.needs.EveryNode
		default:
			p.Group = &useSubject(p.subject).nodes
		}
	}
	if p.staged != nil {
		p.Group = nil
	}
	switch {
	case before == nil:
		e.attach(p)
	case before.standsWhere(p):
		e.replace(before, p)
		e.release(before)
	default:
		e.detach(before)
		e.attach(p)
		e.release(before)
	}
	if p.staged != nil {
		return p
	}
	was := encodedRules("")
	if before != nil && before.Name != p.Name { // the tier is part of the name
		e.out.setPolicy(before.Name, before.handedOut(), "", nil)
	} else if before != nil {
		was = before.handedOut()
	}
	e.out.setPolicy(p.Name, was, p.handedOut(), object)
	return p
}

// acquireSets makes a policy use the sets that its rules name. A staged policy uses only the selectors of these sets.
func (e *Engine) acquireSets(p *policy, c *compile.Policy) {
	if c.Staged == "" {
		p.sets = make([]*sets.Set, len(c.Sets))
		for i, s := range c.Sets {
			p.sets[i] = e.sets.Acquire(s)
			e.sets.Publish(p.sets[i])
		}
		return
	}
	p.staged = &staged{action: c.Staged, specs: c.Sets}
	for _, s := range c.Sets {
		if s.Service == nil {
			p.staged.selectors = append(p.staged.selectors, e.index.Acquire(s.Items))
		}
	}
}

func (e *Engine) removePolicyAt(key compile.Key) {
	e.cancel(key)
	if p := e.policies.Get(key); p != nil {
		e.policies.Remove(p)
		e.leave(p)
		e.removePolicy(p)
	}
}

// removePolicy is the opposite of putPolicy.
func (e *Engine) removePolicy(p *policy) {
	key := p.key()
	e.problems.setOfService(Problem{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}, "")
	e.detach(p)
	if p.staged == nil {
		e.out.setPolicy(p.Name, p.handedOut(), "", nil)
	}
	e.release(p)
}

// standsWhere reports whether two enforced policies differ in their rules alone: they apply to the same endpoints, in
// the same place of the order.
func (p *policy) standsWhere(other *policy) bool {
	return p.staged == nil && other.staged == nil && p.Name == other.Name && p.subject == other.subject &&
		p.Group == other.Group && p.tier == other.tier && compareOrders(p.order, other.order) == 0 &&
		p.ingress == other.ingress && p.egress == other.egress &&
		p.doNotTrack == other.doNotTrack && p.preDNAT == other.preDNAT && p.onForward == other.onForward
}

// replace puts a policy in the place of another one.
func (e *Engine) replace(before, p *policy) {
	if p.subject != nil {
		list := &useSubject(p.subject).policies
		list.Remove(before)
		list.Add(p)
	}
	e.needs.Replace(needs.Version{Policy: &before.Policy, Sets: before.neededSets},
		needs.Version{Policy: &p.Policy, Sets: p.neededSets})
}

// neededSets iterates over the sets that nodes with the policy need.
func (p *policy) neededSets(yield func(*needs.Set) bool) {
	for _, s := range p.sets {
		if s.Value == nil {
			s.Value = &needs.Set{Name: s.Name}
		}
		if !yield(s.Value.(*needs.Set)) {
			return
		}
	}
}

// attach makes a policy apply to what it selects.
func (e *Engine) attach(p *policy) {
	if p.staged != nil {
		trials := e.policies.staged[p.subject]
		trials.Add(p)
		e.policies.staged[p.subject] = trials
		return
	}
	e.needs.Add(&p.Policy, p.neededSets)
	if s := p.subject; s != nil {
		useSubject(s).policies.Add(p)
		if subjectOf(s).policies.Len() == 1 {
			e.markSelected(s)
		}
		e.changeListsOf(s)
	}
}

// detach undoes attach.
func (e *Engine) detach(p *policy) {
	if p.staged != nil {
		trials := e.policies.staged[p.subject]
		trials.Remove(p)
		if trials.Len() == 0 {
			delete(e.policies.staged, p.subject)
		} else {
			e.policies.staged[p.subject] = trials
		}
		return
	}
	e.needs.Remove(&p.Policy, p.neededSets)
	if s := p.subject; s != nil {
		subjectOf(s).policies.Remove(p)
		if !isSubject(s) {
			e.markSelected(s)
		}
		e.changeListsOf(s)
	}
}

// release releases what the policy uses.
func (e *Engine) release(p *policy) {
	for _, s := range p.sets {
		e.sets.Release(s)
	}
	if p.staged != nil {
		for _, s := range p.staged.selectors {
			e.index.Release(s)
		}
	}
	if p.shut != nil {
		for _, s := range p.shut.held {
			e.index.Release(s)
		}
	}
	if p.subject != nil {
		e.index.Release(p.subject)
		e.tiers.release(p.tier)
	}
}

// markSelected has the next Flush decide again which policies apply to what a selector selects.
func (e *Engine) markSelected(s *labelindex.Selector) {
	for _, g := range s.Groups() {
		e.markGroup(g)
	}
}

// changeListsOf has the next Flush make the tiers of what a selector selects again.
func (e *Engine) changeListsOf(s *labelindex.Selector) {
	for _, g := range s.Groups() {
		if l := appliedTo(g).policies; l != nil {
			e.lists.change(l)
		}
	}
}
