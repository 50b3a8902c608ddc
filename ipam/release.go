package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// Release frees all addresses that the handles hold on a node, with one write a block, and returns
// what it freed. A handle that holds none is not an error. Addresses that another node assigned to the
// same handle are not freed.
func (c *Client) Release(ctx context.Context, node string, handles ...string) ([]block.Lease, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	release, err := c.releaser(ctx)
	if err != nil {
		return nil, err
	}
	is := func(handle string, a block.Allocation) bool { return a.HeldBy(node, handle) }
	return releaseEach(ctx, c, release, handles, is)
}

// ReleaseAddrs frees leases that are still as they were assigned, and returns what it
// freed. An address that has another handle or Sequence by now is left alone, and no error.
func (c *Client) ReleaseAddrs(ctx context.Context, leases ...block.Lease) ([]block.Lease, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	release, err := c.releaser(ctx)
	if err != nil {
		return nil, err
	}
	return c.releaseLeases(ctx, release, leases)
}

func (c *Client) releaseLeases(ctx context.Context, release releaseFunc, leases []block.Lease) ([]block.Lease, error) {
	return releaseEach(ctx, c, release, leases, func(l block.Lease, a block.Allocation) bool { return l == a.Lease })
}

// releaseEach frees every allocation that is one of the items. The blocks remembered are
// enough when each item is found there, because what a host holds is all remembered or
// not at all; otherwise all blocks are read.
func releaseEach[T any](
	ctx context.Context, c *Client, release releaseFunc, items []T, is func(T, block.Allocation) bool,
) ([]block.Lease, error) {
	found := make([]bool, len(items))
	drop := func(a block.Allocation) bool {
		at := slices.IndexFunc(items, func(item T) bool { return is(item, a) })
		if at >= 0 {
			found[at] = true
		}
		return at >= 0
	}
	blocks := c.knownBlocks(func(b block.Block) bool { return len(b.Allocations(drop)) > 0 })
	if slices.Contains(found, false) {
		inv, err := c.inventory(ctx)
		if err != nil {
			return nil, err
		}
		blocks = inv.blocks
	}
	return c.releaseFrom(ctx, release, blocks, drop)
}

// ReleaseHost frees everything that a node holds: the addresses assigned on its behalf,
// in whatever block, and its affinities. Its blocks are deleted when that leaves them
// empty; otherwise other nodes' addresses are in them, and they live until these are
// released, or another node takes them over.
//
// The node's addresses are read first. Then gone is called; if it reports that the node or its pods exist, nothing
// happens. A node that is back may have got addresses since the read: these are not touched, nor are their blocks. A
// repeated call is harmless, and completes one that was interrupted.
func (c *Client) ReleaseHost(ctx context.Context, node string, gone func(context.Context) (bool, error)) ([]block.Lease,
	error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	delete(c.hosts, node)
	affinities, err := c.affinities(ctx, node)
	if err != nil {
		return nil, err
	}
	inv, err := c.inventory(ctx)
	if err != nil {
		return nil, err
	}
	if is, err := gone(ctx); err != nil || !is {
		return nil, err
	}
	released, err := c.releaseJudged(ctx, node, affinities, inv)
	if err != nil {
		err = fmt.Errorf("release node %s: %w", node, err)
	}
	return released, err
}

// releaseJudged frees the addresses that a node was found to hold.
func (c *Client) releaseJudged(ctx context.Context, node string, affinities []*v3.BlockAffinity,
	inv *inventory) ([]block.Lease, error) {
	// Affinities are marked as going before the blocks change, so that a reader of
	// affinities does not take a block for the node's meanwhile.
	marked, err := c.markAffinities(ctx, affinities)
	errs := []error{err}
	var released []block.Lease
	for _, b := range slices.Concat(inv.blocks, inv.provisional) {
		mark, known := marked[b.CIDR.String()]
		stands := func() (bool, error) { return true, nil }
		if known {
			stands = func() (bool, error) { return c.stands(ctx, mark) }
		}
		freed, err := c.releaseHostBlock(ctx, b, node, stands)
		released = append(released, freed...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return released, err
	}
	for _, a := range marked {
		if a != nil {
			errs = append(errs, c.settleAffinity(ctx, a))
		}
	}
	return released, errors.Join(errs...)
}

// releaseHostBlock frees the addresses that a node was found to hold in one block; there may be none. stands reports
// whether the mark on the node's affinity to the block is still there. If it is not, the node is claiming the block and
// keeps it.
func (c *Client) releaseHostBlock(ctx context.Context, b block.Block, node string,
	stands func() (bool, error)) ([]block.Lease, error) {
	judged := map[block.Lease]bool{}
	for _, a := range b.Allocations(ofNode(node)) {
		judged[a.Lease] = true
	}
	release, err := c.releaser(ctx)
	if err != nil {
		return nil, err
	}
	var released []block.Lease
	var failed error
	err = c.change(ctx, b, func(b block.Block) bool {
		released = release(b, func(a block.Allocation) bool { return judged[a.Lease] })
		ends := b.Node() == node && len(b.Allocations(ofNode(node))) == 0
		if ends {
			ends, failed = stands()
		}
		if ends {
			b.SetNode("", c.now())
		}
		return ends || len(released) > 0
	}, func() { released = nil })
	return released, errors.Join(err, failed)
}

// settleAffinity deletes an affinity that markAffinities has marked, unless its node has kept the block.
func (c *Client) settleAffinity(ctx context.Context, a *v3.BlockAffinity) error {
	cidr, err := netip.ParsePrefix(a.Spec.CIDR)
	if err != nil {
		return c.deleteAffinity(ctx, a)
	}
	b, err := c.getBlock(ctx, v3.BlockName(cidr))
	switch {
	case err == nil && b.Node() == a.Spec.Node:
		a.Spec.State = v3.StateConfirmed
		_, err = c.store.Update(ctx, datastore.BlockAffinities, a)
		if errors.Is(err, datastore.ErrConflict) || errors.Is(err, datastore.ErrNotFound) {
			return nil // the node is claiming the block
		}
		return named("update", datastore.KeyOf(a), err)
	case err == nil, errors.Is(err, datastore.ErrNotFound), errors.Is(err, block.ErrDamaged):
		return c.deleteAffinity(ctx, a)
	}
	return err
}

func (c *Client) releaseFrom(
	ctx context.Context, release releaseFunc, blocks []block.Block, drop func(block.Allocation) bool,
) ([]block.Lease, error) {
	var all []block.Lease
	var errs []error
	for _, b := range blocks {
		var released []block.Lease
		err := c.change(ctx, b, func(b block.Block) bool {
			released = release(b, drop)
			return len(released) > 0
		}, func() { released = nil })
		all = append(all, released...)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// change amends a block and brings what is remembered of it up to date. undone is called
// when the last change was not written because the block is gone. On an error what is
// remembered may be out of date, but lacks no block that concerns its host.
func (c *Client) change(ctx context.Context, b block.Block, change func(block.Block) bool, undone func()) error {
	result, err := c.amend(ctx, b, change)
	if err != nil {
		return err
	}
	if !result.written {
		undone()
	}
	for host, known := range c.hosts {
		if result.gone {
			known.forget(b)
		} else {
			known.remember(host, result.block)
		}
	}
	return nil
}

// knownBlocks lists the remembered blocks that keep accepts, each once.
func (c *Client) knownBlocks(keep func(block.Block) bool) []block.Block {
	byName := map[string]block.Block{}
	for _, known := range c.hosts {
		for _, blocks := range known.byFamily {
			for name, b := range blocks {
				if keep(b) {
					byName[name] = b
				}
			}
		}
	}
	var blocks []block.Block
	for _, name := range sortedNames(byName) {
		blocks = append(blocks, byName[name])
	}
	return blocks
}
