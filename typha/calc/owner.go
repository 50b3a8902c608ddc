package calc

import (
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/owner"
)

// PodName implements owner.Pod.
func (it *item) PodName() owner.Name { return owner.Name{Namespace: it.Namespace(), Name: it.Name()} }

// NodeName implements owner.Pod.
func (it *item) NodeName() string { return it.node.String() }

// Claim implements owner.Pod.
func (it *item) Claim() *owner.Claim { return &it.detail.(*podDetail).claim }

// pods are the items of pods as the owner.Table sees them.
type pods struct{ e *Engine }

// Pod implements owner.Pods.
func (p pods) Pod(name owner.Name) owner.Pod {
	key := labelindex.Key{Kind: labelindex.Pod, Namespace: name.Namespace, Name: name.Name}
	it := p.e.findItem(key)
	if it == nil {
		it = p.e.item(key)
		it.setFlag(itemGone)
		it.detail = &podDetail{}
	}
	return it
}

// Owner implements owner.Pods.
func (p pods) Owner(addr netip.Addr) (owner owner.Pod) {
	p.e.index.AnyWith(netip.PrefixFrom(addr, addr.BitLen()), func(it *labelindex.Item) bool {
		if it.Kind() == labelindex.Pod {
			owner = itemOf(it)
		}
		return owner != nil
	})
	return owner
}

// claim passes on what a pod says of itself.
func (e *Engine) claim(it *item, s owner.Status) {
	e.network.owners.Claim(it, s)
	e.applyOwners()
}

// applyOwners gives addresses to the pods that own them now.
func (e *Engine) applyOwners() {
	changes := e.network.owners.Changes()
	for _, c := range changes.Owners {
		if from, is := c.From.(*item); is {
			e.setAddresses(from, from.Networks().Without(netip.PrefixFrom(c.Addr, c.Addr.BitLen())))
		}
		if to, is := c.To.(*item); is {
			e.setAddresses(to, to.Networks().With(netip.PrefixFrom(c.Addr, c.Addr.BitLen())))
		}
	}
	for _, p := range changes.Unnamed {
		e.mark(p.(*item)) // it may have been there for a block alone
	}
}

// setAddresses sets the addresses that a pod owns. Nearly always they are those of its status: one copy is enough.
func (e *Engine) setAddresses(it *item, now compact.Networks) {
	if stated := it.Claim().Addrs(); stated == now {
		now = stated
	}
	e.setNets(it, now)
}
