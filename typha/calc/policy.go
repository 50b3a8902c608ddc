package calc

import (
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// policyKinds are those that a key can have.
var policyKinds = []string{KindProfile, KindNetworkPolicy, KindClusterNetworkPolicy, KindCalicoNetworkPolicy, KindGlobalNetworkPolicy,
	KindStagedNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedKubernetesNetworkPolicy}

// policy is a policy or profile in use.
type policy struct {
	kind         uint8  // in policyKinds
	left         bool   // its namespace; see tenant
	namespaceLen uint16 // see key

	ingress, egress                bool
	doNotTrack, preDNAT, onForward bool

	needs.Policy        // its name on the wire, and the group whose nodes need it; a staged one has no group
	rules        string // encoded: there are many, and rules are large
	closed       string // likewise, as handed out if they name a Service that is too large; else empty
	tier         *tier  // nil for a profile
	order        *float64
	subject      *labelindex.Selector // nil for a profile
	sets         []*sets.Set          // of one in force
	staged       *staged              // nil for one in force
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

// key returns the resource's, whose namespace and name are what the name on the wire ends with.
func (p *policy) key() compile.Key {
	slash := strings.LastIndexByte(p.Name, '/')
	return compile.Key{Kind: policyKinds[p.kind], Namespace: p.Name[max(0, slash-int(p.namespaceLen)):slash], Name: p.Name[slash+1:]}
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
	rules := encode(says)
	if rules == allowAllRules {
		rules = allowAllRules // as in many: one copy is enough
	}
	p := &policy{kind: uint8(slices.Index(policyKinds, c.key.Kind)), namespaceLen: uint16(len(c.key.Namespace)),
		Policy: needs.Policy{Name: c.Name, Group: c.group}, rules: rules, order: c.Order, ingress: c.AppliesToIngress, egress: c.AppliesToEgress,
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
		p.tier = e.acquireTier(c.Tier)
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
	was := ""
	if before != nil && before.Name != p.Name { // the tier is part of the name
		e.out.setPolicy(before.Name, before.handedOut(), "", nil)
	} else if before != nil {
		was = before.handedOut()
	}
	e.out.setPolicy(p.Name, was, p.handedOut(), object)
	return p
}

// acquireSets has the policy use the sets that its rules name; one that is staged, what they would be made from, which
// propose has matched.
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
		e.takePolicy(p)
	}
}

// takePolicy undoes putPolicy.
func (e *Engine) takePolicy(p *policy) {
	key := p.key()
	e.problems.setOfService(Problem{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}, "")
	e.detach(p)
	if p.staged == nil {
		e.out.setPolicy(p.Name, p.handedOut(), "", nil)
	}
	e.release(p)
}

// standsWhere reports whether the policy, which is in force, applies to the same in the same place, so that rules alone
// differ.
func (p *policy) standsWhere(other *policy) bool {
	return p.staged == nil && other.staged == nil && p.Name == other.Name && p.subject == other.subject && p.Group == other.Group &&
		p.tier == other.tier && compareOrders(p.order, other.order) == 0 && p.ingress == other.ingress && p.egress == other.egress &&
		p.doNotTrack == other.doNotTrack && p.preDNAT == other.preDNAT && p.onForward == other.onForward
}

// replace puts a policy in the place of another one.
func (e *Engine) replace(before, p *policy) {
	if p.subject != nil {
		list := &useSubject(p.subject).policies
		list.Remove(before)
		list.Add(p)
	}
	e.needs.Replace(needs.Version{Policy: &before.Policy, Sets: before.neededSets}, needs.Version{Policy: &p.Policy, Sets: p.neededSets})
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

// attach has the policy apply to what it selects.
func (e *Engine) attach(p *policy) {
	if p.staged != nil {
		trials := e.staged[p.subject]
		trials.Add(p)
		e.staged[p.subject] = trials
		return
	}
	e.needs.Add(&p.Policy, p.neededSets)
	if s := p.subject; s != nil {
		useSubject(s).policies.Add(p)
		if subjectOf(s).policies.Len() == 1 {
			e.restackMembers(s)
		}
		e.dirtyStacksOf(s)
	}
}

// detach undoes attach.
func (e *Engine) detach(p *policy) {
	if p.staged != nil {
		trials := e.staged[p.subject]
		if trials.Remove(p); trials.Len() == 0 {
			delete(e.staged, p.subject)
		} else {
			e.staged[p.subject] = trials
		}
		return
	}
	e.needs.Remove(&p.Policy, p.neededSets)
	if s := p.subject; s != nil {
		subjectOf(s).policies.Remove(p)
		if !isSubject(s) {
			e.restackMembers(s)
		}
		e.dirtyStacksOf(s)
	}
}

// release gives up what the policy uses.
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
		e.releaseTier(p.tier)
	}
}

func (e *Engine) restackMembers(s *labelindex.Selector) {
	for _, g := range s.Groups() {
		e.markGroup(g)
	}
}

func (e *Engine) dirtyStacksOf(s *labelindex.Selector) {
	for _, g := range s.Groups() {
		if st := appliedTo(g).stack; st != nil {
			e.dirtyStack(st)
		}
	}
}

// tier is a tier that has a Tier, policies, or both.
type tier struct {
	compile.Tier
	name     string
	object   bool
	policies int
}

func (e *Engine) acquireTier(name string) *tier {
	t := e.tiers[name]
	if t == nil {
		t = &tier{name: name, Tier: compile.TierOf(name, nil)}
		e.tiers[name] = t
	}
	t.policies++
	return t
}

func (e *Engine) releaseTier(t *tier) {
	t.policies--
	e.dropTierIfUnused(t)
}

func (e *Engine) dropTierIfUnused(t *tier) {
	if t.policies == 0 && !t.object {
		delete(e.tiers, t.name)
	}
}

func (e *Engine) upsertTier(o *v3.Tier) {
	t := e.tiers[o.Name]
	if t == nil {
		t = &tier{name: o.Name}
		e.tiers[o.Name] = t
	}
	e.problems.set(KindTier, "", o.Name, compile.TierProblem(&o.Spec))
	e.setTier(t, &o.Spec)
}

func (e *Engine) deleteTier(name string) {
	if t := e.tiers[name]; t != nil && t.object {
		e.setTier(t, nil)
		e.dropTierIfUnused(t)
	}
}

func (e *Engine) setTier(t *tier, spec *v3.TierSpec) {
	before := t.Tier
	t.Tier, t.object = compile.TierOf(t.name, spec), spec != nil
	if before.DefaultAction == t.DefaultAction && compareOrders(before.Order, t.Order) == 0 {
		return
	}
	for st := range e.stacks.All {
		e.dirtyStack(st)
	}
}

// encode returns the canonical encoding of a policy without its name, which tells its tier.
func encode(p *wire.Policy) string {
	nameless := *p
	nameless.Name, nameless.Tier = "", ""
	data, err := wire.Encode(&nameless)
	if err != nil {
		panic(err) // the type is one that can be encoded
	}
	return string(data)
}

// allowAllRules are those of the profiles of all namespaces.
var allowAllRules = encode(&wire.Policy{Ingress: allowAll.List, Egress: allowAll.List})

// decode returns the rules again.
func (p *policy) decode() *wire.Policy {
	var out wire.Policy
	if err := wire.Decode([]byte(p.rules), &out); err != nil {
		panic(err) // encode wrote it
	}
	return &out
}
