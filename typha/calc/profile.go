package calc

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

// profile is what gives endpoints rules after all tiers, and items labels: a Namespace or ServiceAccount of Kubernetes,
// or a Profile. It is the Value of the profile in the index.
type profile struct {
	*labelindex.Profile // its labels

	counted     bool              // in the tally
	kube        bool              // the Kubernetes object is there
	ruled       int32             // how many groups have it in their profileRules
	alone       *profileRules     // those with this profile alone, while a group has them
	object      *v3.ProfileSpec   // nil if there is no Profile
	annotations map[string]string // of a Namespace, for CNI
	policy      *policy           // while ruled > 0, as of the last Flush; its Group has the endpoints with the profile
}

// policyName returns the name of the profile's Policy on the wire.
func (p *profile) policyName() string { return wire.ProfilePrefix + p.Name() }

const (
	// allowProfile exists always, for automatic host endpoints.
	allowProfile = "projectcalico-default-allow"
	// namespaceProfile has the rules that all namespaces without a Profile of their own have. It is the name of no
	// namespace's profile, and of no Profile.
	namespaceProfile = v3.NamespaceProfilePrefix
)

// profile returns a profile, which it makes if there is none.
func (e *Engine) profile(name string) *profile {
	of := e.index.Profile(name)
	if p, is := of.Value.(*profile); is {
		return p
	}
	p := &profile{Profile: of}
	of.Value = p
	return p
}

// findProfile returns a profile, or nil if the engine knows nothing of it but its name.
func (e *Engine) findProfile(name string) *profile {
	of := e.index.FindProfile(name)
	if of == nil {
		return nil
	}
	p, _ := of.Value.(*profile)
	return p
}

// eachProfile iterates over the profiles.
func (e *Engine) eachProfile(yield func(*profile) bool) {
	for of := range e.index.Profiles {
		if p, is := of.Value.(*profile); is && !yield(p) {
			return
		}
	}
}

func (e *Engine) dropProfileIfUnused(p *profile) {
	if p.Value == p && !p.kube && p.object == nil && p.ruled == 0 && p.policy == nil {
		p.Value = nil
		e.index.DropIfUnused(p.Profile)
	}
}

// profileChanged has the next Flush decide again what follows from whether a profile has rules.
func (e *Engine) profileChanged(p *profile) {
	e.tally.count(p)
	for g := range p.Groups() {
		e.decideProfileRules(g)
	}
	e.touchProfile(p)
	e.dropProfileIfUnused(p)
}

// setKube takes in a Namespace or a ServiceAccount, whose labels the profile gives under a prefix. It reports whether
// they are others than before.
func (e *Engine) setKube(p *profile, prefix string, o metav1.Object) bool {
	all := make(map[string]string, len(o.GetLabels())+1)
	maps.Copy(all, o.GetLabels())
	all[v3.LabelName] = o.GetName()
	p.kube = true
	relabelled := e.index.SetLabels(p.Profile, prefix, all)
	e.profileChanged(p)
	return relabelled
}

func (e *Engine) upsertNamespace(o *corev1.Namespace) {
	p := e.profile(v3.NamespaceProfilePrefix + o.Name)
	annotations := withPrefix(o.Annotations, cniAnnotations)
	maps.DeleteFunc(annotations, func(name, _ string) bool { return !wire.HonouredOfNamespace(name) })
	e.setAnnotations(p, annotations)
	relabelled := e.setKube(p, v3.NamespaceLabelPrefix, o)
	if relabelled && e.network.poolsByNamespace {
		e.markPods(p)
	}
}

// namespaceLabels returns the labels of a Namespace, or nil while it is not known.
func (e *Engine) namespaceLabels(p *profile) map[string]string {
	if !p.kube {
		return nil
	}
	labels := map[string]string{}
	for name, value := range e.index.Labels(p.Profile) {
		labels[strings.TrimPrefix(name, v3.NamespaceLabelPrefix)] = value
	}
	return labels
}

func (e *Engine) upsertServiceAccount(o *corev1.ServiceAccount) {
	e.setKube(e.profile(labelindex.ServiceAccountProfile(o.Namespace, o.Name)), v3.ServiceAccountLabelPrefix, o)
}

// deleteKubeProfile takes a Namespace's or a ServiceAccount's profile out.
func (e *Engine) deleteKubeProfile(name string) {
	p := e.findProfile(name)
	if p == nil || !p.kube {
		return
	}
	e.setAnnotations(p, nil)
	p.kube = false
	if e.network.poolsByNamespace {
		e.markPods(p)
	}
	e.setObject(p, p.object)
}

func (e *Engine) setAnnotations(p *profile, annotations map[string]string) {
	if maps.Equal(p.annotations, annotations) {
		return
	}
	p.annotations = annotations
	e.markPods(p)
}

// markPods makes Flush decide again on the endpoints with a profile.
func (e *Engine) markPods(p *profile) {
	for g := range p.Groups() {
		for _, it := range g.Items() {
			e.mark(itemOf(it))
		}
	}
}

func (e *Engine) upsertProfile(o *v3.Profile) {
	if o.Name == namespaceProfile {
		e.problems.set(KindProfile, "", o.Name, "metadata.name: it is none that a Profile can have")
		return
	}
	e.problems.set(KindProfile, "", o.Name, compile.Profile("", &o.Spec).Reason)
	e.setObject(e.profile(o.Name), &o.Spec)
}

func (e *Engine) deleteProfile(name string) {
	if p := e.findProfile(name); p != nil && p.object != nil {
		e.setObject(p, nil)
	}
}

// setObject takes a Profile in, or with nil out. It gives labels where there is no Kubernetes object.
func (e *Engine) setObject(p *profile, spec *v3.ProfileSpec) {
	p.object = spec
	if !p.kube {
		var own map[string]string
		if spec != nil {
			own = spec.LabelsToApply
		}
		e.index.SetLabels(p.Profile, "", own)
	}
	e.profileChanged(p)
}

// touchProfile makes the profile's Policy again, which exists while the rules apply to a group.
func (e *Engine) touchProfile(p *profile) {
	e.profiles.changed[p] = struct{}{}
}

func (e *Engine) flushProfile(p *profile) {
	if p.ruled == 0 {
		if p.policy != nil {
			e.removePolicy(p.policy)
			p.policy = nil
		}
		e.dropProfileIfUnused(p)
		return
	}
	c := proposal{key: compile.Key{Kind: KindProfile, Name: p.Name()}, group: &needs.Group{}}
	if p.object != nil {
		c.Policy = compile.Profile(p.policyName(), p.object)
	} else {
		c.Policy = compile.Policy{Name: p.policyName(), Ingress: allowAll, Egress: allowAll}
	}
	if p.policy != nil {
		c.group = p.policy.Group
	}
	p.policy = e.putPolicy(c, p.policy)
}

var allowAll = compile.Rules{List: []wire.Rule{{Action: wire.Allow}}}
