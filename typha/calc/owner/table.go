package owner

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Table decides who owns each address.
type Table struct {
	pods   Pods
	blocks bart.Table[*block] // they do not overlap
	// claimants are the pods whose statuses name an address that they do not own. No list is empty.
	claimants map[netip.Addr][]Pod

	changed map[netip.Addr]int // the change of each address in changes.Owners
	changes Changes
}

// Changes is what happened since the last call of Table.Changes.
type Changes struct {
	// Owners has each address at most once.
	Owners []Change
	// Unnamed are pods that do not run and that no block names any more, some of them perhaps twice. The caller need
	// not keep those of them that do not exist.
	Unnamed []Pod
}

// Change says that an address has another owner. Nil is no pod.
type Change struct {
	Addr     netip.Addr
	From, To Pod
}

// New returns a Table without blocks and claims.
func New(pods Pods) *Table {
	return &Table{pods: pods, claimants: map[netip.Addr][]Pod{}, changed: map[netip.Addr]int{}}
}

// Size returns how many blocks the Table has, and how many addresses that pods claim in vain.
func (t *Table) Size() int { return t.blocks.Size() + len(t.claimants) }

// Claim takes what a pod says of itself. The zero Status is that of a pod that does not exist any more.
func (t *Table) Claim(p Pod, now Status) {
	c := p.Claim()
	before := c.addrs
	for net := range before.All {
		t.removeClaimant(net.Addr(), p)
	}
	c.set(now)
	for net := range now.Addrs.All {
		if t.owner(net.Addr()) != p {
			t.addClaimant(net.Addr(), p)
		}
	}
	for net := range before.All {
		t.decide(net.Addr())
	}
	for net := range now.Addrs.All {
		t.decide(net.Addr())
	}
	for net := range c.allocated.All {
		t.decide(net.Addr())
	}
}

// Changes returns what changed since the last call. The caller applies it before it calls another method; it may use
// the slices until then.
func (t *Table) Changes() Changes {
	changes := t.changes
	changes.Unnamed = slices.DeleteFunc(changes.Unnamed, func(p Pod) bool {
		return p.Claim().Named() ||
			p.Claim().running()
	})
	const few = 64
	if len(t.changed) > few { // a map that was large once stays so
		t.changed, t.changes = map[netip.Addr]int{}, Changes{}
	} else {
		clear(t.changed)
		t.changes = Changes{Owners: t.changes.Owners[:0], Unnamed: t.changes.Unnamed[:0]}
	}
	return changes
}

// owner returns the pod that owns an address as it was decided last.
func (t *Table) owner(addr netip.Addr) Pod {
	if i, changed := t.changed[addr]; changed {
		return t.changes.Owners[i].To
	}
	return t.pods.Owner(addr)
}

// decide decides again who owns an address.
func (t *Table) decide(addr netip.Addr) {
	was := t.owner(addr)
	now := t.rightful(addr, was)
	if now == was {
		return
	}
	if i, changed := t.changed[addr]; changed {
		t.changes.Owners[i].To = now
	} else {
		t.changed[addr] = len(t.changes.Owners)
		t.changes.Owners = append(t.changes.Owners, Change{Addr: addr, From: was, To: now})
	}
	if was != nil && was.Claim().names(addr) {
		t.addClaimant(addr, was)
	}
	if now != nil {
		t.removeClaimant(addr, now)
	}
}

// rightful returns the pod that should own an address. owner is the one that owns it.
func (t *Table) rightful(addr netip.Addr, owner Pod) Pod {
	if b, covered := t.blocks.Lookup(addr); covered {
		a, allocated := b.find(addr)
		if allocated && a.isPod() {
			return a.pod
		}
		return nil // where the address was released, the status is out of date
	}
	best := owner
	if best != nil && !(best.Claim().running() && best.Claim().names(addr)) {
		best = nil
	}
	for _, p := range t.claimants[addr] {
		if p.Claim().running() && (best == nil || newer(p, best)) {
			best = p
		}
	}
	return best
}

func (t *Table) addClaimant(addr netip.Addr, p Pod) { t.claimants[addr] = append(t.claimants[addr], p) }

func (t *Table) removeClaimant(addr netip.Addr, p Pod) {
	list := t.claimants[addr]
	for i, other := range list {
		if other == p {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(t.claimants, addr)
	} else {
		t.claimants[addr] = list
	}
}
