package calc

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/maneki-net/maneki/typha/wire"
)

// defaultTier is the tier of Kubernetes NetworkPolicies.
const defaultTier = "default"

// policy is a policy in force.
type policy struct {
	name            string
	subject         *selector
	ingress, egress bool
	sets            []*ipSet
	nodes           map[string]int // endpoints that it selects, by node
}

func (p *policy) id() wire.ID { return wire.ID{Kind: wire.KindPolicy, Name: p.name} }

// compiled is what a policy resource says, independent of the rest of the cluster.
type compiled struct {
	subject         podSelector
	ingress, egress bool
	policy          *wire.Policy
	sets            []setSpec // that the rules name, each once
	reason          string    // what of it cannot be used
}

func (e *Engine) upsertNetworkPolicy(o *networkingv1.NetworkPolicy) {
	c := compileNetworkPolicy(o)
	e.judge(KindNetworkPolicy, o.Namespace, o.Name, c.reason)
	e.upsertPolicy(podKey{o.Namespace, o.Name}, c)
}

func (e *Engine) upsertPolicy(key podKey, c compiled) {
	p := e.policies[key]
	subject := e.acquireSelector(c.subject)
	sets := make([]*ipSet, 0, len(c.sets))
	for _, spec := range c.sets {
		sets = append(sets, e.acquireSet(spec))
	}
	if p != nil && (p.subject != subject || p.ingress != c.ingress || p.egress != c.egress) {
		e.removePolicy(p)
		p = nil
	}
	if p == nil {
		p = &policy{name: c.policy.Name, subject: subject, ingress: c.ingress, egress: c.egress, sets: sets, nodes: map[string]int{}}
		e.policies[key] = p
		subject.policies[p] = struct{}{}
		for pod := range subject.members {
			e.attach(p, pod)
		}
	} else {
		for node := range p.nodes {
			e.needSets(node, sets, 1)
			e.needSets(node, p.sets, -1)
		}
		e.releaseSelector(subject)
		e.releaseSets(p.sets)
		p.sets = sets
	}
	e.out.set(c.policy)
}

func (e *Engine) deleteNetworkPolicy(key podKey) {
	if p := e.policies[key]; p != nil {
		delete(e.policies, key)
		e.removePolicy(p)
		e.out.remove(p.id())
	}
}

func (e *Engine) removePolicy(p *policy) {
	delete(p.subject.policies, p)
	for pod := range p.subject.members {
		e.detach(p, pod)
	}
	e.releaseSelector(p.subject)
	e.releaseSets(p.sets)
}

func (e *Engine) releaseSets(sets []*ipSet) {
	for _, s := range sets {
		e.releaseSet(s)
	}
}

func (e *Engine) needSets(node string, sets []*ipSet, n int) {
	for _, s := range sets {
		e.interest.add(node, s.id(), n)
	}
}

// attach notes that a policy selects a pod. The node needs the policy from the first one on.
func (e *Engine) attach(p *policy, on *pod) {
	if on.node == "" {
		return
	}
	e.dirtyPods[on.key] = struct{}{}
	if p.nodes[on.node]++; p.nodes[on.node] == 1 {
		e.interest.add(on.node, p.id(), 1)
		e.needSets(on.node, p.sets, 1)
	}
}

func (e *Engine) detach(p *policy, on *pod) {
	if on.node == "" {
		return
	}
	e.dirtyPods[on.key] = struct{}{}
	if p.nodes[on.node]--; p.nodes[on.node] == 0 {
		delete(p.nodes, on.node)
		e.interest.add(on.node, p.id(), -1)
		e.needSets(on.node, p.sets, -1)
	}
}

// setsOf collects the sets that rules name, each once, and gives their names.
type setsOf struct{ specs []setSpec }

func (s *setsOf) add(spec setSpec) string {
	name := spec.name()
	if !slices.ContainsFunc(s.specs, func(have setSpec) bool { return have.name() == name }) {
		s.specs = append(s.specs, spec)
	}
	return name
}
