package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// beyondOwn meets the needs that the host's own blocks cannot: it claims new blocks, takes
// over blocks that nobody has an affinity to, and borrows.
func (r *round) beyondOwn(ctx context.Context, inv *inventory) error {
	config, err := r.client.config(ctx)
	if err != nil {
		return err
	}
	why, err := r.claim(ctx, inv, config)
	if err != nil {
		return err
	}
	if r.lostClaim {
		// What another node claimed just now may lend.
		inv, err = r.client.inventory(ctx)
		if err != nil {
			return err
		}
	}
	if config.StrictAffinity {
		why = fmt.Errorf("%w, and strictAffinity forbids borrowing", why)
	} else if err := r.borrow(ctx, inv); err != nil {
		return err
	}
	for n := r.open(); n != nil; n = r.open() {
		n.fail(r.noAddress(n, inv, why))
	}
	return nil
}

// config reads the IPAMConfiguration; without one, Calico's defaults hold.
func (c *Client) config(ctx context.Context) (v3.IPAMConfigurationSpec, error) {
	obj, err := c.store.Get(ctx, datastore.IPAMConfigurations, datastore.Key{Name: "default"})
	if errors.Is(err, datastore.ErrNotFound) {
		return v3.IPAMConfigurationSpec{}, nil
	}
	if err != nil {
		return v3.IPAMConfigurationSpec{}, fmt.Errorf("read IPAMConfiguration default: %w", err)
	}
	config, ok := obj.(*v3.IPAMConfiguration)
	if !ok {
		return v3.IPAMConfigurationSpec{}, fmt.Errorf("read IPAMConfiguration default: got a %T", obj)
	}
	return config.Spec, nil
}

// claim claims blocks until the needs are met or it may not go on, for the reason why.
func (r *round) claim(ctx context.Context, inv *inventory, config v3.IPAMConfigurationSpec) (why, err error) {
	if auto := config.AutoAllocateBlocks; auto != nil && !*auto {
		return errNoAutoBlocks, nil
	}
	spaces := map[*Pool]*block.Space{}
	orphans := r.orphans(inv)
	hopeless := map[*need]bool{}
	for {
		at := slices.IndexFunc(r.needs, func(n *need) bool { return !n.done && !hopeless[n] })
		if at < 0 {
			return errFull, nil
		}
		if config.MaxBlocksPerHost > 0 && r.ownBlocks() >= int(config.MaxBlocksPerHost) {
			return errMaxBlocks, nil
		}
		n := r.needs[at]
		if cidr, ok := r.room(n, spaces, inv); ok {
			err = r.claimNew(ctx, cidr)
		} else if orphan, ok := r.takeUsable(n, orphans); ok {
			err = r.claimOrphan(ctx, orphan)
		} else {
			hopeless[n] = true
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *round) ownBlocks() int {
	count := 0
	for _, b := range r.blocks() {
		if b.Node() == r.host.Name {
			count++
		}
	}
	return count
}

// room finds a place for a new block that can meet the need.
func (r *round) room(n *need, spaces map[*Pool]*block.Space, inv *inventory) (netip.Prefix, bool) {
	for _, pool := range n.pools {
		s := spaces[pool]
		if s == nil {
			s = block.NewSpace(pool.CIDR, pool.blockBits(), inv.cidrs)
			spaces[pool] = s
		}
		pick := func() (netip.Prefix, bool) { return s.Pick(r.host.Name, r.reserved) }
		if n.want.IsValid() {
			pick = func() (netip.Prefix, bool) { return s.Claim(n.want) }
		}
		if cidr, ok := pick(); ok {
			return cidr, true
		}
	}
	return netip.Prefix{}, false
}

// claimNew creates a block, and assigns from it. When another node was faster, nothing is left behind and the
// needs stay open.
//
// A block's name excludes only other blocks of the same range. So the block is provisional at first, while claimNew
// reads all blocks: of two blocks that overlap, the claimer of the later one finds the other, and deletes its own.
func (r *round) claimNew(ctx context.Context, cidr netip.Prefix) error {
	return r.withAffinity(ctx, cidr, func() (bool, error) {
		b := block.New(cidr, r.host.Name, r.client.now())
		b.Spec.Deleted = true
		obj, err := r.client.store.Create(ctx, datastore.IPAMBlocks, b.IPAMBlock)
		switch {
		case errors.Is(err, datastore.ErrExists):
			return r.useExisting(ctx, b.Name, false)
		case err != nil:
			return false, fmt.Errorf("create IPAMBlock %s: %w", b.Name, err)
		}
		created, err := stored(obj)
		if err != nil {
			return false, err
		}
		inv, err := r.client.inventory(ctx)
		if err != nil {
			return false, err
		}
		if !inv.alone(cidr) {
			return false, r.client.withdraw(ctx, created)
		}
		return r.complete(ctx, created)
	})
}

// complete makes a provisional block one of the host's, with the addresses already assigned in it.
func (r *round) complete(ctx context.Context, b block.Block) (bool, error) {
	b = b.Copy()
	b.Spec.Deleted = false
	b.Spec.SequenceNumber++
	taken := r.take(b)
	result, err := r.client.write(ctx, b)
	if errors.Is(err, datastore.ErrConflict) || errors.Is(err, datastore.ErrNotFound) {
		return false, nil // a successor of this agent has removed it as the remains of a crash
	}
	if err != nil {
		return false, err
	}
	r.known.remember(r.host.Name, result.block)
	r.settle(taken)
	return true, nil
}

// claimOrphan gives the host the affinity to a block that has lost its own.
func (r *round) claimOrphan(ctx context.Context, b block.Block) error {
	return r.withAffinity(ctx, b.CIDR, func() (bool, error) { return r.useExisting(ctx, b.Name, true) })
}

// useExisting fills a block that is the host's, or may become it when it is nobody's.
func (r *round) useExisting(ctx context.Context, name string, adopt bool) (bool, error) {
	b, err := r.client.getBlock(ctx, name)
	if errors.Is(err, datastore.ErrNotFound) || errors.Is(err, block.ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.recognise(b)
	err = r.fill(ctx, b, func(b block.Block) bool {
		if adopt && b.Spec.Affinity == "" && b.Free() > 0 {
			b.SetNode(r.host.Name, r.client.now())
		}
		return b.Node() == r.host.Name
	})
	known, ok := r.blocks()[name]
	return ok && known.Node() == r.host.Name, err
}

// withAffinity calls Client.withAffinity, and records the result.
func (r *round) withAffinity(ctx context.Context, cidr netip.Prefix, write func() (bool, error)) error {
	mine := false
	err := r.client.withAffinity(ctx, r.host.Name, cidr, func() (_ bool, err error) {
		mine, err = write()
		r.lostClaim = r.lostClaim || err == nil && !mine
		return mine, err
	})
	if err != nil && mine {
		// The addresses are assigned and stay so. Reading the host's blocks again will
		// confirm the affinity.
		r.doubtful = true
		return nil
	}
	return err
}

// orphans are the blocks without affinity that have room.
func (r *round) orphans(inv *inventory) map[string]block.Block {
	orphans := map[string]block.Block{}
	for _, b := range inv.blocks {
		if FamilyOf(b.CIDR.Addr()) == r.family && b.Spec.Affinity == "" && len(r.vacant(b)) > 0 {
			orphans[b.Name] = b
		}
	}
	return orphans
}

// takeUsable removes and returns a block that can meet the need.
func (r *round) takeUsable(n *need, blocks map[string]block.Block) (block.Block, bool) {
	for _, name := range sortedNames(blocks) {
		if b := blocks[name]; n.usable(b) && (n.want.IsValid() || r.free(b) > 0) {
			delete(blocks, name)
			return b, true
		}
	}
	return block.Block{}, false
}

// vacant returns the addresses of a block that can be assigned.
func (r *round) vacant(b block.Block) []netip.Addr { return b.Assignable(r.client.now(), r.cooldown) }

// free counts the addresses of a block that can be assigned and are not reserved.
func (r *round) free(b block.Block) int {
	count := 0
	for _, addr := range r.vacant(b) {
		if !r.reserved.Contains(addr) {
			count++
		}
	}
	return count
}

// borrow meets needs from blocks of other hosts, those with most room first, where
// borrowers meet their owner and each other least.
func (r *round) borrow(ctx context.Context, inv *inventory) error {
	lenders := slices.DeleteFunc(slices.Clone(inv.blocks), func(b block.Block) bool {
		return FamilyOf(b.CIDR.Addr()) != r.family || b.Node() == r.host.Name || len(r.vacant(b)) == 0
	})
	slices.SortFunc(lenders, func(a, b block.Block) int {
		return cmp.Or(cmp.Compare(r.free(b), r.free(a)), cmp.Compare(a.Name, b.Name))
	})
	for _, b := range lenders {
		if r.open() == nil {
			return nil
		}
		if err := r.fill(ctx, b, func(b block.Block) bool { return !b.ForLoadBalancers() }); err != nil {
			return err
		}
	}
	return nil
}

// noAddress says why a need could not be met: by whom its address is held, or why each
// pool gave nothing.
func (r *round) noAddress(n *need, inv *inventory, why error) error {
	subject := fmt.Sprintf("%s on node %s", n.request.Handle, r.host.Name)
	resting := 0
	for _, b := range inv.blocks {
		if n.usable(b) {
			resting += b.Resting()
		}
		if !n.want.IsValid() || !b.CIDR.Contains(n.want) {
			continue
		}
		if at, rests := b.ReleasedAt(n.want); rests {
			return fmt.Errorf("assign %s to %s: %w until %s: it was released, and ipCooldownSeconds of the "+
				"IPAMConfiguration is %.0f",
				n.want, subject, block.ErrInUse, at.Add(r.cooldown).UTC().Format(time.RFC3339), r.cooldown.Seconds())
		}
		if owner := b.Owner(n.want); owner != "" {
			return fmt.Errorf("assign %s to %s: %w by %s", n.want, subject, block.ErrInUse, owner)
		}
	}
	if holder := r.holder(n.want, n.request.Handle); holder != "" {
		return fmt.Errorf("assign %s to %s: %w by %s, which IPAM does not know", n.want, subject, block.ErrInUse,
			holder)
	}
	var reasons []string
	for _, refused := range n.refusals {
		if refused.why != errNotRequested {
			reasons = append(reasons, fmt.Sprintf("pool %s: %v", refused.pool, refused.why))
		}
	}
	for _, pool := range n.pools {
		reasons = append(reasons, fmt.Sprintf("pool %s: %v", pool.Name, why))
		if reserved := r.reserved.Count(pool.CIDR); reserved > 0 && !n.want.IsValid() {
			reasons[len(reasons)-1] += fmt.Sprintf(" (IPReservations keep %.0f)", reserved)
		}
		for _, cidr := range slices.SortedFunc(maps.Keys(inv.damaged), netip.Prefix.Compare) {
			if pool.CIDR.Overlaps(cidr) {
				reasons = append(reasons, inv.damaged[cidr].Error())
			}
		}
	}
	if resting > 0 {
		reasons = append(reasons,
			fmt.Sprintf("%d released addresses rest for the ipCooldownSeconds of the IPAMConfiguration", resting))
	}
	if len(reasons) == 0 {
		reasons = append(reasons, fmt.Sprintf("there is no %s pool", r.family))
		if len(n.request.Pools) > 0 {
			reasons[0] += " named " + strings.Join(n.request.Pools, " or ")
		}
	}
	return fmt.Errorf("assign %s to %s: %w: %s", r.family, subject, ErrNoAddress, strings.Join(reasons, "; "))
}

func sortedNames(blocks map[string]block.Block) []string { return slices.Sorted(maps.Keys(blocks)) }
