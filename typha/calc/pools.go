package calc

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/ippool"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// pools are the IPPools. A Flush compares them with each other, once for all changes since the last Flush.
//
// A pool that cannot be used is closed: it gives no new addresses. The addresses that it gave stay in use, and the
// blocks in its range are used. If the range cannot be read, any block may be in it: a block that no other pool
// contains counts as in that pool. Which blocks are used so depends on the pools that there are now. Nodes keep such a
// pool as it could be read last; an Engine that never could read it has nothing to hand out.
type pools struct {
	stored map[string]*v3.IPPool // the pools, as their ranges could be read last
	unread map[string]string     // why the ranges of these pools cannot be read now
	known  map[string]*wire.Pool // as last handed out
	losers map[string]bool       // the known pools that overlap an older pool
	// unbounded is the first of the unread pools at the last Flush, by name, or empty.
	unbounded string
	// byNamespace reports whether a pool selects namespaces by their labels.
	byNamespace bool
	dirty       bool
}

func newPools() pools {
	return pools{stored: map[string]*v3.IPPool{}, unread: map[string]string{}, known: map[string]*wire.Pool{}}
}

func (e *Engine) upsertPool(o *v3.IPPool) {
	p, err := poolOf(o)
	if p == nil {
		e.refusePool(o.Name, err.Error())
		return
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	e.problems.set(KindIPPool, "", o.Name, reason)
	delete(e.pools.unread, o.Name)
	e.pools.stored[o.Name], e.pools.dirty = o, true
}

// refusePool notes that there is a pool whose range cannot be read.
func (e *Engine) refusePool(name, reason string) {
	e.problems.set(KindIPPool, "", name, reason)
	e.pools.unread[name], e.pools.dirty = reason, true
}

func (e *Engine) deletePool(name string) {
	delete(e.pools.stored, name)
	delete(e.pools.unread, name)
	e.pools.dirty = true
}

// flushPools hands out the pools. A pool that may not give addresses is closed. Addresses that it gave before stay in
// use, and their routes stay as they are.
func (e *Engine) flushPools() {
	if !e.pools.dirty {
		return
	}
	e.pools.dirty = false
	former, losers, unbounded := e.pools.known, e.pools.losers, e.pools.unbounded
	e.pools.known, e.pools.losers, e.pools.unbounded = map[string]*wire.Pool{}, map[string]bool{}, ""
	for name := range e.pools.unread {
		if e.pools.unbounded == "" || name < e.pools.unbounded {
			e.pools.unbounded = name
		}
	}
	moved := unbounded != e.pools.unbounded
	for name, verdict := range ippool.Judge(slices.Collect(maps.Values(e.pools.stored))) {
		p := e.pools.read(name, verdict)
		e.pools.losers[name] = verdict.Reason == ippool.ReasonOverlap
		e.pools.known[name] = p
		e.out.set(p)
		moved = moved || former[name] == nil || former[name].CIDR != p.CIDR || losers[name] != e.pools.losers[name]
	}
	for name, p := range former {
		if e.pools.known[name] == nil {
			e.out.remove(p.ID())
			moved = true
		}
	}
	if moved {
		e.poolsChanged()
	}
	e.flushNamespaceSelectors()
}

// flushNamespaceSelectors hands the labels of the namespaces out with the endpoints, if a pool selects by them.
func (e *Engine) flushNamespaceSelectors() {
	byNamespace := false
	for _, p := range e.pools.stored {
		byNamespace = byNamespace || p.Spec.NamespaceSelector != "" && p.Spec.NamespaceSelector != "all()"
	}
	if byNamespace == e.pools.byNamespace {
		return
	}
	e.pools.byNamespace = byNamespace
	for p := range e.profiles {
		if p.kube {
			e.markPods(p)
		}
	}
}

// read returns a stored pool as nodes get it.
func (p *pools) read(name string, verdict ippool.Verdict) *wire.Pool {
	pool, err := poolOf(p.stored[name])
	if pool == nil {
		panic(fmt.Sprintf("pool %s, whose range was read, cannot be: %v", name, err))
	}
	closed := p.unread[name]
	switch {
	case closed != "":
	case err != nil:
		closed = err.Error()
	case verdict.Reason != ippool.ReasonOK:
		closed = verdict.Message
	}
	if closed != "" && !pool.Disabled {
		pool.Disabled, pool.Closed = true, closed
	}
	return pool
}

// covering returns the name of the pool that contains a block, or the empty string. Of several pools it prefers one
// that overlaps no older pool, then the smallest. A block that is in none may be in one whose range cannot be read.
func (p *pools) covering(block netip.Prefix) string {
	best := ""
	for name, pool := range p.known {
		if pool.CIDR.Bits() > block.Bits() || !pool.CIDR.Contains(block.Addr()) {
			continue
		}
		other := p.known[best]
		if other == nil || p.before(pool, other) {
			best = name
		}
	}
	return cmp.Or(best, p.unbounded)
}

// before reports whether covering prefers pool a to pool b.
func (p *pools) before(a, b *wire.Pool) bool {
	if p.losers[a.Name] != p.losers[b.Name] {
		return p.losers[b.Name]
	}
	if a.CIDR.Bits() != b.CIDR.Bits() {
		return a.CIDR.Bits() > b.CIDR.Bits()
	}
	return a.Name < b.Name
}
