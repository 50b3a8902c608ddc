package calc

import (
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
)

// tier is a tier that has a Tier, policies, or both.
type tier struct {
	compile.Tier
	name     string
	object   bool // there is a Tier
	policies int
}

// tiers are the tiers by name.
type tiers map[string]*tier

// acquire returns a tier for a policy, which releases it after use.
func (t tiers) acquire(name string) *tier {
	if t[name] == nil {
		t[name] = &tier{name: name, Tier: compile.TierOf(name, nil)}
	}
	t[name].policies++
	return t[name]
}

func (t tiers) release(used *tier) {
	used.policies--
	t.dropIfUnused(used)
}

func (t tiers) dropIfUnused(of *tier) {
	if of.policies == 0 && !of.object {
		delete(t, of.name)
	}
}

// set replaces the Tier of a name; nil is none. It reports whether the order or the end of the tier changed.
func (t tiers) set(name string, resource *v3.TierSpec) bool {
	of := t[name]
	if of == nil {
		if resource == nil {
			return false
		}
		of = &tier{name: name, Tier: compile.TierOf(name, nil)}
		t[name] = of
	}
	before := of.Tier
	of.Tier, of.object = compile.TierOf(name, resource), resource != nil
	t.dropIfUnused(of)
	return before.DefaultAction != of.DefaultAction || compareOrders(before.Order, of.Order) != 0
}

func (e *Engine) upsertTier(o *v3.Tier) {
	e.problems.set(KindTier, "", o.Name, compile.TierProblem(&o.Spec))
	e.setTier(o.Name, &o.Spec)
}

// setTier replaces the Tier of a name; nil is none.
func (e *Engine) setTier(name string, resource *v3.TierSpec) {
	if e.tiers.set(name, resource) {
		e.lists.changeAll()
	}
}
