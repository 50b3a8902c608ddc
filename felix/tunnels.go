package felix

import (
	"cmp"
	"reflect"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// What Calico uses for VXLAN unless the configuration says otherwise.
const (
	defaultVXLANPort = 4789
	defaultVXLANVNI  = 4096
)

// configure sets what the configuration says about a tunnel, by its kind. It has each kind of routing.Tunnels.
var configure = map[encap.Kind]func(*config.Config, *routing.TunnelSettings){encap.VXLAN: configureVXLAN}

func configureVXLAN(c *config.Config, s *routing.TunnelSettings) {
	s.Port, s.VNI = cmp.Or(int(c.VXLANPort), defaultVXLANPort), cmp.Or(c.VXLANVNI, defaultVXLANVNI)
	s.ConfiguredMTU = c.VXLANMTU
	if s.Inner == dataplane.IPv6 {
		s.ConfiguredMTU = c.VXLANMTUV6
	}
}

// tunnelSettings returns the tunnels of both families that Felix can make, with what the configuration says about them.
func tunnelSettings(c *config.Config) []routing.TunnelSettings {
	all := make([]routing.TunnelSettings, 0, len(routing.Tunnels))
	for _, t := range routing.Tunnels {
		s := routing.TunnelSettings{Tunnel: t}
		configure[t.Kind](c, &s)
		all = append(all, s)
	}
	return all
}

// setTunnelPools tells the owner of the node's facts which pools use tunnels.
func (n *network) setTunnelPools(v view) {
	pools := node.TunnelPools{}
	for _, t := range routing.Tunnels {
		pools[t.Kind] = v.state.ipamPools(func(p *wire.Pool) bool { return p.Encap(t.Kind) != wire.EncapNever })
	}
	if v.programming && !reflect.DeepEqual(pools, n.tunnelPools) {
		n.tunnelPools = pools
		n.opts.Facts.SetTunnelPools(pools)
	}
}
