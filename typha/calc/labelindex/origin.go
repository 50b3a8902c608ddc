package labelindex

import (
	"iter"
	"strings"
	"unique"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// namespace is a namespace with items or selectors. One with an empty name has the items that are in no namespace.
type namespace struct {
	name    string
	names   *dictionary // the index's
	users   int32       // items, and selectors that are bound to it; never 0
	origins compact.Pointers[origin]
	// selectors are those that are bound to the namespace and require no other fact of an item.
	selectors compact.Pointers[Selector]
}

func (x *Index) acquireNamespace(name string) *namespace {
	n := x.namespaces.Get(name)
	if n == nil {
		n = &namespace{name: strings.Clone(name), names: x.names}
		x.namespaces.Add(n)
	}
	n.users++
	return n
}

func (x *Index) releaseNamespace(n *namespace) {
	n.users--
	if n.users == 0 {
		x.namespaces.Remove(n)
	}
}

// origin is what groups of items have in common besides their own labels and ports: their kind, where they are, and the
// profiles that they inherit labels from.
type origin struct {
	kind                  Kind
	namespace             *namespace
	account, orchestrator string
	profiles              []*Profile // in order
	groups                compact.Pointers[Group]
}

// originKey identifies an origin.
type originKey struct {
	kind                  Kind
	namespace             *namespace
	account, orchestrator string
	profiles              string // joined names; empty for pods
}

func keyOfOrigin(it *Item, a *Attributes) originKey {
	return originKey{it.kind, it.namespace, a.ServiceAccount, a.Orchestrator, strings.Join(a.Profiles, "\n")}
}

func (o *origin) key() originKey {
	key := originKey{kind: o.kind, namespace: o.namespace, account: o.account, orchestrator: o.orchestrator}
	if o.kind != Pod {
		names := make([]string, len(o.profiles))
		for i, p := range o.profiles {
			names[i] = p.name
		}
		key.profiles = strings.Join(names, "\n")
	}
	return key
}

// profilesOf returns the names of the profiles of an item, in order.
func profilesOf(it *Item, a *Attributes) []string {
	if it.kind != Pod {
		return a.Profiles
	}
	names := []string{v3.NamespaceProfilePrefix + it.namespace.name}
	if a.ServiceAccount != "" {
		names = append(names, ServiceAccountProfile(it.namespace.name, a.ServiceAccount))
	}
	return names
}

// ServiceAccountProfile returns the name of the profile that gives pods the labels of their service account.
func ServiceAccountProfile(namespace, account string) string {
	return v3.ServiceAccountProfilePrefix + namespace + "." + account
}

// originOf returns the origin of an item with these attributes. It makes one if there is none.
func (x *Index) originOf(it *Item, a *Attributes) *origin {
	o := x.origins.Get(keyOfOrigin(it, a))
	if o != nil {
		return o
	}
	o = &origin{kind: it.kind, namespace: it.namespace,
		account: intern(a.ServiceAccount), orchestrator: intern(a.Orchestrator)}
	for _, name := range profilesOf(it, a) {
		p := x.Profile(name)
		o.profiles = append(o.profiles, p)
		p.origins.Add(o)
	}
	o.namespace.origins.Add(o)
	x.origins.Add(o)
	return o
}

// dropOrigin forgets an origin without groups.
func (x *Index) dropOrigin(o *origin) {
	o.namespace.origins.Remove(o)
	x.origins.Remove(o)
	for _, p := range o.profiles {
		p.origins.Remove(o)
		x.DropIfUnused(p)
	}
}

// intern returns one copy of a string that many objects have.
func intern(s string) string { return unique.Make(s).Value() }

// Profile is what items inherit labels from: a Namespace or ServiceAccount of Kubernetes, or a Profile.
type Profile struct {
	// Value belongs to the user of the index, which does not use it. A profile with a Value is in use.
	Value any

	name    string // "kns.default"
	labels  labels // that the profile gives, under their full names
	origins compact.Pointers[origin]
	// filed are those of the labels under which selectors are filed, as of the generation filedAt of Index.facts. They
	// are not known if filedAt is 0.
	filed   []expression.Fact
	filedAt uint64
}

// Profile returns the profile with a name. It makes one without labels if there is none; see DropIfUnused.
func (x *Index) Profile(name string) *Profile {
	p := x.profiles.Get(name)
	if p == nil {
		p = &Profile{name: strings.Clone(name)}
		x.profiles.Add(p)
	}
	return p
}

// FindProfile returns the profile with a name, or nil.
func (x *Index) FindProfile(name string) *Profile { return x.profiles.Get(name) }

// Profiles iterates over all profiles. None may be added meanwhile.
func (x *Index) Profiles(yield func(*Profile) bool) { x.profiles.All(yield) }

// DropIfUnused forgets a profile that gives no labels, that no item has, and that has no Value.
func (x *Index) DropIfUnused(p *Profile) {
	if p.Value == nil && p.labels == "" && p.origins.Len() == 0 {
		x.profiles.Remove(p)
	}
}

// Name returns the name of the profile.
func (p *Profile) Name() string { return p.name }

// SetLabels replaces the labels that a profile gives, and reports whether they are others than before. Each gets the
// prefix before its name. The next Flush matches the groups of the items with the profile.
func (x *Index) SetLabels(p *Profile, prefix string, own map[string]string) bool {
	before := p.labels
	p.labels, p.filed, p.filedAt = x.names.pack(prefix, own), nil, 0
	x.names.release(before)
	if p.labels == before {
		return false
	}
	for g := range p.Groups() {
		x.enqueue(g)
	}
	return true
}

// Labels iterates over the labels that a profile gives.
func (x *Index) Labels(p *Profile) iter.Seq2[string, string] { return x.names.each(p.labels) }

// Groups iterates over the groups of the items with the profile.
func (p *Profile) Groups() iter.Seq[*Group] {
	return func(yield func(*Group) bool) {
		for o := range p.origins.All {
			for g := range o.groups.All {
				if !yield(g) {
					return
				}
			}
		}
	}
}
