package calc

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

// profile is what gives items labels and, after all tiers, rules: a Namespace or ServiceAccount of Kubernetes, or a
// Profile.
type profile struct {
	name   string // "kns.default"
	places compact.Pointers[place]
	// labels are those that the profile gives, under their full names.
	labels labels
	names  *dictionary // of the labels
	// spoken are the labels that the index uses, as of its generation spokenAt; 0 means that they are not known.
	spoken   []expression.Fact
	spokenAt uint64
	counted  bool // in the tally
	// kube says that the Kubernetes object is there, object that the Profile is.
	kube        bool
	ruled       int32 // how many places' ruling it is in
	object      *v3.ProfileSpec
	annotations map[string]string // of a Namespace, for CNI
	policy      *policy           // while it is in a ruling, as of the last Flush; its group are the endpoints with the profile
}

// policyName returns the name of the profile's Policy on the wire.
func (p *profile) policyName() string { return wire.ProfilePrefix + p.name }

const (
	// allowProfile exists always, for automatic host endpoints.
	allowProfile = "projectcalico-default-allow"
	// namespaceProfile has the rules that all namespaces without a Profile of their own have. It is the name of no
	// namespace's profile, and of no Profile.
	namespaceProfile = v3.NamespaceProfilePrefix
)

// rulesOf returns the profile whose rules come to a place because of one of its profiles, nil if none do. A pod's
// namespace has rules whether or not it is known yet.
func (e *Engine) rulesOf(at *place, of *profile) *profile {
	switch {
	case of.object != nil, of.name == allowProfile:
		return of
	case strings.HasPrefix(of.name, v3.NamespaceProfilePrefix) && (of.kube || at.kind == itemPod):
		return e.profile(namespaceProfile)
	}
	return nil
}

func (e *Engine) profile(name string) *profile {
	p := e.profiles.Get(name)
	if p == nil {
		p = &profile{name: strings.Clone(name), names: e.names}
		e.profiles.Add(p)
	}
	return p
}

func (e *Engine) dropProfileIfUnused(p *profile) {
	if !p.kube && p.object == nil && p.places.Len() == 0 && p.ruled == 0 && p.policy == nil {
		e.profiles.Remove(p)
	}
}

// relabel gives a profile packed labels, which it keeps, and says whether they are others.
func (e *Engine) relabel(p *profile, l labels) bool {
	before := p.labels
	p.labels, p.spoken, p.spokenAt = l, nil, 0
	e.names.release(before)
	return before != l
}

// setProfile notes that a profile changed: its labels perhaps, and whether it has rules.
func (e *Engine) setProfile(p *profile, relabelled bool) {
	e.tally.count(p)
	for place := range p.places.All {
		e.setRuling(place)
		for c := range place.classes.All {
			if relabelled {
				e.markClass(c, dirtyMatches)
			}
		}
	}
	e.touchProfile(p)
	e.dropProfileIfUnused(p)
}

// setKube takes in a Namespace or a ServiceAccount, of which the profile gives the labels under a prefix.
func (e *Engine) setKube(p *profile, prefix string, o metav1.Object) {
	all := make(map[string]string, len(o.GetLabels())+1)
	maps.Copy(all, o.GetLabels())
	all[v3.LabelName] = o.GetName()
	p.kube = true
	e.setProfile(p, e.relabel(p, e.names.pack(prefix, all)))
}

func (e *Engine) upsertNamespace(o *corev1.Namespace) {
	p := e.profile(v3.NamespaceProfilePrefix + o.Name)
	annotations := withPrefix(o.Annotations, cniAnnotations)
	maps.DeleteFunc(annotations, func(name, _ string) bool { return !wire.HonouredOfNamespace(name) })
	e.setAnnotations(p, annotations)
	before := p.labels
	e.setKube(p, v3.NamespaceLabelPrefix, o)
	if e.pools.byNamespace && p.labels != before {
		e.markPods(p)
	}
}

// namespaceLabels returns the labels of a Namespace, or nil while it is not known.
func (e *Engine) namespaceLabels(p *profile) map[string]string {
	if !p.kube {
		return nil
	}
	labels := map[string]string{}
	for rest := p.labels.entries(); len(rest) > 0; {
		var number uint32
		var value string
		number, value, rest = rest.next()
		labels[strings.TrimPrefix(e.names.names[number].text, v3.NamespaceLabelPrefix)] = value
	}
	return labels
}

func (e *Engine) upsertServiceAccount(o *corev1.ServiceAccount) {
	e.setKube(e.profile(serviceAccountProfile(o.Namespace, o.Name)), v3.ServiceAccountLabelPrefix, o)
}

func serviceAccountProfile(ns, name string) string {
	return v3.ServiceAccountProfilePrefix + ns + "." + name
}

// deleteKubeProfile takes a Namespace's or a ServiceAccount's profile out.
func (e *Engine) deleteKubeProfile(name string) {
	p := e.profiles.Get(name)
	if p == nil || !p.kube {
		return
	}
	e.setAnnotations(p, nil)
	p.kube = false
	if e.pools.byNamespace {
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
	for place := range p.places.All {
		for it := range place.items {
			e.mark(it)
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
	if p := e.profiles.Get(name); p != nil && p.object != nil {
		e.setObject(p, nil)
	}
}

// setObject takes a Profile in, or with nil out. It gives labels where there is no Kubernetes object.
func (e *Engine) setObject(p *profile, spec *v3.ProfileSpec) {
	p.object = spec
	relabelled := false
	if !p.kube {
		var own map[string]string
		if spec != nil {
			own = spec.LabelsToApply
		}
		relabelled = e.relabel(p, e.names.pack("", own))
	}
	e.setProfile(p, relabelled)
}

// touchProfile makes the profile's Policy again, which exists while the profile is in a ruling.
func (e *Engine) touchProfile(p *profile) {
	e.dirtyProfiles[p] = struct{}{}
}

func (e *Engine) flushProfile(p *profile) {
	if p.ruled == 0 {
		if p.policy != nil {
			e.takePolicy(p.policy)
			p.policy = nil
		}
		e.dropProfileIfUnused(p)
		return
	}
	c := proposal{key: compile.Key{Kind: KindProfile, Name: p.name}, group: &group{}}
	if p.object != nil {
		c.Policy = compile.Profile(p.policyName(), p.object)
	} else {
		c.Policy = compile.Policy{Name: p.policyName(), Ingress: allowAll, Egress: allowAll}
	}
	if p.policy != nil {
		c.group = p.policy.group
	}
	p.policy = e.putPolicy(c, p.policy)
}

var allowAll = compile.Rules{List: []wire.Rule{{Action: wire.Allow}}}
