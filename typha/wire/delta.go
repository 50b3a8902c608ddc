package wire

import (
	"cmp"
	"net/netip"
	"slices"
)

// ID of the set that changes.
func (d *SetDelta) ID() ID { return ID{KindIPSet, d.Name} }

// Len is how many members come or go.
func (d *SetDelta) Len() int {
	return len(d.AddedNets) + len(d.RemovedNets) + len(d.AddedPorts) + len(d.RemovedPorts)
}

// Then returns the change that d and, after it, next amount to.
func (d SetDelta) Then(next SetDelta) SetDelta {
	d.AddedNets, d.RemovedNets = then(d.AddedNets, d.RemovedNets, next.AddedNets, next.RemovedNets,
		netip.Prefix.Compare)
	d.AddedPorts, d.RemovedPorts = then(d.AddedPorts, d.RemovedPorts, next.AddedPorts, next.RemovedPorts,
		PortMember.Compare)
	return d
}

// Compare orders members by address, protocol and port.
func (p PortMember) Compare(q PortMember) int {
	return cmp.Or(p.Addr.Compare(q.Addr), cmp.Compare(p.Protocol, q.Protocol), cmp.Compare(p.Port, q.Port))
}

func then[M comparable](added, removed, nextAdded, nextRemoved []M, compare func(M, M) int) (plus, minus []M) {
	join := func(first, undone, second, known []M) []M {
		rest := append(without(first, undone), without(second, known)...)
		slices.SortFunc(rest, compare)
		return rest
	}
	return join(added, nextRemoved, nextAdded, removed), join(removed, nextAdded, nextRemoved, added)
}

// without returns what of a is not in b.
func without[M comparable](a, b []M) []M {
	if len(b) == 0 {
		return slices.Clone(a)
	}
	there := make(map[M]struct{}, len(b))
	for _, m := range b {
		there[m] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(a), func(m M) bool { _, is := there[m]; return is })
}
