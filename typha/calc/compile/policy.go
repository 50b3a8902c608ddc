package compile

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// The kinds of resources that give policies.
const (
	KindNetworkPolicy                 = "NetworkPolicy.networking.k8s.io"
	KindClusterNetworkPolicy          = "ClusterNetworkPolicy.policy.networking.k8s.io"
	KindCalicoNetworkPolicy           = "NetworkPolicy.projectcalico.org"
	KindGlobalNetworkPolicy           = "GlobalNetworkPolicy.projectcalico.org"
	KindStagedNetworkPolicy           = "StagedNetworkPolicy.projectcalico.org"
	KindStagedGlobalNetworkPolicy     = "StagedGlobalNetworkPolicy.projectcalico.org"
	KindStagedKubernetesNetworkPolicy = "StagedKubernetesNetworkPolicy.projectcalico.org"
	KindProfile                       = "Profile.projectcalico.org"
)

// Key names a resource that gives a policy.
type Key struct{ Kind, Namespace, Name string }

// Policy is what a policy resource says, independent of the rest of the cluster.
type Policy struct {
	Name    string // on the wire
	Tier    string // empty for a profile
	Order   *float64
	Subject spec.Selector // the endpoints that the policy applies to; zero for a profile

	// Ingress and Egress are the rules. A direction without rules may still be one that the policy applies to.
	Ingress, Egress Rules
	// AppliesToIngress and AppliesToEgress say which directions of its subject the policy decides.
	AppliesToIngress, AppliesToEgress bool

	DoNotTrack, PreDNAT, ApplyOnForward bool
	// NeededOnEveryNode says that every node gets the policy, whether the policy selects an endpoint there or not.
	NeededOnEveryNode bool
	// Staged is the action of a staged policy, and empty for a policy that is enforced.
	Staged v3.StagedAction

	Sets []spec.Set // that the rules name, each once
	// Reason says what of the policy cannot be used. It is empty for a policy that can be used as a whole.
	Reason  string
	Cost    Cost
	Created int64 // Unix seconds
}

// Rules are the rules of one direction, in the order of their evaluation.
type Rules struct {
	List []wire.Rule
	// Origins holds, for each rule of List, the index of the resource's rule that it comes from. It is nil if each
	// comes from the rule with its own index.
	Origins []int
}

// Origin returns the index of the resource's rule that a rule comes from.
func (r *Rules) Origin(i int) int {
	if r.Origins == nil {
		return i
	}
	return r.Origins[i]
}

// add appends what comes from one rule of the resource.
func (r *Rules) add(origin int, rules ...wire.Rule) {
	for _, rule := range rules {
		if r.Origins != nil || len(r.List) != origin {
			for len(r.Origins) < len(r.List) {
				r.Origins = append(r.Origins, len(r.Origins))
			}
			r.Origins = append(r.Origins, origin)
		}
		r.List = append(r.List, rule)
	}
}

// direction returns the rules of ingress or of egress.
func (p *Policy) direction(ingress bool) *Rules {
	if ingress {
		return &p.Ingress
	}
	return &p.Egress
}

// Wire returns the policy as nodes receive it.
func (p *Policy) Wire() *wire.Policy {
	return &wire.Policy{Name: p.Name, Tier: p.Tier, Ingress: p.Ingress.List, Egress: p.Egress.List}
}

var denyAll = []wire.Rule{{Action: wire.Deny}}

// denyAll replaces the rules by one that denies everything.
func (p *Policy) denyAll() {
	p.Ingress, p.Egress, p.Sets = Rules{List: denyAll}, Rules{List: denyAll}, nil
}

// ClosedEffect returns what Closed makes of the policy, for a message.
func (p *Policy) ClosedEffect() string {
	if p.Subject.Scope == spec.Pods && p.Tier == v3.DefaultTier {
		return "it allows nothing"
	}
	return "it denies all that it selects"
}

// Closed returns the policy as it is enforced while it cannot be used: it selects the same endpoints and allows
// nothing. Traffic that other NetworkPolicies of Kubernetes allow to the same pods stays allowed.
func (p Policy) Closed() Policy {
	if p.ClosedEffect() == "it allows nothing" {
		p.Ingress, p.Egress, p.Sets = Rules{}, Rules{}, nil
		return p
	}
	p.denyAll()
	if p.PreDNAT {
		p.Egress = Rules{}
	}
	return p
}

// resource is a policy resource before it is compiled.
type resource struct {
	key   Key
	rules int // as they count in a budget
	// compile returns the policy. If bare is set, it is compiled without its rules.
	compile func(bare bool) Policy
}

// resourceOf returns a resource. It returns false for an object that is not a policy.
func resourceOf(object metav1.Object) (resource, bool) {
	if r, is := kubernetesResource(object); is {
		return r, true
	}
	return calicoResource(object)
}
