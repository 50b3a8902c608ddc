package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/encap"
)

// TunnelHandle returns the owner of the address of a node's tunnel device, as in Calico: vxlan-tunnel-addr-<node>, and
// for IPv6 vxlan-v6-tunnel-addr-<node>.
func TunnelHandle(kind encap.Kind, family Family, node string) string {
	if family == IPv6 {
		return fmt.Sprintf("%s-v6-tunnel-addr-%s", kind, node)
	}
	return fmt.Sprintf("%s-tunnel-addr-%s", kind, node)
}

// tunnelAttribute returns the value of AttrType, as in Calico: vxlanTunnelAddress, vxlanV6TunnelAddress.
func tunnelAttribute(kind encap.Kind, family Family) string {
	if family == IPv6 {
		return kind.String() + "V6TunnelAddress"
	}
	return kind.String() + "TunnelAddress"
}

// EnsureTunnelAddress returns the address of a host's tunnel device: the one it has, as long
// as a pool still allows it, or a new one. The caller passes the pools that use the tunnel.
func (c *Client) EnsureTunnelAddress(ctx context.Context, host Host, pools []Pool, kind encap.Kind,
	family Family) (netip.Addr, error) {
	if err := c.enter(ctx); err != nil {
		return netip.Addr{}, err
	}
	defer c.leave()
	request := Request{
		Handle:     TunnelHandle(kind, family, host.Name),
		Attributes: map[string]string{AttrType: tunnelAttribute(kind, family)},
		Families:   []Family{family},
		Use:        Tunnel,
	}
	result := c.assign(ctx, host, pools, []Request{request})[0]
	if result.Err != nil {
		return netip.Addr{}, result.Err
	}
	if allowed(pools, host, &request, result.Leases[0].Addr) {
		return result.Leases[0].Addr, nil
	}
	release, err := c.releaser(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	if _, err := c.releaseLeases(ctx, release, result.Leases); err != nil {
		return netip.Addr{}, fmt.Errorf("leave tunnel address %s: %w", result.Leases[0].Addr, err)
	}
	result = c.assign(ctx, host, pools, []Request{request})[0]
	if result.Err != nil {
		return netip.Addr{}, result.Err
	}
	return result.Leases[0].Addr, nil
}

// allowed reports whether the request may keep an address. Disabled pools only give no new ones.
func allowed(pools []Pool, host Host, request *Request, addr netip.Addr) bool {
	return slices.ContainsFunc(pools, func(p Pool) bool {
		p.Disabled = false
		return p.CIDR.Contains(addr) && p.usable(host, request, netip.Addr{}) == nil
	})
}

// ReleaseTunnelAddress frees the address of a host's tunnel device, if it has one.
func (c *Client) ReleaseTunnelAddress(ctx context.Context, node string, kind encap.Kind, family Family) error {
	_, err := c.Release(ctx, node, TunnelHandle(kind, family, node))
	return err
}
