package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// Client assigns and releases addresses through a Store. Make it with New.
type Client struct {
	store datastore.Store
	now   func() time.Time
	// turn holds one token; whoever took it carries out an operation and owns hosts.
	turn chan struct{}
	// hosts remembers the blocks of each host for which this client assigned. It may be
	// out of date, which compare-and-swap finds out; a host is forgotten whenever the
	// outcome of one of its writes is not known.
	hosts map[string]*hostBlocks
	live  func() []block.Lease // see SetLive; nil for none
	// limits returns the Limits; nil: they are read from the Store. See SetLimits.
	limits func() Limits
}

// SetLive sets the function that returns the addresses in use on this client's host, whatever the blocks say. None of
// these is assigned to another handle. Call SetLive before the client is used. The goroutines that assign addresses
// call live.
func (c *Client) SetLive(live func() []block.Lease) { c.live = live }

// hostBlocks are the blocks of one host: those with affinity to it, and those in which it
// borrowed. Each family's maps may be used by its own goroutine.
type hostBlocks struct {
	byFamily map[Family]map[string]block.Block
	// shadowed are the names of all blocks that an older block overlaps, as of the last inventory.
	shadowed map[Family]map[string]bool
}

// New makes a Client. It does no I/O.
func New(store datastore.Store) *Client {
	c := &Client{store: store, now: time.Now, turn: make(chan struct{}, 1), hosts: map[string]*hostBlocks{}}
	c.turn <- struct{}{}
	return c
}

// enter waits for the client's turn; leave ends it.
func (c *Client) enter(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for address assignment: %w", ctx.Err())
	}
}

func (c *Client) leave() { c.turn <- struct{}{} }

// inventory has all blocks as of one time.
type inventory struct {
	blocks []block.Block
	// provisional blocks are not among blocks.
	provisional []block.Block
	// cidrs are the ranges of all blocks, damaged ones included.
	cidrs []netip.Prefix
	// damaged has the damaged blocks, with the reasons.
	damaged map[netip.Prefix]error
}

// cover records the range of a block, whatever its contents. A block with an invalid name has none: nobody assigns from
// it.
func (inv *inventory) cover(name string, damage error) {
	cidr, ok := v3.BlockCIDR(name)
	if !ok {
		return
	}
	inv.cidrs = append(inv.cidrs, cidr)
	if damage != nil {
		inv.damaged[cidr] = damage
	}
}

func (c *Client) inventory(ctx context.Context) (*inventory, error) {
	list, err := c.store.List(ctx, datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list IPAM blocks: %w", err)
	}
	inv := &inventory{damaged: map[netip.Prefix]error{}}
	for _, item := range list.Items {
		obj, ok := item.(*v3.IPAMBlock)
		if !ok {
			return nil, fmt.Errorf("list IPAM blocks: got a %T", item)
		}
		// A block that contradicts itself is nobody's: nothing is assigned from it, and
		// what it covers stays covered.
		b, err := block.Parse(obj)
		inv.cover(obj.Name, err)
		switch {
		case err != nil:
		case b.Provisional():
			inv.provisional = append(inv.provisional, b)
		default:
			inv.blocks = append(inv.blocks, b)
		}
	}
	for _, unusable := range list.Unusable {
		inv.cover(unusable.Key.Name, fmt.Errorf("IPAMBlock %s: %w", unusable.Key, unusable.Err))
	}
	return inv, nil
}

// alone reports whether no other block covers a part of a range.
func (inv *inventory) alone(cidr netip.Prefix) bool {
	return !slices.ContainsFunc(inv.cidrs, func(other netip.Prefix) bool {
		return other != cidr &&
			other.Overlaps(cidr)
	})
}

// shadows returns the blocks that an older block overlaps. Clients create no such blocks, but somebody may write them
// by hand. The calculation of routes and policy ignores these blocks, too.
func (inv *inventory) shadows() []block.Block {
	sorted := slices.SortedFunc(slices.Values(inv.blocks), func(a, b block.Block) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	// Two prefixes overlap if one contains the other. A block that contains another one is found by its name.
	older, ancestors := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	var found []block.Block
	for _, b := range sorted {
		shadowed := ancestors[b.CIDR]
		for bits := b.CIDR.Bits(); bits >= b.CIDR.Addr().BitLen()-v3.MaxBlockBits; bits-- {
			above, _ := b.CIDR.Addr().Prefix(bits)
			shadowed = shadowed || older[above]
		}
		if shadowed {
			found = append(found, b)
			continue
		}
		older[b.CIDR] = true
		for bits := b.CIDR.Bits() - 1; bits >= b.CIDR.Addr().BitLen()-v3.MaxBlockBits; bits-- {
			above, _ := b.CIDR.Addr().Prefix(bits)
			ancestors[above] = true
		}
	}
	return found
}

// load returns what is remembered of a host, or reads it and repairs what a crash left.
func (c *Client) load(ctx context.Context, host string) (*hostBlocks, error) {
	if known := c.hosts[host]; known != nil {
		return known, nil
	}
	inv, err := c.inventory(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range inv.provisional {
		if b.Node() != host || !b.Empty() {
			continue
		}
		if err := c.withdraw(ctx, b); err != nil {
			return nil, err
		}
	}
	if err := c.repairAffinities(ctx, host, inv); err != nil {
		return nil, err
	}
	known := &hostBlocks{byFamily: map[Family]map[string]block.Block{IPv4: {}, IPv6: {}},
		shadowed: map[Family]map[string]bool{IPv4: {}, IPv6: {}}}
	for _, family := range []Family{IPv4, IPv6} {
		known.refresh(host, family, inv)
	}
	c.hosts[host] = known
	return known, nil
}

// refresh replaces what is known of one family by what an inventory says.
func (h *hostBlocks) refresh(host string, family Family, inv *inventory) {
	clear(h.byFamily[family])
	clear(h.shadowed[family])
	for _, b := range inv.blocks {
		if FamilyOf(b.CIDR.Addr()) == family {
			h.remember(host, b)
		}
	}
	for _, b := range inv.shadows() {
		if FamilyOf(b.CIDR.Addr()) == family {
			h.shadowed[family][b.Name] = true
		}
	}
}

// remember notes the state of a block, or drops it when it no longer concerns the host.
func (h *hostBlocks) remember(host string, b block.Block) {
	if !b.Provisional() && (b.Node() == host || len(b.Allocations(ofNode(host))) > 0) {
		h.byFamily[FamilyOf(b.CIDR.Addr())][b.Name] = b
		return
	}
	h.forget(b)
}

func (h *hostBlocks) forget(b block.Block) { delete(h.byFamily[FamilyOf(b.CIDR.Addr())], b.Name) }

// ofNode accepts what was assigned on behalf of a node.
func ofNode(node string) func(block.Allocation) bool {
	return func(a block.Allocation) bool { return a.Attributes[AttrNode] == node }
}

func (c *Client) getBlock(ctx context.Context, name string) (block.Block, error) {
	obj, err := c.store.Get(ctx, datastore.IPAMBlocks, datastore.Key{Name: name})
	if err != nil {
		return block.Block{}, fmt.Errorf("read IPAMBlock %s: %w", name, err)
	}
	b, ok := obj.(*v3.IPAMBlock)
	if !ok {
		return block.Block{}, fmt.Errorf("read IPAMBlock %s: got a %T", name, obj)
	}
	return block.Parse(b)
}

// outcome is what an amendment came to.
type outcome struct {
	written bool
	// gone: the block does not exist (any more), or is damaged and gives nothing.
	gone bool
	// block is its state as last read or written, when it is not gone.
	block block.Block
}

// amend changes a block by compare-and-swap. change gets a private copy, and again the
// block as it then is after every conflict; it returns false when there is nothing to
// write. A block that change left empty and without affinity is deleted.
//
// On an error the write may or may not have happened.
func (c *Client) amend(ctx context.Context, b block.Block, change func(block.Block) bool) (outcome, error) {
	for {
		next := b.Copy()
		next.Spec.SequenceNumber++
		if !change(next) {
			return outcome{block: b}, nil
		}
		result, err := c.write(ctx, next)
		if err == nil {
			return result, nil
		}
		if errors.Is(err, datastore.ErrConflict) {
			b, err = c.getBlock(ctx, b.Name)
		}
		if errors.Is(err, datastore.ErrNotFound) || errors.Is(err, block.ErrDamaged) {
			return outcome{gone: true}, nil
		}
		if err != nil {
			return outcome{}, err
		}
	}
}

func (c *Client) write(ctx context.Context, b block.Block) (outcome, error) {
	if b.Empty() && b.Spec.Affinity == "" {
		pre := datastore.Preconditions{UID: b.UID, Revision: b.ResourceVersion}
		if err := c.store.Delete(ctx, datastore.IPAMBlocks, datastore.Key{Name: b.Name}, pre); err != nil {
			return outcome{}, fmt.Errorf("delete IPAMBlock %s: %w", b.Name, err)
		}
		return outcome{written: true, gone: true}, nil
	}
	obj, err := c.store.Update(ctx, datastore.IPAMBlocks, b.IPAMBlock)
	if err != nil {
		return outcome{}, fmt.Errorf("update IPAMBlock %s: %w", b.Name, err)
	}
	written, err := stored(obj)
	return outcome{written: true, block: written}, err
}

// withdraw deletes a provisional block, unless it has changed since it was read.
func (c *Client) withdraw(ctx context.Context, b block.Block) error {
	pre := datastore.Preconditions{UID: b.UID, Revision: b.ResourceVersion}
	err := c.store.Delete(ctx, datastore.IPAMBlocks, datastore.Key{Name: b.Name}, pre)
	if err == nil || errors.Is(err, datastore.ErrNotFound) || errors.Is(err, datastore.ErrConflict) {
		return nil
	}
	return fmt.Errorf("delete IPAMBlock %s: %w", b.Name, err)
}

// stored takes a block from a write's answer.
func stored(obj datastore.Object) (block.Block, error) {
	written, ok := obj.(*v3.IPAMBlock)
	if !ok {
		return block.Block{}, fmt.Errorf("write an IPAMBlock: got a %T back", obj)
	}
	return block.Parse(written)
}
