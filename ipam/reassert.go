package ipam

import (
	"context"
	"errors"
)

// Reassert makes sure that the leases of a host are in the blocks. Each request names a handle, its addresses and its
// attributes. An address that its block has lost, for example in a deletion by hand or in the restore of an old backup,
// is assigned again, whatever the pools allow now. An address that its block still has costs a read of the block.
//
// The errors are those of the requests, in the same order. ErrInUse means that another handle has an address now; that
// address is left alone.
func (c *Client) Reassert(ctx context.Context, host Host, pools []Pool, requests []Request) []error {
	errs := make([]error, len(requests))
	if err := c.enter(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer c.leave()
	open := make([]Pool, len(pools))
	for i, pool := range pools {
		open[i] = Pool{Name: pool.Name, CIDR: pool.CIDR, BlockSize: pool.BlockSize}
	}
	// One family at a time: the addresses of one are not given back because the other fails.
	for _, family := range []Family{IPv4, IPv6} {
		var batch []Request
		var places []int
		for i, request := range requests {
			for _, addr := range request.Addrs {
				if FamilyOf(addr) == family {
					of := Request{Handle: request.Handle, Attributes: request.Attributes, reassert: true}
					of.Addrs = append(of.Addrs, addr)
					batch, places = append(batch, of), append(places, i)
				}
			}
		}
		if len(batch) == 0 {
			continue
		}
		for i, result := range c.assign(ctx, host, open, batch) {
			errs[places[i]] = errors.Join(errs[places[i]], result.Err)
		}
	}
	return errs
}
