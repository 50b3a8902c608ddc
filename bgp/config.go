package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// Input is what the stream says that concerns BGP.
type Input struct {
	// Node is the name of this node.
	Node string
	// BGP of this node; nil is off.
	BGP   *wire.BGP
	Hosts []*wire.Host
	Pools []*wire.Pool
	// MaxPrefixes is how many routes each peer may announce; 0 is any number.
	MaxPrefixes uint32
	// Routes of any node; those of this one are announced unless their pool forbids it.
	Routes []*wire.Route
}

// ConfigFor returns the configuration of a node's speaker. The Config is usable also when the error is
// not nil; the error says which peers were left out of it and why.
func ConfigFor(in Input) (Config, error) {
	if in.BGP == nil || in.BGP.ASNumber == 0 {
		return Config{}, nil
	}
	hosts := map[string]*wire.Host{}
	for _, host := range in.Hosts {
		hosts[host.Name] = host
	}
	self := cmp.Or(hosts[in.Node], &wire.Host{Name: in.Node})
	config := Config{
		ASNumber:   cmp.Or(self.ASNumber, in.BGP.ASNumber),
		RouterID:   routerID(self),
		ListenPort: cmp.Or(in.BGP.ListenPort, DefaultPort),
		Announce:   announced(in),
		Pools:      networks(in.Pools),

		Advertisements: in.BGP.Advertisements,
	}
	if in.BGP.BindNodeIP {
		config.ListenOn = addrsOf(self)
	}
	if self.RouteReflectorClusterID != "" {
		config.PassOn = networks(slices.DeleteFunc(slices.Clone(in.Pools),
			func(p *wire.Pool) bool { return p.DisableBGPExport }))
	}
	mesh, off := meshPeers(in, self)
	peers, err := explicitPeers(in.BGP, self, hosts)
	config.Peers, err = oneForEachAddress(withoutBarred(append(peers, mesh...), in.BGP.Barred, err))
	for i := range config.Peers {
		config.Peers[i].MaxPrefixes = in.MaxPrefixes
	}
	if len(config.Peers) == 0 {
		config.Off = "no BGPPeer has a session for this node, and " + off
	}
	config.Confirmed = confirmed(in.Routes, config.Peers)
	return config, err
}

// confirmed returns the destinations on each peer that is a node and announces only its own.
func confirmed(routes []*wire.Route, peers []Peer) map[string][]netip.Prefix {
	by := map[string][]netip.Prefix{}
	for _, p := range peers {
		if p.Node != "" && !p.Reflector {
			by[p.Node] = nil
		}
	}
	if len(by) == 0 {
		return nil
	}
	for _, r := range routes {
		if list, is := by[r.Node]; is {
			by[r.Node] = append(list, r.Dst)
		}
	}
	for node, list := range by {
		slices.SortFunc(list, netip.Prefix.Compare)
		by[node] = slices.Compact(list)
	}
	return by
}

// addrsOf are the addresses that a host has.
func addrsOf(host *wire.Host) (addrs []netip.Addr) {
	for _, prefix := range []netip.Prefix{host.IPv4, host.IPv6} {
		if prefix.IsValid() {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs
}

// withoutBarred leaves out the sessions that may not be opened. That there are such is an error also where nothing had
// to be left out.
func withoutBarred(peers []Peer, barred []netip.Addr, err error) ([]Peer, error) {
	for _, addr := range barred {
		err = errors.Join(err, fmt.Errorf("BGP peer %s: a session with it needs a password, which no session can have",
			addr))
	}
	return slices.DeleteFunc(peers, func(p Peer) bool { return slices.Contains(barred, p.Addr) }), err
}

// explicitPeers are the sessions that BGPPeer resources ask for.
func explicitPeers(config *wire.BGP, self *wire.Host, hosts map[string]*wire.Host) ([]Peer, error) {
	var peers []Peer
	var errs []error
	for _, p := range config.Peers {
		local := localAddr(self, p.Addr)
		if p.AnySource {
			local = netip.Addr{}
		} else if !local.IsValid() {
			errs = append(errs, fmt.Errorf("BGP peer %s (%s): the node has no address of that IP family", p.Name,
				p.Addr))
			continue
		}
		peer := Peer{BGPPeer: p, LocalAddr: local}
		peer.Port = cmp.Or(p.Port, DefaultPort)
		peer.MaxRestartSeconds = cmp.Or(p.MaxRestartSeconds, defaultRestartSeconds)
		if p.Node != "" {
			peer.setNode(self, cmp.Or(hosts[p.Node], &wire.Host{Name: p.Node}))
		}
		peers = append(peers, peer)
	}
	return peers, errors.Join(errs...)
}

// defaultRestartSeconds is DefaultRestartTime as the stream has it.
const defaultRestartSeconds = uint32(DefaultRestartTime / time.Second)

// meshPeers returns the sessions to every other node of the mesh, one for each IP family in which a pool needs it. If
// there are none, off is the reason.
func meshPeers(in Input, self *wire.Host) (peers []Peer, off string) {
	v4, v6 := needMesh(in.Pools)
	switch {
	case !in.BGP.Mesh:
		return nil, "the node-to-node mesh is off"
	case self.RouteReflectorClusterID != "":
		return nil, "a route reflector takes no part in the node-to-node mesh" // BGPPeers define its sessions
	case !v4 && !v6:
		return nil, "no IP pool needs the node-to-node mesh: that is one without encapsulation that BGP may export"
	}
	for _, host := range in.Hosts {
		if host.Name == in.Node || host.RouteReflectorClusterID != "" {
			continue
		}
		for _, prefix := range []netip.Prefix{host.IPv4, host.IPv6} {
			local := localAddr(self, prefix.Addr())
			if !prefix.IsValid() || !local.IsValid() || prefix.Addr().Is4() && !v4 || prefix.Addr().Is6() && !v6 {
				continue
			}
			peer := Peer{LocalAddr: local, Mesh: true, BGPPeer: wire.BGPPeer{
				Name: "Mesh_" + host.Name, Addr: prefix.Addr(), Port: cmp.Or(host.BGPPort, DefaultPort),
				ASNumber:          cmp.Or(host.ASNumber, in.BGP.ASNumber),
				MaxRestartSeconds: cmp.Or(in.BGP.MeshMaxRestartSeconds, defaultRestartSeconds),
			}}
			peer.setNode(self, host)
			peers = append(peers, peer)
		}
	}
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	return peers, "no other node is in the node-to-node mesh"
}

// needMesh reports for which IP families nodes learn routes of pools from each other. The routes of pools with VXLAN
// come from Typha, and a pool that is only for Services has none.
func needMesh(pools []*wire.Pool) (v4, v6 bool) {
	for _, p := range pools {
		forPods := len(p.AllowedUses) == 0 || slices.Contains(p.AllowedUses, "Workload") ||
			slices.Contains(p.AllowedUses, "Tunnel")
		if p.VXLAN != wire.EncapNever || p.DisableBGPExport || !forPods {
			continue
		}
		v4, v6 = v4 || p.CIDR.Addr().Is4(), v6 || p.CIDR.Addr().Is6()
	}
	return v4, v6
}

// setNode makes host, which is not self, the other end. If both are on one link, a forwarded packet cannot belong to
// the session. This excludes what a pod sends, even if its source address was translated.
func (p *Peer) setNode(self, host *wire.Host) {
	p.Node, p.Reflector = host.Name, host.RouteReflectorClusterID != ""
	ours, theirs := self.IPv4, host.IPv4
	if p.Addr.Is6() {
		ours, theirs = self.IPv6, host.IPv6
	}
	// Both ends must come to the same result.
	if p.TTLSecurity == 0 && p.Addr == theirs.Addr() && ours.Contains(theirs.Addr()) && theirs.Contains(ours.Addr()) {
		p.TTLSecurity = 1
	}
}

// oneForEachAddress sorts the peers by address and keeps the first of several with the same one:
// BGPPeers in the order of their names, then the mesh. A mesh session that gives way to a BGPPeer
// is intended; a second BGPPeer is an error.
func oneForEachAddress(peers []Peer, err error) ([]Peer, error) {
	slices.SortStableFunc(peers, func(a, b Peer) int { return a.Addr.Compare(b.Addr) })
	var kept []Peer
	for _, p := range peers {
		if n := len(kept); n > 0 && kept[n-1].Addr == p.Addr {
			if !p.Mesh {
				err = errors.Join(err, fmt.Errorf("BGP peer %s: %s is already the peer of %s", p.Name, p.Addr,
					kept[n-1].Name))
			}
			continue
		}
		kept = append(kept, p)
	}
	return kept, err
}

// announced are the destinations on the node, less those of pools that forbid it.
func announced(in Input) []netip.Prefix {
	silent := map[string]bool{}
	for _, pool := range in.Pools {
		silent[pool.Name] = pool.DisableBGPExport
	}
	var own []netip.Prefix
	for _, route := range in.Routes {
		if route.Node == in.Node && !silent[route.Pool] {
			own = append(own, route.Dst)
		}
	}
	slices.SortFunc(own, netip.Prefix.Compare)
	return slices.Compact(own)
}

// networks returns the CIDRs of pools.
func networks(pools []*wire.Pool) []netip.Prefix {
	var cidrs []netip.Prefix
	for _, pool := range pools {
		cidrs = append(cidrs, pool.CIDR)
	}
	slices.SortFunc(cidrs, netip.Prefix.Compare)
	return slices.Compact(cidrs)
}

// localAddr is the host's address of the peer's IP family, or the zero Addr.
func localAddr(host *wire.Host, peer netip.Addr) netip.Addr {
	if peer.Is4() {
		return host.IPv4.Addr()
	}
	return host.IPv6.Addr()
}

// routerID is the node's IPv4 address, or, without one, 32 bits of a hash of its name, as
// Calico's CALICO_ROUTER_ID=hash has it: BGP identifiers are 4 octets in IPv6 networks too.
func routerID(host *wire.Host) netip.Addr {
	if host.IPv4.IsValid() {
		return host.IPv4.Addr()
	}
	hash := fnv.New32a()
	hash.Write([]byte(host.Name))
	sum := hash.Sum32()
	// The first octet is held in 1…127, so that the identifier is never 0 or a multicast address.
	return netip.AddrFrom4([4]byte{byte(sum>>24)&0x7e | 1, byte(sum >> 16), byte(sum >> 8), byte(sum)})
}
