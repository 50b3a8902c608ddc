package owner

import (
	"cmp"
	"net/netip"
	"slices"
	"unique"
)

// Allocation is what a block says about one address.
type Allocation struct {
	// Index is the position of the address in the block.
	Index uint16
	Node  string // that it is allocated to or whose pod has it; empty if the block does not say
	Pod   Name   // zero: it is allocated to something else
	UID   UID    // of the pod; empty if the block does not say
}

// Addr returns the address in the block with a CIDR.
func (a Allocation) Addr(cidr netip.Prefix) netip.Addr { return addrAt(cidr, a.Index) }

// block is an IPAM block.
type block struct {
	cidr        netip.Prefix
	allocations []allocation // sorted by index
}

// allocation is an Allocation that refers to the pod.
type allocation struct {
	index uint16
	node  unique.Handle[string] // zero: not known
	pod   Pod                   // nil: it is allocated to something else
	uid   UID
}

// addrAt returns the address with an index in a block.
func addrAt(cidr netip.Prefix, index uint16) netip.Addr {
	bytes := cidr.Addr().AsSlice()
	last := len(bytes) - 1
	bytes[last-1] |= byte(index >> 8)
	bytes[last] |= byte(index)
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// find returns what the block says about an address in it.
func (b *block) find(addr netip.Addr) (allocation, bool) {
	bytes, base := addr.AsSlice(), b.cidr.Addr().AsSlice()
	last := len(bytes) - 1
	index := uint16(bytes[last-1]^base[last-1])<<8 | uint16(bytes[last]^base[last])
	i, found := slices.BinarySearchFunc(b.allocations, index, func(a allocation, index uint16) int {
		return cmp.Compare(a.index, index)
	})
	if !found {
		return allocation{}, false
	}
	return b.allocations[i], true
}

// isPod reports whether the pod that the allocation is for runs. A node allocates addresses for its own pods only, so
// an allocation that names another node is not for the pod.
func (a allocation) isPod() bool {
	if a.pod == nil || !a.pod.Claim().running() {
		return false
	}
	return (a.uid == "" || a.uid == a.pod.Claim().uid) && (a.nodeName() == "" || a.nodeName() == a.pod.NodeName())
}

func (a allocation) nodeName() string {
	if a.node == (unique.Handle[string]{}) {
		return ""
	}
	return a.node.Value()
}

func (a allocation) public() Allocation {
	out := Allocation{Index: a.index, Node: a.nodeName(), UID: a.uid}
	if a.pod != nil {
		out.Pod = a.pod.PodName()
	}
	return out
}

// refer returns allocations that refer to their pods. A pod need not exist yet.
func (t *Table) refer(list []Allocation) []allocation {
	out := make([]allocation, len(list))
	for i, from := range list {
		a := allocation{index: from.Index, uid: from.UID}
		if from.Node != "" {
			a.node = unique.Make(from.Node)
		}
		if from.Pod != (Name{}) {
			a.pod = t.pods.Pod(from.Pod)
			if known := a.pod.Claim().uid; known == a.uid {
				a.uid = known // one copy of the text is enough
			}
		}
		out[i] = a
	}
	return out
}

// SetBlock adds a block or replaces its allocations, which are sorted by index. No other block may overlap it. It
// returns the addresses for which another allocation holds now.
func (t *Table) SetBlock(cidr netip.Prefix, list []Allocation) []netip.Addr {
	b := &block{cidr: cidr, allocations: t.refer(list)}
	before, existed := t.blocks.Get(cidr)
	t.blocks.Insert(cidr, b)
	if !existed {
		before = &block{cidr: cidr}
		t.decideAll(cidr)
	}
	return t.replace(before, b)
}

// RemoveBlock removes a block. It returns what the block's allocations were.
func (t *Table) RemoveBlock(cidr netip.Prefix) []Allocation {
	b, existed := t.blocks.Get(cidr)
	if !existed {
		return nil
	}
	t.blocks.Delete(cidr)
	t.decideAll(cidr)
	t.replace(b, &block{cidr: cidr})
	list := make([]Allocation, len(b.allocations))
	for i, a := range b.allocations {
		list[i] = a.public()
	}
	return list
}

// Allocations iterates over the allocations of a block, in the order of their addresses.
func (t *Table) Allocations(cidr netip.Prefix) func(func(Allocation) bool) {
	return func(yield func(Allocation) bool) {
		b, _ := t.blocks.Get(cidr)
		if b == nil {
			return
		}
		for _, a := range b.allocations {
			if !yield(a.public()) {
				return
			}
		}
	}
}

// Allocation returns what the block that has an address says about it. It returns false if the address is not
// allocated.
func (t *Table) Allocation(addr netip.Addr) (Allocation, bool) {
	b, covered := t.blocks.Lookup(addr)
	if !covered {
		return Allocation{}, false
	}
	a, allocated := b.find(addr)
	return a.public(), allocated
}

// decideAll decides again who owns the addresses of a block.
func (t *Table) decideAll(cidr netip.Prefix) {
	for addr := cidr.Addr(); cidr.Contains(addr); addr = addr.Next() {
		t.decide(addr)
	}
}

// replace goes through the differences between two states of a block. It returns the addresses that differ.
func (t *Table) replace(before, now *block) (changed []netip.Addr) {
	was, is := before.allocations, now.allocations
	change := func(index uint16, from, to Pod) {
		addr := addrAt(now.cidr, index)
		changed = append(changed, addr)
		t.reallocate(addr, from, to)
	}
	for len(was)+len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].index < is[0].index:
			change(was[0].index, was[0].pod, nil)
			was = was[1:]
		case len(was) == 0 || is[0].index < was[0].index:
			change(is[0].index, nil, is[0].pod)
			is = is[1:]
		default:
			if was[0] != is[0] {
				change(is[0].index, was[0].pod, is[0].pod)
			}
			was, is = was[1:], is[1:]
		}
	}
	return changed
}

// reallocate stores that an address was allocated to one pod and is allocated to another.
func (t *Table) reallocate(addr netip.Addr, from, to Pod) {
	if from != to && to != nil {
		to.Claim().allocated = to.Claim().allocated.With(single(addr))
	}
	t.decide(addr)
	if from != to && from != nil {
		c := from.Claim()
		c.allocated = c.allocated.Without(single(addr))
		if !c.Named() && !c.running() {
			t.changes.Unnamed = append(t.changes.Unnamed, from)
		}
	}
}
