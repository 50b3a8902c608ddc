package topology

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/maneki-net/maneki/api/ippool"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// pools are the IPPools. Flush compares them with each other, once for all changes since the last Flush.
//
// A pool that cannot be used is closed: it gives no new addresses. The addresses that it gave stay in use, and the
// blocks in its range are used. If the range cannot be read, any block may be in it: a block that no other pool
// contains counts as in that pool. Which blocks are used therefore depends on the present pools. Nodes keep such a
// pool as it was when its range could be read. A Topology that never could read the range has no object for the pool.
type pools struct {
	stored  map[string]*v3.IPPool // as they were when their ranges could be read
	unread  map[string]string     // the pools whose ranges cannot be read now, and why
	current map[string]*wire.Pool // as of the last Flush
	overlap map[string]bool       // the current pools that overlap an older pool
	ranges  *bart.Table[string]   // by the range: the current pool that gives addresses there
	// unbounded is the first of the unread pools at the last Flush, by name, or empty.
	unbounded string
	changed   bool
}

func newPools() pools {
	return pools{stored: map[string]*v3.IPPool{}, unread: map[string]string{}, current: map[string]*wire.Pool{},
		ranges: &bart.Table[string]{}}
}

// SetPool adds or changes an IPPool. The error says why it gives no addresses; its addresses stay in use.
func (t *Topology) SetPool(o *v3.IPPool) error {
	p, err := poolOf(o)
	if p == nil {
		t.ClosePool(o.Name, err.Error())
		return err
	}
	delete(t.pools.unread, o.Name)
	t.pools.stored[o.Name], t.pools.changed = o, true
	return err
}

// ClosePool says that there is an IPPool whose range cannot be read, and why.
func (t *Topology) ClosePool(name, reason string) {
	t.pools.unread[name], t.pools.changed = reason, true
}

// DeletePool removes an IPPool.
func (t *Topology) DeletePool(name string) {
	delete(t.pools.stored, name)
	delete(t.pools.unread, name)
	t.pools.changed = true
}

// PoolsSelectNamespaces reports whether a pool selects namespaces by their labels. Nodes then have to know the labels.
func (t *Topology) PoolsSelectNamespaces() bool {
	for _, p := range t.pools.stored {
		if p.Spec.NamespaceSelector != "" && p.Spec.NamespaceSelector != "all()" {
			return true
		}
	}
	return false
}

// flushPools outputs the pools. A pool that may not give addresses is closed. The addresses that it gave before stay in
// use, and their routes stay as they are.
func (t *Topology) flushPools() {
	if !t.pools.changed {
		return
	}
	before := t.pools
	t.pools.changed = false
	t.pools.current, t.pools.overlap = map[string]*wire.Pool{}, map[string]bool{}
	t.pools.unbounded = ""
	if len(t.pools.unread) > 0 {
		t.pools.unbounded = slices.Min(slices.Collect(maps.Keys(t.pools.unread)))
	}
	moved := before.unbounded != t.pools.unbounded
	for name, verdict := range ippool.Judge(slices.Collect(maps.Values(t.pools.stored))) {
		p := t.pools.object(name, verdict)
		t.pools.current[name] = p
		t.pools.overlap[name] = verdict.Reason == ippool.ReasonOverlap
		t.set(p)
		former := before.current[name]
		moved = moved || former == nil || former.CIDR != p.CIDR || before.overlap[name] != t.pools.overlap[name]
	}
	for name, p := range before.current {
		if t.pools.current[name] == nil {
			t.remove(p.ID())
			moved = true
		}
	}
	if moved {
		t.pools.setRanges()
		t.poolsMoved()
	}
}

// object returns a stored pool as nodes get it.
func (p *pools) object(name string, verdict ippool.Verdict) *wire.Pool {
	pool, err := poolOf(p.stored[name])
	if pool == nil {
		panic(fmt.Sprintf("pool %s is stored although its range cannot be read: %v", name, err))
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

// setRanges finds for each range the pool to which its blocks belong. Of pools with one range that is one that overlaps
// no older pool, then the first by name.
func (p *pools) setRanges() {
	p.ranges = &bart.Table[string]{}
	for _, name := range slices.Sorted(maps.Keys(p.current)) {
		cidr := p.current[name].CIDR
		other, taken := p.ranges.Get(cidr)
		if !taken || p.overlap[other] && !p.overlap[name] {
			p.ranges.Insert(cidr, name)
		}
	}
}

// covering returns the name of the pool that contains a block, or an empty name. Of several pools it prefers one that
// overlaps no older pool, then the smallest. A block that is in none may be in one whose range cannot be read.
func (p *pools) covering(block netip.Prefix) string {
	smallest := ""
	for _, name := range p.ranges.Supernets(block) { // the smallest first
		if !p.overlap[name] {
			return name
		}
		smallest = cmp.Or(smallest, name)
	}
	return cmp.Or(smallest, p.unbounded)
}

// poolOf returns an IPPool as nodes need it, and why it cannot give addresses. It returns nil if the range cannot be
// read.
func poolOf(o *v3.IPPool) (*wire.Pool, error) {
	notNetwork := fmt.Errorf("spec.cidr: %q is not a network such as 10.244.0.0/16", o.Spec.CIDR)
	cidr, err := netip.ParsePrefix(o.Spec.CIDR)
	if err != nil {
		return nil, notNetwork
	}
	p := &wire.Pool{
		Name: o.Name, CIDR: cidr.Masked(), BlockSize: cmp.Or(o.Spec.BlockSize, v3.DefaultBlockSize(cidr.Addr())),
		NATOutgoing: o.Spec.NATOutgoing, Disabled: o.Spec.Disabled, DisableBGPExport: o.Spec.DisableBGPExport,
		NodeSelector: o.Spec.NodeSelector, NamespaceSelector: o.Spec.NamespaceSelector,
		Manual: o.Spec.AssignmentMode == v3.Manual,
	}
	for _, use := range o.Spec.AllowedUses {
		p.AllowedUses = append(p.AllowedUses, string(use))
	}
	var errVXLAN, errIPIP error
	p.VXLAN, errVXLAN = encapOf("spec.vxlanMode", string(o.Spec.VXLANMode))
	p.IPIP, errIPIP = encapOf("spec.ipipMode", string(o.Spec.IPIPMode))
	if p.CIDR != cidr {
		return p, notNetwork
	}
	return p, cmp.Or(errVXLAN, errIPIP)
}

// encapOf reads a mode. One that cannot be read is Never.
func encapOf(field, mode string) (wire.Encap, error) {
	switch mode {
	case "", "Never":
		return wire.EncapNever, nil
	case "Always":
		return wire.EncapAlways, nil
	case "CrossSubnet":
		return wire.EncapCrossSubnet, nil
	}
	return wire.EncapNever, fmt.Errorf("%s: %q is none of Never, Always, CrossSubnet", field, mode)
}
