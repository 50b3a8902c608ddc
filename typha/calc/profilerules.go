package calc

import (
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
)

// applied is what applies to the endpoints of a group. It is the Value of the group.
type applied struct {
	policies *policyList   // as of the last Flush; nil if no policy selects the group
	rules    *profileRules // nil if no profile has rules
	dirty    bool          // the group is in Engine.changed.groups: its policies have to be decided again
}

func appliedTo(g *labelindex.Group) *applied { return g.Value.(*applied) }

// profileRules are the profiles whose rules apply, after all tiers, to the endpoints of some groups. Nearly all groups
// have the same.
type profileRules struct {
	profiles []*profile
	names    []string // of their Policies
	hash     uint64   // of names
	groups   int
}

// policyNames returns the names of the profiles' Policies.
func (r *profileRules) policyNames() []string {
	if r == nil {
		return nil
	}
	return r.names
}

// profiles is the state of all profiles. The profiles themselves are in the index.
type profiles struct {
	rules   map[string]*profileRules // by profileRulesKey
	changed map[*profile]struct{}    // whose Policies the next Flush makes again
}

func newProfiles() profiles {
	return profiles{rules: map[string]*profileRules{}, changed: map[*profile]struct{}{}}
}

func profileRulesKey(names []string) string { return strings.Join(names, "\n") }

// rulesOf returns the profile whose rules apply to the items of a kind because they have a profile, nil if there are
// none. A pod's namespace has rules whether or not it is known yet.
func (e *Engine) rulesOf(kind labelindex.Kind, of *labelindex.Profile) *profile {
	own, _ := of.Value.(*profile)
	switch {
	case own != nil && own.object != nil:
		return own
	case of.Name() == allowProfile:
		return e.profile(allowProfile)
	case !strings.HasPrefix(of.Name(), v3.NamespaceProfilePrefix):
		return nil
	case kind == labelindex.Pod || own != nil && own.kube:
		return e.profile(namespaceProfile)
	}
	return nil
}

// decideProfileRules decides again which profiles' rules apply to a group.
func (e *Engine) decideProfileRules(g *labelindex.Group) {
	if !g.Kind().IsEndpoint() {
		return
	}
	var few [4]*profile
	profiles := few[:0]
	for _, of := range g.Profiles() {
		if by := e.rulesOf(g.Kind(), of); by != nil && !slices.Contains(profiles, by) {
			profiles = append(profiles, by)
		}
	}
	e.setProfileRules(g, e.profileRulesOf(profiles))
}

// profileRulesOf returns the rules of these profiles in their order, nil for no profile.
func (e *Engine) profileRulesOf(profiles []*profile) *profileRules {
	switch {
	case len(profiles) == 0:
		return nil
	case len(profiles) == 1 && profiles[0].alone != nil:
		return profiles[0].alone
	}
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.policyName()
	}
	key := profileRulesKey(names)
	r := e.profiles.rules[key]
	if r == nil {
		r = &profileRules{profiles: slices.Clone(profiles), names: names, hash: e.hash(names)}
		e.profiles.rules[key] = r
	}
	if len(profiles) == 1 {
		profiles[0].alone = r
	}
	return r
}

// setProfileRules replaces the profiles' rules that apply to a group; nil is none.
func (e *Engine) setProfileRules(g *labelindex.Group, now *profileRules) {
	a := appliedTo(g)
	before := a.rules
	if before == now {
		return
	}
	for _, it := range g.Items() {
		e.uncount(itemOf(it))
	}
	a.rules = now
	if now != nil {
		now.groups++
		now.count(e, 1)
	}
	if before != nil {
		before.count(e, -1)
		before.groups--
		if before.groups == 0 {
			delete(e.profiles.rules, profileRulesKey(before.names))
			if len(before.profiles) == 1 {
				before.profiles[0].alone = nil
			}
		}
	}
}

// count counts that the rules apply to one group more, or less.
func (r *profileRules) count(e *Engine, n int32) {
	for _, p := range r.profiles {
		before := p.ruled
		p.ruled += n
		if before == 0 || p.ruled == 0 {
			e.touchProfile(p)
		}
	}
}
