package calc

import (
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// policyKey names a policy resource, or a profile.
type policyKey struct{ kind, namespace, name string }

// policyKinds are those that a policyKey can have.
var policyKinds = []string{KindProfile, KindNetworkPolicy, KindClusterNetworkPolicy, KindCalicoNetworkPolicy, KindGlobalNetworkPolicy,
	KindStagedNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedKubernetesNetworkPolicy}

// policy is a policy or profile in use.
type policy struct {
	kind         uint8  // in policyKinds
	left         bool   // its namespace; see tenant
	namespaceLen uint16 // see key

	ingress, egress                bool
	doNotTrack, preDNAT, onForward bool

	name    string // on the wire
	rules   string // encoded: there are many, and rules are large
	closed  string // likewise, as handed out if they name a Service that is too large; else empty
	tier    *tier  // nil for a profile
	order   *float64
	subject *selector // nil for a profile
	group   *group    // whose nodes need it; of no node for one without a direction; nil for a staged one
	sets    []*ipSet  // of one in force
	staged  *staged   // nil for one in force
	shut    *shut     // nil if the policy fits into the budget
	cost    cost
	members int      // of its sets, as they are charged
	created int64    // Unix seconds
	origins *origins // nil if each rule comes from the one with the same index
}

// staged is what a staged policy has instead of sets.
type staged struct {
	action    v3.StagedAction
	specs     []spec.Set
	selectors []*selector
}

// key returns the resource's, whose namespace and name are what the name on the wire ends with.
func (p *policy) key() policyKey {
	slash := strings.LastIndexByte(p.name, '/')
	return policyKey{policyKinds[p.kind], p.name[max(0, slash-int(p.namespaceLen)):slash], p.name[slash+1:]}
}

func (p *policy) id() wire.ID { return wire.ID{Kind: wire.KindPolicy, Name: p.name} }

// origins say which rule of the resource a wire rule comes from. A nil list is the one with the same index.
type origins struct{ ingress, egress []int }

// compiled is what a policy resource says, independent of the rest of the cluster.
type compiled struct {
	policy  *wire.Policy
	subject spec.Selector
	order   *float64

	ingress, egress                bool
	doNotTrack, preDNAT, onForward bool
	everywhere                     bool
	staged                         v3.StagedAction

	sets    []spec.Set // that the rules name, each once
	origins origins
	group   *group // of a profile
	reason  string // what of it cannot be used
	over    string // why it exceeds the limits of a single policy; part of the reason
	cost    cost
	created int64 // Unix seconds
	shut    *shut // set in the closed form of a policy that does not fit
}

// add appends what comes of one rule of the resource.
func (c *compiled) add(ingress bool, index int, rules ...wire.Rule) {
	list, from := &c.policy.Egress, &c.origins.egress
	if ingress {
		list, from = &c.policy.Ingress, &c.origins.ingress
	}
	for _, r := range rules {
		if *from != nil || len(*list) != index {
			for len(*from) < len(*list) {
				*from = append(*from, len(*from))
			}
			*from = append(*from, index)
		}
		*list = append(*list, r)
	}
}

// denyAll has the policy deny all instead of what its rules say.
func (c *compiled) denyAll() {
	c.policy.Ingress, c.policy.Egress, c.sets, c.origins = denyAll, denyAll, nil, origins{}
}

// offerPolicy processes a new or changed policy.
func (e *Engine) offerPolicy(key policyKey, c compiled) {
	e.problems.set(key.kind, key.namespace, key.name, c.reason)
	e.cancel(key)
	e.propose(key, c)
}

// setPolicy puts a policy in place.
func (e *Engine) setPolicy(key policyKey, c compiled) {
	before := e.policies.Get(key)
	if before != nil {
		e.policies.Remove(before)
		e.leave(before)
	}
	p := e.putPolicy(key, c, before)
	e.policies.Add(p)
	e.enter(p)
}

// putPolicy makes a policy and puts it in the place of the one before, if there is one.
func (e *Engine) putPolicy(key policyKey, c compiled, before *policy) *policy {
	e.progress.Add(1)
	rules := encode(c.policy)
	if rules == allowAllRules {
		rules = allowAllRules // as in many: one copy is enough
	}
	p := &policy{kind: uint8(slices.Index(policyKinds, key.kind)), namespaceLen: uint16(len(key.namespace)),
		name: c.policy.Name, rules: rules, order: c.order, ingress: c.ingress, egress: c.egress,
		doNotTrack: c.doNotTrack, preDNAT: c.preDNAT, onForward: c.onForward, group: c.group,
		shut: c.shut, cost: c.cost, created: c.created}
	if c.origins.ingress != nil || c.origins.egress != nil {
		from := c.origins
		p.origins = &from
	}
	e.acquireSets(p, &c)
	object := e.closeOversized(p, c.policy)
	if c.group == nil {
		p.subject = e.acquireSelector(c.subject)
		p.tier = e.acquireTier(c.policy.Tier)
		switch {
		case !c.ingress && !c.egress:
			p.group = &group{}
		case c.everywhere:
			p.group = &e.everywhere
		default:
			p.group = &p.subject.group
		}
	}
	if p.staged != nil {
		p.group = nil
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
	if before != nil && before.name != p.name { // the tier is part of the name
		e.out.setPolicy(before.name, before.handedOut(), "", nil)
	} else if before != nil {
		was = before.handedOut()
	}
	e.out.setPolicy(p.name, was, p.handedOut(), object)
	return p
}

// acquireSets has the policy use the sets that its rules name; one that is staged, what they would be made from, which
// propose has matched.
func (e *Engine) acquireSets(p *policy, c *compiled) {
	if c.staged == "" {
		p.sets = make([]*ipSet, len(c.sets))
		for i, s := range c.sets {
			p.sets[i] = e.acquireSet(s)
		}
		return
	}
	p.staged = &staged{action: c.staged, specs: c.sets}
	for _, s := range c.sets {
		if s.Service == nil {
			p.staged.selectors = append(p.staged.selectors, e.acquireUnasked(s.Items))
		}
	}
}

func (e *Engine) removePolicyAt(key policyKey) {
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
	e.problems.setOfService(Problem{Kind: key.kind, Namespace: key.namespace, Name: key.name}, "")
	e.detach(p)
	if p.staged == nil {
		e.out.setPolicy(p.name, p.handedOut(), "", nil)
	}
	e.release(p)
}

// standsWhere reports whether the policy, which is in force, applies to the same in the same place, so that rules alone
// differ.
func (p *policy) standsWhere(other *policy) bool {
	return p.staged == nil && other.staged == nil && p.name == other.name && p.subject == other.subject && p.group == other.group &&
		p.tier == other.tier && compareOrders(p.order, other.order) == 0 && p.ingress == other.ingress && p.egress == other.egress &&
		p.doNotTrack == other.doNotTrack && p.preDNAT == other.preDNAT && p.onForward == other.onForward
}

// groups returns those that a policy in force is in: that of its subject, and the one whose nodes need it.
func (p *policy) groups() []*group {
	if p.subject == nil || p.group == &p.subject.group {
		return []*group{p.group}
	}
	return []*group{p.group, &p.subject.group}
}

// replace puts a policy in another's place.
func (e *Engine) replace(before, p *policy) {
	e.recent[p.name] = p
	for _, g := range p.groups() {
		g.policies.Remove(before)
		g.policies.Add(p)
	}
	for _, s := range p.sets {
		e.useSet(p.group, s, true)
	}
	for _, s := range before.sets {
		e.useSet(p.group, s, false)
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
	e.recent[p.name] = p
	for _, g := range p.groups() {
		g.policies.Add(p)
	}
	e.join(p, true)
	if s := p.subject; s != nil {
		if s.policies.Len() == 1 {
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
	e.recent[p.name] = nil
	for _, g := range p.groups() {
		g.policies.Remove(p)
	}
	e.join(p, false)
	if s := p.subject; s != nil {
		if s.policies.Len() == 0 {
			e.restackMembers(s)
		}
		e.dirtyStacksOf(s)
	}
}

// release gives up what the policy uses.
func (e *Engine) release(p *policy) {
	for _, s := range p.sets {
		e.releaseSet(s)
	}
	if p.staged != nil {
		for _, s := range p.staged.selectors {
			e.releaseSelector(s)
		}
	}
	if p.shut != nil {
		for _, s := range p.shut.held {
			e.releaseSelector(s)
		}
	}
	if p.subject != nil {
		e.releaseSelector(p.subject)
		e.releaseTier(p.tier)
	}
}

func (e *Engine) restackMembers(s *selector) {
	for _, c := range s.members {
		e.markClass(c, dirtyStack)
	}
}

func (e *Engine) dirtyStacksOf(s *selector) {
	for _, c := range s.members {
		if c.stack != nil {
			e.dirtyStack(c.stack)
		}
	}
}

// tier is a tier that has a Tier, policies, or both.
type tier struct {
	name          string
	object        bool
	order         *float64 // nil is last
	defaultAction wire.Action
	policies      int
}

func (e *Engine) acquireTier(name string) *tier {
	t := e.tiers[name]
	if t == nil {
		t = &tier{name: name}
		t.set(nil)
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

// set takes in what a Tier says, or with nil that there is none. The tiers of Kubernetes and the default one exist
// without. A policy in any other that does not exist counts as in a last one: what it denies stays denied.
func (t *tier) set(spec *v3.TierSpec) {
	t.object = spec != nil
	says := v3.TierSpec{}
	if spec != nil {
		says = *spec
	}
	for _, builtIn := range v3.BuiltInTiers() {
		if builtIn.Name == t.name {
			says = builtIn.Spec // whatever a Tier says: Kubernetes has it so
		}
	}
	t.order, t.defaultAction = says.Order, wire.Deny
	if says.DefaultAction != nil && *says.DefaultAction == v3.Pass {
		t.defaultAction = wire.Pass
	}
}

func (e *Engine) upsertTier(o *v3.Tier) {
	t := e.tiers[o.Name]
	if t == nil {
		t = &tier{name: o.Name}
		e.tiers[o.Name] = t
	}
	reason := ""
	if a := o.Spec.DefaultAction; a != nil && *a != v3.Deny && *a != v3.Pass {
		reason = "spec.defaultAction: " + string(*a) + " is none of Deny, Pass; it is taken for Deny"
	}
	e.problems.set(KindTier, "", o.Name, reason)
	e.setTier(t, &o.Spec)
}

func (e *Engine) deleteTier(name string) {
	if t := e.tiers[name]; t != nil && t.object {
		e.setTier(t, nil)
		e.dropTierIfUnused(t)
	}
}

func (e *Engine) setTier(t *tier, spec *v3.TierSpec) {
	before := *t
	t.set(spec)
	if before.defaultAction == t.defaultAction && compareOrders(before.order, t.order) == 0 {
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
var allowAllRules = encode(&wire.Policy{Ingress: allowAll, Egress: allowAll})

// decode returns the rules again.
func (p *policy) decode() *wire.Policy {
	var out wire.Policy
	if err := wire.Decode([]byte(p.rules), &out); err != nil {
		panic(err) // encode wrote it
	}
	return &out
}

// setsOf collects the sets that rules name, each once, and gives their names.
type setsOf struct {
	specs []spec.Set
	names map[spec.SetKey]string
}

func (s *setsOf) add(set spec.Set) string {
	key := set.Key()
	if name, known := s.names[key]; known {
		return name
	}
	if s.names == nil {
		s.names = map[spec.SetKey]string{}
	}
	set.Name = set.Hash()
	s.specs, s.names[key] = append(s.specs, set), set.Name
	return set.Name
}

// cut removes all but the first n.
func (s *setsOf) cut(n int) {
	for i := range s.specs[n:] {
		delete(s.names, s.specs[n+i].Key())
	}
	s.specs = s.specs[:n]
}
