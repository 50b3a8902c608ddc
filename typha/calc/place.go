package calc

import (
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// space is a namespace, or where what is in none is: it has an empty name.
type space struct {
	name   string
	names  *dictionary // the engine's
	users  int32       // items, and selectors that are bound to it
	places compact.Pointers[place]
	// selectors are those that are bound to it and require nothing more of an item that the index could tell.
	selectors compact.Pointers[selector]
}

func (e *Engine) acquireSpace(name string) *space {
	s := e.spaces.Get(name)
	if s == nil {
		s = &space{name: strings.Clone(name), names: e.names}
		e.spaces.Add(s)
	}
	s.users++
	return s
}

func (e *Engine) releaseSpace(s *space) {
	if s.users--; s.users == 0 {
		e.spaces.Remove(s)
	}
}

// place is where items of one kind belong: what decides, beside their own labels, what selects them.
type place struct {
	kind                  itemKind
	space                 *space
	account, orchestrator string
	profiles              []*profile // in order
	classes               compact.Pointers[class]
	ruling                *ruling
}

type placeSpec struct {
	kind                             itemKind
	namespace, account, orchestrator string
	profiles                         []string // of a pod they follow from the rest, and are left out
}

// placeKey identifies a place.
type placeKey struct {
	kind                  itemKind
	space                 *space
	account, orchestrator string
	profiles              string // joined; empty for pods
}

func (s placeSpec) key(space *space) placeKey {
	return placeKey{s.kind, space, s.account, s.orchestrator, strings.Join(s.profiles, "\n")}
}

func (p *place) key() placeKey {
	s := placeSpec{kind: p.kind, account: p.account, orchestrator: p.orchestrator}
	if p.kind != itemPod {
		for _, profile := range p.profiles {
			s.profiles = append(s.profiles, profile.name)
		}
	}
	return s.key(p.space)
}

// profileNames returns the names of the profiles, in order.
func (s placeSpec) profileNames() []string {
	if s.kind != itemPod {
		return s.profiles
	}
	names := []string{v3.NamespaceProfilePrefix + s.namespace}
	if s.account != "" {
		names = append(names, serviceAccountProfile(s.namespace, s.account))
	}
	return names
}

// placeOf returns a place, which it makes if need be, of items that are in its namespace.
func (e *Engine) placeOf(s placeSpec) *place {
	space := e.spaces.Get(s.namespace)
	if p := e.places.Get(s.key(space)); p != nil {
		return p
	}
	p := &place{kind: s.kind, space: space, account: intern(s.account), orchestrator: intern(s.orchestrator)}
	for _, name := range s.profileNames() {
		profile := e.profile(name)
		p.profiles = append(p.profiles, profile)
		profile.places.Add(p)
	}
	space.places.Add(p)
	e.places.Add(p)
	e.setRuling(p)
	return p
}

func (e *Engine) dropPlace(p *place) {
	p.space.places.Remove(p)
	e.places.Remove(p)
	e.putRuling(p, nil)
	for _, profile := range p.profiles {
		profile.places.Remove(p)
		e.dropProfileIfUnused(profile)
	}
}

// ruling is the profiles whose rules come, after all tiers, to the endpoints of a place. Nearly all places have the
// same.
type ruling struct {
	profiles []*profile
	names    []string // of their Policies
	hash     uint64   // of names
	places   int
}

// policyNames returns the names; nil has none.
func (r *ruling) policyNames() []string {
	if r == nil {
		return nil
	}
	return r.names
}

func rulingKey(names []string) string { return strings.Join(names, "\n") }

// setRuling decides again which rules come to a place, and says whether they are others.
func (e *Engine) setRuling(p *place) bool {
	if p.kind > itemHost {
		return false
	}
	var profiles []*profile
	var names []string
	for _, of := range p.profiles {
		if by := e.rulesOf(p, of); by != nil && !slices.Contains(profiles, by) {
			profiles, names = append(profiles, by), append(names, by.policyName())
		}
	}
	if len(names) == 0 {
		return e.putRuling(p, nil)
	}
	r := e.rulings[rulingKey(names)]
	if r == nil {
		r = &ruling{profiles: profiles, names: names, hash: e.hash(names)}
		e.rulings[rulingKey(names)] = r
	}
	return e.putRuling(p, r)
}

// putRuling makes a ruling, or none, that of a place, and says whether it is another one.
func (e *Engine) putRuling(p *place, now *ruling) bool {
	before := p.ruling
	if before == now {
		return false
	}
	for it := range p.items {
		e.uncount(it)
	}
	if p.ruling = now; now != nil {
		now.places++
		now.count(e, 1)
	}
	if before != nil {
		before.count(e, -1)
		if before.places--; before.places == 0 {
			delete(e.rulings, rulingKey(before.names))
		}
	}
	return true
}

// count notes that a place has the ruling, or no longer.
func (r *ruling) count(e *Engine, n int32) {
	for _, p := range r.profiles {
		p.ruled += n
		e.touchProfile(p)
	}
}

// items goes through what is in the place.
func (p *place) items(yield func(*item) bool) {
	for c := range p.classes.All {
		for _, it := range c.items {
			if !yield(it) {
				return
			}
		}
	}
}
