package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Clusters share 172.30.0.0/16 and fd00:30::/32: cluster I has the Ith /20 and
// /48. Within these, subnet 0 links the machine to the router, 1 to MaxSubnets
// are the nodes', 15 is outside the cluster.
const (
	maxClusters   = 16
	subnetUplink  = 0
	subnetOutside = 15

	// Host numbers within a subnet.
	hostRouter    = 1
	hostTor       = 2 // in a node subnet and in subnetOutside
	hostMachine   = 2 // in subnetUplink
	hostFirstNode = 11
)

// Ranges of pods and Services, the same in every cluster, as the chart has them.
var (
	podCIDRs     = familyPrefixes{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/64")}
	serviceCIDRs = familyPrefixes{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")}
	dnsServices  = familyAddrs{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:10:96::a")}
	apiServices  = familyAddrs{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:10:96::1")}
)

// familyAddrs and familyPrefixes hold one value for each IP family.
type (
	familyAddrs    struct{ v4, v6 netip.Addr }
	familyPrefixes struct{ v4, v6 netip.Prefix }
)

// Plan is the addresses of a cluster: a pure function of Config and index.
type Plan struct {
	// Range covers all addresses of nodes, router and tor.
	Range []netip.Prefix
	// Uplink is the machine's own address on the link to the router.
	Uplink []netip.Prefix
	// Router is the router's address on the link to the machine.
	Router []netip.Prefix
	// Subnets are the layer-2 networks of the nodes.
	Subnets []SubnetPlan
	// Outside is tor's address in a network without nodes, and OutsideRouter
	// the router's there.
	Outside, OutsideRouter []netip.Prefix
	Nodes                  []NodePlan
	// PodCIDRs and ServiceCIDRs are the cluster's ranges, DNS and API the addresses of
	// those Services.
	PodCIDRs, ServiceCIDRs []netip.Prefix
	DNS, API               []netip.Addr
}

// SubnetPlan is one layer-2 network of nodes. Addresses carry the network's
// prefix length.
type SubnetPlan struct {
	// Name is also the value of the zone label of its nodes.
	Name string
	// Router is the nodes' default gateway, Tor the top-of-rack router.
	Router, Tor []netip.Prefix
}

// NodePlan is one node.
type NodePlan struct {
	Name string
	// Subnet is the index of its network in Plan.Subnets.
	Subnet int
	// Addrs are its addresses with the network's prefix length.
	Addrs []netip.Prefix
	// PodCIDRs are the node's own share of the pod range; used with CNIPtp alone.
	PodCIDRs []netip.Prefix
}

// newPlan lays out cluster number index, 0 to maxClusters-1, from a complete Config.
func newPlan(c Config, index int) Plan {
	at := func(subnet, host int) []netip.Prefix {
		return c.prefixes(familyPrefixes{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(index<<4 | subnet), byte(host)}), 24),
			netip.PrefixFrom(addr6(0xfd00_0030_0000_0000|uint64(index)<<16|uint64(subnet), uint64(host)), 64),
		})
	}
	p := Plan{
		Range: c.prefixes(familyPrefixes{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(index << 4), 0}), 20),
			netip.PrefixFrom(addr6(0xfd00_0030_0000_0000|uint64(index)<<16, 0), 48),
		}),
		Uplink:        at(subnetUplink, hostMachine),
		Router:        at(subnetUplink, hostRouter),
		Outside:       at(subnetOutside, hostTor),
		OutsideRouter: at(subnetOutside, hostRouter),
		PodCIDRs:      c.prefixes(podCIDRs),
		ServiceCIDRs:  c.prefixes(serviceCIDRs),
		DNS:           c.addrs(dnsServices),
		API:           c.addrs(apiServices),
	}
	for s := range c.Subnets {
		p.Subnets = append(p.Subnets, SubnetPlan{
			Name:   fmt.Sprintf("subnet%d", s+1),
			Router: at(s+1, hostRouter),
			Tor:    at(s+1, hostTor),
		})
	}
	for n := range c.Nodes {
		p.Nodes = append(p.Nodes, NodePlan{
			Name:   fmt.Sprintf("node%d", n+1),
			Subnet: n % c.Subnets,
			Addrs:  at(n%c.Subnets+1, hostFirstNode+n),
			PodCIDRs: c.prefixes(familyPrefixes{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n + 1), 0}), 24),
				netip.PrefixFrom(addr6(0xfd00_0010_0244_0000, uint64(n+1)<<48), 80),
			}),
		})
	}
	return p
}

func addr6(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// prefixes selects the families of the cluster, IPv4 first.
func (c Config) prefixes(p familyPrefixes) []netip.Prefix {
	return selectFamilies(c.IP, p.v4, p.v6)
}

func (c Config) addrs(a familyAddrs) []netip.Addr {
	return selectFamilies(c.IP, a.v4, a.v6)
}

func selectFamilies[T any](f IPFamilies, v4, v6 T) []T {
	switch f {
	case IPv4:
		return []T{v4}
	case IPv6:
		return []T{v6}
	}
	return []T{v4, v6}
}

// addrsOf drops the prefix lengths.
func addrsOf(prefixes []netip.Prefix) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range prefixes {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}
