package calc

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// tenants are the namespaces with policies, and how much of their budgets they use. Each Flush decides which policies
// fit, from the state at that time: the order in which the state arrived does not matter.
type tenants struct {
	byName map[string]*tenant
	// unmeasured are the policies whose members are not counted yet.
	unmeasured map[*policy]struct{}
	// resized are the selectors whose members count differently than before; their policies are measured again.
	resized map[*labelindex.Selector]struct{}
	// counted are the policies whose members those of a selector are. None is empty.
	counted map[*labelindex.Selector]*compact.Pointers[policy]
	// recount is set when the members of some service count differently than before: all policies are measured again.
	recount bool
	dirty   map[*tenant]struct{} // tenants to decide on again
	// leastCharge is the constant, except in tests.
	leastCharge int
}

func newTenants() tenants {
	return tenants{leastCharge: leastCharge, byName: map[string]*tenant{}, unmeasured: map[*policy]struct{}{},
		resized: map[*labelindex.Selector]struct{}{},
		counted: map[*labelindex.Selector]*compact.Pointers[policy]{}, dirty: map[*tenant]struct{}{}}
}

// tenant is a namespace with policies. The tenant with an empty name has the policies without a namespace.
type tenant struct {
	name     string
	policies compact.Pointers[policy]
	cost     compile.Cost // the sum over its policies; a set that several of them name counts several times
	members  int          // likewise
	shut     int          // number of policies that are shut
	line     []*job       // see backlog
	// aged are the policies by age, including some that have left. late are those that are not in aged yet. Both are
	// nil until the first decision on the tenant, and while no policy is shut.
	aged, late []*policy
}

// byAge returns the policies, the older ones first. The caller must not modify the result.
func (t *tenant) byAge() []*policy {
	if t.aged == nil {
		t.aged = slices.SortedFunc(t.policies.All, comparePolicyAges)
		return t.aged
	}
	before := slices.DeleteFunc(t.aged, func(p *policy) bool { return p.left })
	late := slices.DeleteFunc(t.late, func(p *policy) bool { return p.left })
	t.aged, t.late = merged(before, late, comparePolicyAges), nil
	return t.aged
}

// merged returns a sorted list with more values added. It compares only few values of the list.
func merged[T any](sorted, more []T, compare func(a, b T) int) []T {
	slices.SortFunc(more, compare)
	out := make([]T, 0, len(sorted)+len(more))
	for _, x := range more {
		i, _ := slices.BinarySearchFunc(sorted, x, compare)
		out, sorted = append(append(out, sorted[:i]...), x), sorted[i:]
	}
	return append(out, sorted...)
}

// shut is the part of a policy that does not fit into its namespace's budget. The policy is opened when it fits again.
type shut struct {
	policy compile.Policy
	why    fitting // the reason in its Problem; zero before there is one
	// held are the selectors of the policy's sets, if it is their members that do not fit.
	held []*labelindex.Selector
}

func (e *Engine) tenant(name string) *tenant {
	t := e.tenants.byName[name]
	if t == nil {
		t = &tenant{name: name}
		e.tenants.byName[name] = t
	}
	return t
}

func (e *Engine) dropTenantIfUnused(t *tenant) {
	if t.policies.Len() == 0 && len(t.line) == 0 {
		delete(e.tenants.byName, t.name)
		delete(e.tenants.dirty, t)
	}
}

// enter adds a policy to the sums of its namespace.
func (e *Engine) enter(p *policy) {
	t := e.tenant(p.key().Namespace)
	t.policies.Add(p)
	t.cost.Rules, t.cost.Sets = t.cost.Rules+p.cost.Rules, t.cost.Sets+p.cost.Sets
	t.shut += oneIf(p.shut != nil)
	e.tenants.unmeasured[p] = struct{}{}
	for _, s := range p.counts() {
		by := e.tenants.counted[s]
		if by == nil {
			by = &compact.Pointers[policy]{}
			e.tenants.counted[s] = by
		}
		by.Add(p)
	}
	if t.aged != nil {
		t.late = append(t.late, p)
	}
}

// leave reverses enter.
func (e *Engine) leave(p *policy) {
	t := e.tenant(p.key().Namespace)
	t.policies.Remove(p)
	t.cost.Rules, t.cost.Sets, t.members = t.cost.Rules-p.cost.Rules, t.cost.Sets-p.cost.Sets, t.members-p.members
	t.shut -= oneIf(p.shut != nil)
	for _, s := range p.counts() {
		by := e.tenants.counted[s]
		by.Remove(p)
		if by.Len() == 0 {
			delete(e.tenants.counted, s)
		}
	}
	p.left = true
	delete(e.tenants.unmeasured, p)
	if t.shut > 0 {
		e.tenants.dirty[t] = struct{}{} // others may fit now
	} else {
		t.aged, t.late = nil, nil
	}
	e.dropTenantIfUnused(t)
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// fitPolicies decides again which policies fit, for the namespaces where that may have changed. It reports whether it
// changed.
func (e *Engine) fitPolicies() bool {
	t := &e.tenants
	if t.recount {
		t.recount = false
		for _, tenant := range t.byName {
			for p := range tenant.policies.All {
				e.measure(tenant, p)
			}
		}
	}
	for s := range t.resized {
		if policies := t.counted[s]; policies != nil {
			for p := range policies.All {
				t.unmeasured[p] = struct{}{}
			}
		}
	}
	clear(t.resized)
	for p := range t.unmeasured {
		e.measure(e.tenant(p.key().Namespace), p)
	}
	clear(t.unmeasured)
	changed := false
	for tenant := range t.dirty {
		delete(t.dirty, tenant)
		changed = e.fitPoliciesOf(tenant) || changed
	}
	return changed
}

// measure counts the members of a policy's sets again.
func (e *Engine) measure(t *tenant, p *policy) {
	e.progress.Add(1)
	n := 0
	for _, s := range p.sets {
		n += e.charge(e.sets.Size(s))
	}
	for _, s := range p.trialSpecs() {
		size, _ := e.sets.SizeOf(&s)
		n += e.charge(size)
	}
	t.members += n - p.members
	p.members = n
	limit := e.limits(t)
	if n > e.budget.PolicyMembers || t.shut > 0 ||
		t.cost.Rules > limit.rules || t.cost.Sets > limit.sets || t.members > limit.members {
		e.tenants.dirty[t] = struct{}{}
	}
}

// counts returns the selectors whose members measure counts, each once.
func (p *policy) counts() []*labelindex.Selector {
	var list []*labelindex.Selector
	for _, s := range p.sets {
		if selector := s.Selector(); selector != nil {
			list = append(list, selector)
		}
	}
	if p.staged != nil {
		list = append(list, p.staged.selectors...)
	}
	if p.shut != nil {
		list = append(list, p.shut.held...)
	}
	slices.SortFunc(list, func(a, b *labelindex.Selector) int { return int(a.Number() - b.Number()) })
	return slices.Compact(list)
}

// trialSpecs returns the sets that a shut or staged policy would use. It returns nil for other policies, and for a shut
// policy whose selectors are not held.
func (p *policy) trialSpecs() []spec.Set {
	switch {
	case p.shut != nil && p.shut.held == nil:
		return nil
	case p.shut != nil:
		return p.shut.policy.Sets
	case p.staged != nil:
		return p.staged.specs
	}
	return nil
}

// specs returns the sets that a policy names, or would name if it fitted.
func (p *policy) specs() []spec.Set {
	switch {
	case p.shut != nil:
		return p.shut.policy.Sets
	case p.staged != nil:
		return p.staged.specs
	}
	specs := make([]spec.Set, len(p.sets))
	for i, s := range p.sets {
		specs[i] = s.Spec()
	}
	return specs
}

// limits are what the policies of a namespace may use together.
type limits struct{ rules, sets, members int }

func (e *Engine) limits(t *tenant) limits {
	if t.name == "" {
		return limits{math.MaxInt, math.MaxInt, math.MaxInt}
	}
	return limits{e.budget.NamespaceRules, e.budget.NamespaceSets, e.budget.NamespaceMembers}
}

// fitPoliciesOf decides which policies of a namespace fit, the older ones first. It reports whether that changed.
func (e *Engine) fitPoliciesOf(t *tenant) bool {
	left, changed := e.limits(t), false
	seen := map[string]struct{}{}
	for _, p := range t.byAge() {
		if p.cost == (compile.Cost{}) {
			continue // it needs nothing: it has no rules, or is closed for a reason of its own
		}
		f := e.fit(t, p, &left, seen)
		changed = e.setShut(t, p, f) || changed
	}
	if t.shut == 0 {
		t.aged, t.late = nil, nil
	}
	return changed
}

// fitting is the decision whether a policy fits.
type fitting struct {
	setting string // the setting that it exceeds; empty if it fits
	what    string // what it has too much of
	limit   int
	members int // of its sets, if they are too many for one policy
	// hold is set if the members of its sets have to be known although the policy is shut.
	hold bool
}

// reason returns why a policy of the namespace does not fit.
func (f *fitting) reason(t *tenant) string {
	if f.members > 0 {
		return fmt.Sprintf("spec: the sets that the rules name have %d members, and those of one policy may have %d "+
			"(%s); "+
			"have the selectors select less", f.members, f.limit, f.setting)
	}
	return fmt.Sprintf("the older policies of namespace %s leave less than this one takes of the %d %s that they "+
		"may have "+
		"together (%s); remove policies, or have their selectors select the same", t.name, f.limit, f.what, f.setting)
}

// fit decides whether a policy fits into what is left, and subtracts from that what the policy needs.
func (e *Engine) fit(t *tenant, p *policy, left *limits, seen map[string]struct{}) fitting {
	specs, limit := p.specs(), e.limits(t)
	sets := 0
	for i := range specs {
		if _, is := seen[specs[i].Name]; !is {
			sets += compile.SetCost(&specs[i])
		}
	}
	switch {
	case p.cost.Rules > left.rules:
		return fitting{setting: "NamespaceMaxRules", what: "rules", limit: limit.rules}
	case sets > left.sets:
		return fitting{setting: "NamespaceMaxSets", what: "sets", limit: limit.sets}
	}
	left.rules, left.sets = left.rules-p.cost.Rules, left.sets-sets
	all, more := 0, 0
	for i := range specs {
		size, known := e.sets.SizeOf(&specs[i])
		if !known {
			return fitting{}
		}
		all += e.charge(size)
		if !has(seen, specs[i].Name) {
			more += e.charge(size)
		}
		seen[specs[i].Name] = struct{}{}
	}
	switch {
	case all > e.budget.PolicyMembers:
		return fitting{setting: "PolicyMaxMembers", limit: e.budget.PolicyMembers, members: all, hold: true}
	case more > left.members:
		return fitting{setting: "NamespaceMaxMembers", what: "members of sets", limit: limit.members, hold: true}
	}
	left.members -= more
	return fitting{}
}

func has(set map[string]struct{}, name string) bool {
	_, is := set[name]
	return is
}

// setShut closes a policy that does not fit, or opens one that does. It reports whether anything changed.
func (e *Engine) setShut(t *tenant, p *policy, f fitting) bool {
	if p.shut == nil && f.setting == "" || p.shut != nil && p.shut.why == f {
		return false
	}
	key := p.key()
	if e.backlog.jobs[key] != nil { // a job's policy is decided on when it is in place
		return false
	}
	c := e.compiledOf(p)
	if f.setting == "" {
		e.problems.set(key.Kind, key.Namespace, key.Name, c.Reason)
		return e.propose(proposal{key: key, Policy: c})
	}
	reason := f.reason(t) + "; until then " + c.ClosedEffect()
	if c.Reason != "" {
		reason = c.Reason + "; " + reason
	}
	e.problems.set(key.Kind, key.Namespace, key.Name, reason)
	if p.shut != nil && (p.shut.held != nil) == f.hold {
		p.shut.why = f
		return false
	}
	e.putShut(key, c, f)
	return true
}

// putShut puts the closed form of a policy in place.
func (e *Engine) putShut(key compile.Key, c compile.Policy, why fitting) {
	closed := proposal{key: key, Policy: c.Closed(), shut: &shut{policy: c, why: why}}
	if why.hold {
		closed.shut.held = e.hold(c.Sets)
	}
	e.setPolicy(closed)
}

// hold acquires the selectors of sets.
func (e *Engine) hold(sets []spec.Set) []*labelindex.Selector {
	held := make([]*labelindex.Selector, 0, len(sets))
	for i := range sets {
		if sets[i].Service == nil {
			s := e.index.Acquire(sets[i].Items)
			e.index.Match(s)
			held = append(held, s)
		}
	}
	return held
}

// compiledOf returns what a policy was made from.
func (e *Engine) compiledOf(p *policy) compile.Policy {
	if p.shut != nil {
		return p.shut.policy
	}
	key, rules := p.key(), p.rules.decode()
	c := compile.Policy{
		Name: p.Name, Tier: p.tier.name, Order: p.order, Subject: p.subject.Spec(),
		Ingress: compile.Rules{List: rules.Ingress}, Egress: compile.Rules{List: rules.Egress},
		AppliesToIngress: p.ingress, AppliesToEgress: p.egress,
		DoNotTrack: p.doNotTrack, PreDNAT: p.preDNAT, ApplyOnForward: p.onForward,
		NeededOnEveryNode: p.Group == &e.needs.EveryNode,
		Sets:              p.specs(), Created: p.created, Cost: p.cost,
		Reason: e.problems.reasons[Problem{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}],
	}
	if p.origins != nil {
		c.Ingress.Origins, c.Egress.Origins = p.origins.ingress, p.origins.egress
	}
	if p.staged != nil {
		c.Staged = p.staged.action
	}
	return c
}

// leastCharge is the smallest number that the members of a set count as.
const leastCharge = 64

// charge returns the number that the members of a set count as in a budget.
func (e *Engine) charge(members int) int {
	if members <= e.tenants.leastCharge {
		return e.tenants.leastCharge
	}
	return 1 << bits.Len(uint(members-1))
}

// comparePolicyAges orders policies by age, the older ones first.
func comparePolicyAges(a, b *policy) int {
	x, y := a.key(), b.key()
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name))
}
