package ipam

import (
	"context"
	"errors"
)

// Reassert makes sure that what a host's things live by is written. Each request names a handle, the addresses that it has
// and its attributes; what the blocks have lost of it, deleted by hand or restored from an old backup, is assigned again,
// whatever the pools allow now. What is still there costs a read of its block. The errors are those of the requests, in
// their places: ErrInUse says that an address is another handle's by now, and nothing was done about that.
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
	// A family at a time: what is right in one is not given back because the other fails.
	for _, family := range []Family{IPv4, IPv6} {
		var batch []Request
		var places []int
		for i, request := range requests {
			for _, addr := range request.Addrs {
				if FamilyOf(addr) == family {
					of := Request{Handle: request.Handle, Attributes: request.Attributes}
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
