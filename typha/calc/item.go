package calc

import (
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
)

// resourceName names a resource within its kind; the namespace is empty for one that is in none.
type resourceName struct{ namespace, name string }

// item is an endpoint, a network set or a node, as the engine sees it: an item of the index with what else the engine
// needs to know.
type item struct {
	labelindex.Item            // its Value is the item, its Flags are those below
	node            needs.Node // where its endpoint is
	sent            handed     // its endpoint
	detail          any        // *podDetail, *v3.HostEndpointSpec or *v3.WorkloadEndpointSpec
}

const (
	itemDirty   uint8 = 1 << iota // it is in Engine.changed: its endpoint has to be decided again
	itemGone                      // there is no resource any more
	itemCounted                   // its node is counted for what applies to its group
)

// itemOf returns the item of which an item of the index is a part.
func itemOf(it *labelindex.Item) *item { return it.Value.(*item) }

func (it *item) is(flag uint8) bool { return it.Flags&flag != 0 }

func (it *item) setFlag(flag uint8)   { it.Flags |= flag }
func (it *item) clearFlag(flag uint8) { it.Flags &^= flag }

// isEndpoint reports whether policies apply to it.
func (it *item) isEndpoint() bool {
	return it.Kind().IsEndpoint() && it.node.Known() && it.Group() != nil
}

// expected reports whether blocks attribute addresses to it, whether or not there is a resource.
func (it *item) expected() bool {
	p, is := it.detail.(*podDetail)
	return is && p.claim.Named()
}

// findItem returns the item of a resource, or nil if there is none.
func (e *Engine) findItem(key labelindex.Key) *item {
	if it := e.index.Find(key); it != nil {
		return itemOf(it)
	}
	return nil
}

// item returns the item of a resource, which it makes if there is none.
func (e *Engine) item(key labelindex.Key) *item {
	it := e.findItem(key)
	if it == nil {
		it = &item{}
		it.Value = it
		e.index.Add(&it.Item, key)
	}
	it.clearFlag(itemGone)
	return it
}

// mark has the next Flush decide on the item's endpoint again.
func (e *Engine) mark(it *item) {
	if !it.is(itemDirty) {
		it.setFlag(itemDirty)
		e.changed.items = append(e.changed.items, it)
	}
}

// removeItem removes an item; Flush forgets it.
func (e *Engine) removeItem(key labelindex.Key) {
	if it := e.findItem(key); it != nil && !it.is(itemGone) {
		it.setFlag(itemGone)
		e.index.Exclude(&it.Item)
		e.setNets(it, "")
		e.mark(it)
	}
}

// moveTo puts the item on a node, or with the zero value on none.
func (e *Engine) moveTo(it *item, node needs.Node) {
	if it.node != node {
		e.uncount(it)
		it.node = node
		e.mark(it)
	}
}

// setNets replaces the networks of an item.
func (e *Engine) setNets(it *item, now compact.Networks) { e.index.SetNetworks(&it.Item, now) }
