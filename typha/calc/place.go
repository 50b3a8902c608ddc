package calc

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// profile is what gives items labels and, after all tiers, rules: a Namespace or ServiceAccount of Kubernetes, or a
// Profile.
type profile struct {
	wire   string // the name of its Policy: "profile/kns.default"
	places []*place
	// labels are those that the profile gives, under their full names.
	labels labels
	// kube says that the Kubernetes object is there, object that the Profile is.
	kube   bool
	object *v3.ProfileSpec
	// pods counts the places of pods, which have a namespace's rules whether or not it is known, endpoints those of
	// pods, workloads and host endpoints.
	pods, endpoints int32
	annotations     map[string]string // of a Namespace, for CNI
	policy          *policy           // while it has rules and endpoints
	group           *group            // the nodes that have endpoints with it; see nodes
}

const profilePrefix = "profile/"

func (p *profile) name() string { return p.wire[len(profilePrefix):] }

// nodes gives the group of a profile that has rules, or had them. Most service accounts never do.
func (p *profile) nodes() *group {
	if p.group == nil {
		p.group = &group{}
	}
	return p.group
}

// allowProfile exists always, for automatic host endpoints.
const allowProfile = "projectcalico-default-allow"

// hasRules says whether there is a Policy of the profile.
func (p *profile) hasRules() bool {
	return p.object != nil || p.name() == allowProfile ||
		strings.HasPrefix(p.name(), v3.NamespaceProfilePrefix) && (p.kube || p.pods > 0)
}

// place is where items belong: what decides, beside their own labels, what selects them.
type place struct {
	namespace, account, orchestrator string
	profiles                         []*profile // in order
	items                            []*item
	ruled                            []*profile // those that have rules
	names                            []string   // their names on the wire
	hash                             uint64     // of names
	pods, endpoints                  bool       // its items are pods, or endpoints
}

type placeSpec struct {
	namespace, account, orchestrator string
	profiles                         []string
}

// count notes that a place of the profile came or went.
func (p *profile) count(at *place, n int32) {
	if at.pods {
		p.pods += n
	}
	if at.endpoints {
		p.endpoints += n
	}
}

func (p *place) is(s placeSpec) bool {
	return p.namespace == s.namespace && p.account == s.account && p.orchestrator == s.orchestrator &&
		slices.EqualFunc(p.profiles, s.profiles, func(p *profile, name string) bool { return p.name() == name })
}

// placeOf gives the place that the item has to be in, which may be its own.
func (e *Engine) placeOf(it *item, s placeSpec) *place {
	if it.place != nil && it.place.is(s) {
		return it.place
	}
	for _, p := range e.places[s.namespace] { // as many as it has service accounts with pods
		if p.is(s) {
			return p
		}
	}
	p := &place{namespace: it.key.namespace, account: intern(s.account), orchestrator: intern(s.orchestrator),
		pods: it.key.kind == itemPod, endpoints: it.key.kind <= itemHost}
	for _, name := range s.profiles {
		profile := e.profile(name)
		p.profiles = append(p.profiles, profile)
		profile.places = append(profile.places, p)
		profile.count(p, 1)
		e.touchProfile(profile)
	}
	e.places[p.namespace] = append(e.places[p.namespace], p)
	e.setNames(p)
	return p
}

// moveTo puts the item into a place, or with nil in none.
func (e *Engine) moveTo(it *item, to *place) {
	if from := it.place; from != nil {
		e.uncount(it)
		last := from.items[len(from.items)-1]
		from.items[it.at], last.at = last, it.at
		from.items[len(from.items)-1] = nil
		from.items = from.items[:len(from.items)-1]
		if len(from.items) == 0 {
			e.dropPlace(from)
		}
	}
	if it.place = to; to != nil {
		it.at = int32(len(to.items))
		to.items = append(to.items, it)
	}
}

func (e *Engine) dropPlace(p *place) {
	if e.places[p.namespace] = without(e.places[p.namespace], p); len(e.places[p.namespace]) == 0 {
		delete(e.places, p.namespace)
	}
	for _, profile := range p.profiles {
		profile.places = without(profile.places, p)
		profile.count(p, -1)
		e.touchProfile(profile)
		e.dropProfileIfUnused(profile)
	}
}

// without takes one value out of a list whose order means nothing.
func without[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		var zero T
		list[i], list[len(list)-1] = list[len(list)-1], zero
		list = list[:len(list)-1]
	}
	return list
}

func (e *Engine) profile(name string) *profile {
	p := e.profiles[name]
	if p == nil {
		p = &profile{wire: profilePrefix + name}
		e.profiles[p.name()] = p
	}
	return p
}

func (e *Engine) dropProfileIfUnused(p *profile) {
	if !p.kube && p.object == nil && len(p.places) == 0 && p.policy == nil {
		delete(e.profiles, p.name())
	}
}

// setNames makes the list of a place's Policies again, and says whether it differs.
func (e *Engine) setNames(p *place) bool {
	var names []string
	var ruled []*profile
	for _, profile := range p.profiles {
		if profile.hasRules() {
			names, ruled = append(names, profile.wire), append(ruled, profile)
		}
	}
	if slices.Equal(names, p.names) {
		return false
	}
	for _, it := range p.items {
		e.uncount(it) // it was counted for other profiles
	}
	p.names, p.ruled, p.hash = names, ruled, e.hash(names)
	return true
}

// setProfile notes that a profile changed: its labels, and whether it has rules.
func (e *Engine) setProfile(p *profile, l labels) {
	relabelled := p.labels != l
	p.labels = l
	for _, place := range p.places {
		var d dirt
		if e.setNames(place) {
			d = dirtyEndpoint | dirtyStack
		}
		if relabelled {
			d |= dirtyMatches
		}
		if d != 0 {
			for _, it := range place.items {
				e.mark(it, d)
			}
		}
	}
	e.touchProfile(p)
	e.dropProfileIfUnused(p)
}

// labelsOf gives the labels that a profile has by what is known of it.
func (p *profile) labelsOf(prefix, name string, own map[string]string) labels {
	all := make(map[string]string, len(own)+1)
	for k, v := range own {
		all[k] = v
	}
	all[v3.LabelName] = name
	return packPrefixed(all, prefix)
}

func (e *Engine) upsertNamespace(o *corev1.Namespace) {
	p := e.profile(v3.NamespaceProfilePrefix + o.Name)
	e.setAnnotations(p, withPrefix(o.Annotations, cniAnnotations))
	p.kube = true
	e.setProfile(p, p.labelsOf(v3.NamespaceLabelPrefix, o.Name, o.Labels))
}

func (e *Engine) upsertServiceAccount(o *corev1.ServiceAccount) {
	p := e.profile(serviceAccountProfile(o.Namespace, o.Name))
	p.kube = true
	e.setProfile(p, p.labelsOf(v3.ServiceAccountLabelPrefix, o.Name, o.Labels))
}

func serviceAccountProfile(ns, name string) string {
	return v3.ServiceAccountProfilePrefix + ns + "." + name
}

// deleteKubeProfile takes a Namespace's or a ServiceAccount's profile out.
func (e *Engine) deleteKubeProfile(name string) {
	p := e.profiles[name]
	if p == nil || !p.kube {
		return
	}
	e.setAnnotations(p, nil)
	p.kube = false
	e.setProfile(p, objectLabels(p.object))
}

func (e *Engine) setAnnotations(p *profile, annotations map[string]string) {
	if maps.Equal(p.annotations, annotations) {
		return
	}
	p.annotations = annotations
	for _, place := range p.places {
		for _, it := range place.items {
			e.mark(it, dirtyEndpoint)
		}
	}
}

func (e *Engine) upsertProfile(o *v3.Profile) {
	e.judge(KindProfile, "", o.Name, compileProfile(o.Name, &o.Spec).reason)
	p := e.profile(o.Name)
	p.object = &o.Spec
	l := p.labels
	if !p.kube {
		l = objectLabels(p.object)
	}
	e.setProfile(p, l)
}

func (e *Engine) deleteProfile(name string) {
	p := e.profiles[name]
	if p == nil || p.object == nil {
		return
	}
	p.object = nil
	l := p.labels
	if !p.kube {
		l = ""
	}
	e.setProfile(p, l)
}

func objectLabels(spec *v3.ProfileSpec) labels {
	if spec == nil {
		return ""
	}
	return pack(spec.LabelsToApply)
}

// touchProfile makes the profile's Policy again, which exists while it has rules and endpoints have it.
func (e *Engine) touchProfile(p *profile) {
	e.dirtyProfiles[p] = struct{}{}
}

func (e *Engine) flushProfile(p *profile) {
	if !p.hasRules() || p.endpoints == 0 {
		if p.policy != nil {
			e.takePolicy(p.policy)
			p.policy = nil
			e.dropProfileIfUnused(p)
		}
		return
	}
	c := compiled{policy: &wire.Policy{Name: p.wire, Ingress: allowAll, Egress: allowAll}}
	if p.object != nil {
		c = compileProfile(p.name(), p.object)
	}
	c.group = p.nodes()
	p.policy = e.putPolicy(policyKey{KindProfile, "", p.name()}, c, p.policy)
}

var allowAll = []wire.Rule{{Action: wire.Allow}}
