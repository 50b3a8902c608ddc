package calc

import (
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// A rule that names a Service with too many members cannot be used while the Service has them. It is treated like any
// other rule that cannot be used: it allows nothing, and it denies all that it may have meant. The policy keeps what it
// says, and only what is handed out differs.

// flushServices follows the Services whose numbers of members changed. If one got too many members, or no longer has
// them, the policies that name Services are handed out again.
func (e *Engine) flushServices() {
	crossed := false
	for _, c := range e.sets.TakeServiceChanges() {
		e.tenants.recount = e.tenants.recount || c.Crossed || e.charge(c.Before) != e.charge(c.Now)
		if c.Crossed {
			crossed = true
			for _, name := range e.sets.Slices(c.Service) {
				e.setSliceProblem(name, e.sets.Oversized(c.Service))
			}
		}
	}
	if !crossed {
		return
	}
	for p := range e.policies.All {
		e.handOutAgain(p)
	}
	for of := range e.eachProfile {
		if of.policy != nil {
			e.handOutAgain(of.policy)
		}
	}
}

func (e *Engine) handOutAgain(p *policy) {
	if p.closed == "" && len(e.largeServices(p)) == 0 {
		return
	}
	was, object := p.handedOut(), p.rules.decode()
	object.Name = p.Name
	if p.tier != nil {
		object.Tier = p.tier.name
	}
	object = e.closeOversized(p, object)
	if p.staged == nil && was != p.handedOut() {
		e.out.setPolicy(p.Name, was, p.handedOut(), object)
	}
}

// handedOut returns the encoded rules that nodes have.
func (p *policy) handedOut() encodedRules {
	if p.closed != "" {
		return p.closed
	}
	return p.rules
}

// closeOversized returns what is handed out of a policy with these rules, and sets the problem of the policy.
func (e *Engine) closeOversized(p *policy, says *wire.Policy) *wire.Policy {
	key, large := p.key(), e.largeServices(p)
	problem := Problem{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}
	e.problems.setOfService(problem, large.Reason(sets.MaxServiceMembers))
	p.closed = ""
	if len(large) == 0 {
		return says
	}
	closed := large.Close(says)
	p.closed = encodeRules(closed)
	return closed
}

// largeServices returns the Services that a policy names and that have too many members. It returns nil if there are
// none, as for most policies.
func (e *Engine) largeServices(p *policy) (large compile.LargeServices) {
	add := func(s *spec.Content) {
		if s.Service == nil || !e.sets.Oversized(*s.Service) {
			return
		}
		if large == nil {
			large = compile.LargeServices{}
		}
		large[s.Name] = *s.Service
	}
	for _, s := range p.sets {
		add(&s.Content)
	}
	if p.staged != nil {
		for i := range p.staged.specs {
			add(&p.staged.specs[i].Content)
		}
	}
	return large
}
