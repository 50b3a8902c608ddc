package iptables

import (
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
)

// A commit changes sets member by member, and the rules of a table at once. Packets see what is in between.
// docs/design/filter.md shows why nothing passes then that passes neither before nor after: what closes comes before
// the rules, what opens after them. A set of which neither can be said gets a new name, which comes into force with the
// rules.

// setPlan is what a set that changes is about to go through.
type setPlan struct {
	id, name       string
	use            use // by the rules before and after
	inUse          bool
	added, removed []filter.Member
	swap           bool
}

// plan decides how each set that changes comes to its new members, and returns the order for each, by the kernel's
// name. A set that is to change together with the rules has a new name then.
func (b *Backend) plan() map[string]ipset.Order {
	orders := map[string]ipset.Order{}
	var list []*setPlan
	for _, name := range b.sets.Dirty() {
		id, known := b.ids[name]
		if !known || b.names[id] != name || b.withheld[id] != nil {
			continue // it goes, or is not made
		}
		p := b.planOf(id, name)
		switch {
		case !b.first && !b.change.sets[id]: // somebody else changed it
			orders[name] = ipset.AddFirst
		case !p.inUse:
			orders[name] = ipset.AllFirst
		case len(p.added)+len(p.removed) == 0 && !b.sets.Retyped(name), p.use&(opensUp|closesUp) == 0:
			orders[name] = ipset.AddFirst
		default:
			list = append(list, p)
		}
	}
	b.decide(list)
	for _, p := range list {
		switch {
		case p.swap && !b.keep && b.rename(p):
			orders[b.names[p.id]] = ipset.AllFirst
		case p.use&closesUp == 0:
			orders[p.name] = ipset.RemoveFirst
		default:
			orders[p.name] = ipset.AddFirst
		}
	}
	return orders
}

// planOf returns what is known of a set that changes.
func (b *Backend) planOf(id, name string) *setPlan {
	p := &setPlan{id: id, name: name}
	p.added, p.removed = b.sets.Pending(name)
	h, there := b.sets.Actual(name)
	if !there {
		return p
	}
	if b.sets.Retyped(name) { // all of it changes, and the kernel cannot change the type of a set
		p.use, p.swap = opensUp|closesUp, true
	}
	now := b.usage.tally(id)
	p.use |= now.use()
	if b.first {
		// What the kernel's rules are is known as far as they are as desired.
		p.inUse = h.References > 0
		if b.differs() {
			p.use, p.swap = opensUp|closesUp, true
		}
		return p
	}
	if b.broken[id] != nil && now.open == 0 {
		return p // the chains that name it are in their fallback
	}
	before := now.chains
	for chain, formers := range b.change.former {
		if _, uses := b.usage.of[chain][id]; uses {
			before-- // it may be new
		}
		for _, former := range formers {
			if how, uses := former[id]; uses {
				before++
				p.use |= how
				p.swap = true // rules that name it change, and so does what they mean
			}
		}
	}
	p.inUse = before > 0
	return p
}

// differs reports whether the kernel has chains of ours that are not as desired.
func (b *Backend) differs() bool {
	if len(b.unread) > 0 {
		return true // they may
	}
	for _, t := range b.tables {
		wanted, unwanted := t.chains.Pending()
		if len(unwanted) > 0 {
			return true
		}
		for _, name := range wanted {
			if _, there := t.chains.Actual(name); there {
				return true
			}
		}
	}
	return false
}

// decide says which sets are to change together with the rules.
func (b *Backend) decide(list []*setPlan) {
	if len(list) == 1 && !b.change.rules && !list[0].swap && list[0].seenOnce() {
		return // no packet meets two changes
	}
	for _, p := range list {
		p.swap = p.swap || p.use&opensUp != 0 && p.use&closesUp != 0
	}
	// Of an address that one set loses and another gains, both change at once. Otherwise packets that pass before and
	// after would be dropped in between.
	opened, closed := newAddresses(), newAddresses()
	for _, p := range list {
		if !p.swap {
			opening, closing := p.directions()
			opened.add(opening)
			closed.add(closing)
		}
	}
	for _, p := range list {
		opening, closing := p.directions()
		p.swap = p.swap || closed.overlap(opening) || opened.overlap(closing)
	}
}

// directions returns the members whose change lets more packets pass, and those whose change lets fewer pass.
func (p *setPlan) directions() (opening, closing []filter.Member) {
	if p.use&closesUp == 0 {
		return p.added, p.removed
	}
	return p.removed, p.added
}

// seenOnce reports whether no packet meets more than one of the changes of the set.
func (p *setPlan) seenOnce() bool {
	all := slices.Concat(p.added, p.removed)
	if len(all) == 1 {
		return true
	}
	if p.use&atSource != 0 && p.use&atDest != 0 {
		return false
	}
	seen := newAddresses()
	for _, m := range all {
		if seen.overlap([]filter.Member{m}) {
			return false
		}
		seen.add([]filter.Member{m})
	}
	return true
}

// rename gives a set a name that the kernel does not have, and writes the rules that name it. Without such a name it
// returns false.
func (b *Backend) rename(p *setPlan) bool {
	for v := range ipset.Versions {
		next := ipset.Name(b.commands.family, p.id, v)
		if _, there := b.sets.Actual(next); there || next == p.name {
			continue
		}
		b.sets.Rename(p.name, next)
		delete(b.ids, p.name)
		b.names[p.id], b.ids[next] = next, p.id
		b.writeUsers(p.id)
		return true
	}
	return false
}

// addresses is a set of networks.
type addresses struct {
	nets map[netip.Prefix]bool
	bits map[int]bool // their lengths
}

func newAddresses() *addresses {
	return &addresses{map[netip.Prefix]bool{}, map[int]bool{}}
}

func (a *addresses) add(members []filter.Member) {
	for _, m := range members {
		a.nets[m.Net], a.bits[m.Net.Bits()] = true, true
	}
}

// overlap reports whether a member has an address that one of the networks has.
func (a *addresses) overlap(members []filter.Member) bool {
	if len(a.nets) == 0 {
		return false
	}
	for _, m := range members {
		for bits := range a.bits {
			if bits > m.Net.Bits() {
				continue
			}
			if wide, err := m.Net.Addr().Prefix(bits); err == nil && a.nets[wide] {
				return true
			}
		}
		if m.Net.Bits() < dataplane.FamilyOf(m.Net.Addr()).Bits() && a.inside(m.Net) {
			return true
		}
	}
	return false
}

// inside reports whether one of the networks is in n.
func (a *addresses) inside(n netip.Prefix) bool {
	for own := range a.nets {
		if n.Bits() <= own.Bits() && n.Contains(own.Addr()) {
			return true
		}
	}
	return false
}
