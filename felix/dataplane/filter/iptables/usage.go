package iptables

import "github.com/maneki-net/maneki/felix/dataplane/filter"

// use says how rules use a set: by bits.
type use uint8

const (
	// opensUp: with more members more packets pass, or the same. closesUp: with more members fewer pass, or the same.
	// Rules of other effects have both.
	opensUp use = 1 << iota
	closesUp
	// neutral: which packets pass does not depend on the set.
	neutral
	// atSource and atDest say which end of a packet is looked up.
	atSource
	atDest
	uses = iota // how many bits there are
)

// usesOf returns how each set is used by rules.
func usesOf(rules []filter.Rule) map[string]use {
	var all map[string]use
	for _, r := range rules {
		effect := effectOf(r)
		for _, end := range []struct {
			filter.End
			at use
		}{{r.Match.Source, atSource}, {r.Match.Dest, atDest}} {
			for _, list := range []struct {
				ids []string
				not bool
			}{{end.Sets, false}, {end.PortSets, false}, {end.NotSets, true}, {end.NotPortSets, true}} {
				for _, id := range list.ids {
					if all == nil {
						all = map[string]use{}
					}
					all[id] |= end.at | polarity(effect, list.not)
				}
			}
		}
	}
	return all
}

// unknown is the effect of a rule whose action says nothing of it.
const unknown filter.Effect = 255

func effectOf(r filter.Rule) filter.Effect {
	if r.Effect != filter.ByAction {
		return r.Effect
	}
	switch r.Action.(type) {
	case filter.Accept:
		return filter.Opens
	case filter.Drop, filter.Reject:
		return filter.Closes
	case nil, filter.Log, filter.Masquerade, filter.SNAT:
		return filter.Neutral
	}
	return unknown
}

// polarity returns how a rule of an effect uses a set that an address must be in, or must not be in.
func polarity(effect filter.Effect, not bool) use {
	switch {
	case effect == filter.Neutral:
		return neutral
	case effect == filter.Opens && !not, effect == filter.Closes && not:
		return opensUp
	case effect == filter.Closes, effect == filter.Opens:
		return closesUp
	}
	return opensUp | closesUp
}

// tally counts the chains that use a set, by bits of use.
type tally struct {
	chains int
	open   int // those of chains without a fallback
	counts [uses]int
}

// add counts a chain, or, with n = -1, no longer counts it.
func (t *tally) add(u use, fallback bool, n int) {
	t.chains += n
	if !fallback {
		t.open += n
	}
	for bit := range uses {
		if u&(1<<bit) != 0 {
			t.counts[bit] += n
		}
	}
}

// use returns all ways in which the set is used.
func (t *tally) use() use {
	var u use
	for bit := range uses {
		if t.counts[bit] > 0 {
			u |= 1 << bit
		}
	}
	return u
}

// usage is which chains use which sets.
type usage struct {
	of      map[filter.ChainID]map[string]use      // by chain and set
	users   map[string]map[filter.ChainID]struct{} // by set
	tallies map[string]*tally                      // by set
}

func newUsage() usage {
	return usage{map[filter.ChainID]map[string]use{}, map[string]map[filter.ChainID]struct{}{}, map[string]*tally{}}
}

// replace makes uses those of a chain. Without uses the chain uses no sets. It returns what the chain used before.
func (u *usage) replace(id filter.ChainID, uses map[string]use, former, fallback bool) map[string]use {
	old := u.of[id]
	for set, how := range old {
		u.tallies[set].add(how, former, -1)
		delete(u.users[set], id)
		if len(u.users[set]) == 0 {
			delete(u.users, set)
			delete(u.tallies, set)
		}
	}
	delete(u.of, id)
	if len(uses) > 0 {
		u.of[id] = uses
	}
	for set, how := range uses {
		if u.users[set] == nil {
			u.users[set], u.tallies[set] = map[filter.ChainID]struct{}{}, &tally{}
		}
		u.users[set][id] = struct{}{}
		u.tallies[set].add(how, fallback, 1)
	}
	return old
}

// tally returns how the chains use a set.
func (u *usage) tally(set string) tally {
	if t := u.tallies[set]; t != nil {
		return *t
	}
	return tally{}
}
