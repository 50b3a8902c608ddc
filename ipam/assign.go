package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/maneki-net/maneki/api/ipreservation"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// Assign carries out a batch of requests for one host and answers each in its place.
//
// The requests share the writes: one for each block that gives addresses, and three for
// each new block. Addresses come from the host's own blocks, then from blocks it claims in
// the order of pools, then, unless IPAMConfiguration says strictAffinity, from blocks of
// others. pools are all pools that exist; each request decides which of them it may use.
func (c *Client) Assign(ctx context.Context, host Host, pools []Pool, requests []Request) []Result {
	results := make([]Result, len(requests))
	if err := c.enter(ctx); err != nil {
		return fail(results, err)
	}
	defer c.leave()
	return c.assign(ctx, host, pools, requests)
}

func (c *Client) assign(ctx context.Context, host Host, pools []Pool, requests []Request) []Result {
	results := make([]Result, len(requests))
	known, err := c.load(ctx, host.Name)
	if err != nil {
		return fail(results, err)
	}
	reserved, err := c.reserved(ctx)
	if err != nil {
		return fail(results, err)
	}
	cooldown, err := c.cooldown(ctx)
	if err != nil {
		return fail(results, err)
	}
	live := map[netip.Addr]string{}
	if c.live != nil {
		for _, lease := range c.live() {
			live[lease.Addr] = lease.Handle
		}
	}
	rounds := map[Family]*round{}
	for _, family := range []Family{IPv4, IPv6} {
		rounds[family] = &round{client: c, host: host, family: family, known: known, live: live,
			reserved: reserved, cooldown: cooldown}
	}
	seen := map[string]bool{}
	for i := range requests {
		wants, err := requests[i].wants()
		if err == nil && seen[requests[i].Handle] {
			err = errors.New("the handle is twice in one batch")
		}
		if err != nil {
			results[i].Err = fmt.Errorf("%w for %q: %w", ErrInvalidRequest, requests[i].Handle, err)
			continue
		}
		seen[requests[i].Handle] = true
		for family, want := range wants {
			rounds[family].add(i, &requests[i], want, pools)
		}
	}
	var families sync.WaitGroup
	for _, r := range rounds {
		families.Go(func() { r.run(ctx) })
	}
	families.Wait()
	for _, r := range rounds {
		if r.doubtful {
			delete(c.hosts, host.Name)
		}
	}
	c.collect(ctx, rounds, results)
	return results
}

func fail(results []Result, err error) []Result {
	for i := range results {
		results[i].Err = err
	}
	return results
}

// collect puts what the rounds found into the results, and gives back what a request got
// in one family when it failed in the other.
func (c *Client) collect(ctx context.Context, rounds map[Family]*round, results []Result) {
	var giveBack []block.Lease
	fresh := map[int][]block.Lease{}
	for _, family := range []Family{IPv4, IPv6} {
		for _, n := range rounds[family].needs {
			result := &results[n.index]
			result.Err = errors.Join(result.Err, n.err)
			if n.err == nil {
				result.Leases = append(result.Leases, n.lease)
			}
			if n.fresh {
				fresh[n.index] = append(fresh[n.index], n.lease)
			}
		}
	}
	for i := range results {
		if results[i].Err != nil {
			results[i].Leases = nil
			giveBack = append(giveBack, fresh[i]...)
		}
	}
	if len(giveBack) == 0 {
		return
	}
	if _, err := c.releaseLeases(ctx, block.Block.Release, giveBack); err != nil { // nobody used them
		err = fmt.Errorf("give back the address of the other family: %w", err)
		for i := range results {
			if len(fresh[i]) > 0 && results[i].Err != nil {
				results[i].Err = errors.Join(results[i].Err, err)
			}
		}
	}
}

// need is one address that a round has to find.
type need struct {
	index      int // of the request
	request    *Request
	attributes map[string]string
	want       netip.Addr // zero for any
	pools      []*Pool    // usable ones, in order
	refusals   []refusal  // why the others are not

	done  bool
	lease block.Lease
	fresh bool // assigned by this round
	err   error
}

// refusal is why a pool gives no address.
type refusal struct {
	pool string
	why  error
}

// usable reports whether the need may be met from a block.
func (n *need) usable(b block.Block) bool {
	for _, pool := range n.pools {
		if pool.containsBlock(b.CIDR) {
			return !n.want.IsValid() || b.CIDR.Contains(n.want)
		}
	}
	return false
}

func (n *need) fail(err error) { n.done, n.err = true, err }

// round meets the needs of one family in one batch.
type round struct {
	client *Client
	host   Host
	family Family
	known  *hostBlocks
	live   map[netip.Addr]string // handles of the addresses in use on the host; both families
	// reserved are assigned only to needs for the very address.
	reserved ipreservation.Set
	cooldown time.Duration
	needs    []*need
	// doubtful: the outcome of a write is unknown, so what is known of the host is not to be trusted.
	doubtful bool
	// lostClaim: another node was faster to claim a block that this round was about to.
	lostClaim bool
}

func (r *round) add(index int, request *Request, want netip.Addr, pools []Pool) {
	n := &need{index: index, request: request, want: want, attributes: maps.Clone(request.Attributes)}
	if n.attributes == nil {
		n.attributes = map[string]string{}
	}
	n.attributes[AttrNode] = r.host.Name
	for i := range pools {
		if pools[i].Family() != r.family {
			continue
		}
		if err := pools[i].usable(r.host, request, want); err != nil {
			n.refusals = append(n.refusals, refusal{pools[i].Name, err})
			continue
		}
		n.pools = append(n.pools, &pools[i])
	}
	r.needs = append(r.needs, n)
}

func (r *round) blocks() map[string]block.Block { return r.known.byFamily[r.family] }

// open returns the first need that is neither met nor failed.
func (r *round) open() *need {
	for _, n := range r.needs {
		if !n.done {
			return n
		}
	}
	return nil
}

func (r *round) run(ctx context.Context) {
	if err := r.meet(ctx); err != nil {
		r.doubtful = true
		for _, n := range r.needs {
			if !n.done {
				n.fail(err)
			}
		}
	}
}

// meet meets the needs or fails them one by one. An error concerns all that are open.
func (r *round) meet(ctx context.Context) error {
	if err := r.fromOwn(ctx); err != nil || r.open() == nil {
		return err
	}
	// What is remembered did not suffice; from here on the truth is read.
	inv, err := r.client.inventory(ctx)
	if err != nil {
		return err
	}
	r.known.refresh(r.host.Name, r.family, inv)
	if err := r.fromOwn(ctx); err != nil || r.open() == nil {
		return err
	}
	return r.beyondOwn(ctx, inv)
}

// held ends the needs whose handle holds an address. A remembered block is read again
// first: what it says may have been released, and assigned to another.
func (r *round) held(ctx context.Context) error {
	for _, b := range r.blocks() {
		if !slices.ContainsFunc(r.needs, func(n *need) bool {
			return !n.done && len(b.HeldBy(r.host.Name, n.request.Handle)) > 0
		}) {
			continue
		}
		now, err := r.client.getBlock(ctx, b.Name)
		switch {
		case errors.Is(err, datastore.ErrNotFound), errors.Is(err, block.ErrDamaged):
			r.known.forget(b)
		case err != nil:
			return err
		default:
			r.known.remember(r.host.Name, now)
			r.recognise(now)
		}
	}
	return nil
}

// recognise ends the needs whose handle holds an address in the block already.
func (r *round) recognise(b block.Block) {
	for _, n := range r.needs {
		if n.done {
			continue
		}
		for _, a := range b.HeldBy(r.host.Name, n.request.Handle) {
			if n.want.IsValid() && a.Addr != n.want {
				n.fail(fmt.Errorf("%w for %q: it asks for %s and holds %s",
					ErrInvalidRequest, n.request.Handle, n.want, a.Addr))
				break
			}
			n.done, n.lease = true, a.Lease
			break
		}
	}
}

// fromOwn meets needs from the blocks that are known to be the host's.
func (r *round) fromOwn(ctx context.Context) error {
	if err := r.held(ctx); err != nil {
		return err
	}
	for _, name := range sortedNames(r.blocks()) {
		own := r.blocks()[name]
		if r.open() == nil {
			return nil
		}
		if err := r.fill(ctx, own, func(b block.Block) bool { return b.Node() == r.host.Name }); err != nil {
			return err
		}
	}
	return nil
}

// fill meets as many needs as a block can, in one write. prepare says of the block as it
// is whether it may be used, and may change it first. A block that an older one overlaps gives nothing.
func (r *round) fill(ctx context.Context, b block.Block, prepare func(block.Block) bool) error {
	if r.known.shadowed[r.family][b.Name] {
		return nil
	}
	var taken map[*need]block.Lease
	reread := false
	result, err := r.client.amend(ctx, b, func(b block.Block) bool {
		if reread {
			r.recognise(b)
		}
		reread, taken = true, nil
		b.FreeRested(r.client.now(), r.cooldown)
		if b.Provisional() || !prepare(b) {
			return false
		}
		taken = r.take(b)
		return len(taken) > 0
	})
	if err != nil {
		return err
	}
	if result.gone {
		r.known.forget(b)
		return nil
	}
	r.known.remember(r.host.Name, result.block)
	if result.written {
		r.settle(taken)
	}
	return nil
}

// take assigns from a private copy of a block. Nothing is settled until it is written.
func (r *round) take(b block.Block) map[*need]block.Lease {
	taken := map[*need]block.Lease{}
	for _, n := range r.needs {
		if n.done || !n.usable(b) {
			continue
		}
		unused := func(addr netip.Addr) bool { return r.holder(addr, n.request.Handle) == "" }
		if !n.want.IsValid() {
			may := func(addr netip.Addr) bool { return !r.reserved.Contains(addr) && unused(addr) }
			if lease, ok := b.Assign(n.request.Handle, n.attributes, may); ok {
				taken[n] = lease
			}
		} else if unused(n.want) {
			if _, rests := b.ReleasedAt(n.want); rests && n.request.reassert {
				b.Vacate(n.want)
			}
			if lease, err := b.AssignAddr(n.want, n.request.Handle, n.attributes); err == nil {
				taken[n] = lease
			}
		}
	}
	return taken
}

// holder returns another handle under which an address is in use on the host, whatever the blocks say. It is empty if
// there is none.
func (r *round) holder(addr netip.Addr, handle string) string {
	if holder := r.live[addr]; holder != handle {
		return holder
	}
	return ""
}

func (r *round) settle(taken map[*need]block.Lease) {
	for n, lease := range taken {
		n.done, n.fresh, n.lease = true, true, lease
	}
}
