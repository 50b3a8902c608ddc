package calc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/ippool"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// pools are the IPPools. A Flush compares them with each other, once for all changes since the last Flush.
type pools struct {
	stored map[string]*v3.IPPool // the pools that can be read
	known  map[string]*wire.Pool // as last handed out
	losers map[string]bool       // the known pools that overlap an older pool
	dirty  bool
}

func newPools() pools {
	return pools{stored: map[string]*v3.IPPool{}, known: map[string]*wire.Pool{}}
}

func (e *Engine) upsertPool(o *v3.IPPool) {
	_, err := poolOf(o)
	if err != nil {
		e.deletePool(o.Name)
		e.judge(KindIPPool, "", o.Name, err.Error())
		return
	}
	e.judge(KindIPPool, "", o.Name, "")
	e.pools.stored[o.Name], e.pools.dirty = o, true
}

func (e *Engine) deletePool(name string) {
	if e.pools.stored[name] != nil {
		delete(e.pools.stored, name)
		e.pools.dirty = true
	}
}

// flushPools hands out the pools. A pool that may not give addresses is closed. Addresses that it gave before stay in use,
// and their routes stay as they are.
func (e *Engine) flushPools() {
	if !e.pools.dirty {
		return
	}
	e.pools.dirty = false
	former, losers := e.pools.known, e.pools.losers
	e.pools.known, e.pools.losers = map[string]*wire.Pool{}, map[string]bool{}
	moved := false
	for name, verdict := range ippool.Judge(slices.Collect(maps.Values(e.pools.stored))) {
		p, err := poolOf(e.pools.stored[name])
		if err != nil {
			panic(fmt.Sprintf("pool %s, which was read, cannot be: %v", name, err))
		}
		if verdict.Reason != ippool.ReasonOK && !p.Disabled {
			p.Disabled, p.Closed = true, verdict.Message
		}
		if verdict.Reason == ippool.ReasonOverlap {
			e.pools.losers[name] = true
		}
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
}

// covering returns the name of the pool that contains a block, or the empty string. Of several pools it prefers one that
// overlaps no older pool, then the smallest.
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
	return best
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
