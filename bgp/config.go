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
	// Routes of any node; those of this one are announced unless their pool forbids it.
	Routes []*wire.Route
}

// ConfigFor gives the configuration of a node's speaker. The Config is usable also when the error is
// not nil; the error says which peers were left out of it and why.
func ConfigFor(in Input) (Config, error) {
	if in.BGP == nil || in.BGP.ASNumber == 0 {
		return Config{}, nil
	}
	self := &wire.Host{Name: in.Node}
	for _, host := range in.Hosts {
		if host.Name == in.Node {
			self = host
		}
	}
	config := Config{
		ASNumber:   cmp.Or(self.ASNumber, in.BGP.ASNumber),
		RouterID:   routerID(self),
		ListenPort: cmp.Or(in.BGP.ListenPort, DefaultPort),
		Announce:   announced(in),

		Advertisements: in.BGP.Advertisements,
	}
	if in.BGP.BindNodeIP {
		config.ListenOn = addrsOf(self)
	}
	if self.RouteReflectorClusterID != "" {
		config.PassOn = exportable(in.Pools)
	}
	peers, err := explicitPeers(in.BGP, self)
	// A route reflector takes no part in the mesh: BGPPeers say whom it serves.
	if in.BGP.Mesh && self.RouteReflectorClusterID == "" {
		peers = append(peers, meshPeers(in, self)...)
	}
	config.Peers, err = oneForEachAddress(withoutBarred(peers, in.BGP.Barred, err))
	return config, err
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

// withoutBarred leaves out the sessions that may not be opened. That there are such is an error also where nothing had to be left out.
func withoutBarred(peers []Peer, barred []netip.Addr, err error) ([]Peer, error) {
	for _, addr := range barred {
		err = errors.Join(err, fmt.Errorf("BGP peer %s: a session with it needs a password, which no session can have", addr))
	}
	return slices.DeleteFunc(peers, func(p Peer) bool { return slices.Contains(barred, p.Addr) }), err
}

// explicitPeers are the sessions that BGPPeer resources ask for.
func explicitPeers(config *wire.BGP, self *wire.Host) ([]Peer, error) {
	var peers []Peer
	var errs []error
	for _, p := range config.Peers {
		local := localAddr(self, p.Addr)
		if p.AnySource {
			local = netip.Addr{}
		} else if !local.IsValid() {
			errs = append(errs, fmt.Errorf("BGP peer %s (%s): the node has no address of that IP family", p.Name, p.Addr))
			continue
		}
		peers = append(peers, Peer{
			Name: p.Name, Addr: p.Addr, LocalAddr: local, Port: cmp.Or(p.Port, DefaultPort),
			ASNumber: p.ASNumber, LocalASNumber: p.LocalASNumber,
			KeepNextHop: p.KeepNextHop, NextHopSelf: p.NextHopSelf, AllowedLocalAS: p.AllowedLocalAS,
			ReflectorClient: p.RouteReflectorPeer, ClusterID: p.ClusterID,
			TTLSecurity: p.TTLSecurity,
			RestartTime: restartTime(p.MaxRestartSeconds),
			Keepalive:   time.Duration(p.KeepaliveSeconds) * time.Second,
			Import:      p.Import, Export: p.Export,
		})
	}
	return peers, errors.Join(errs...)
}

func restartTime(seconds uint32) time.Duration {
	return cmp.Or(time.Duration(seconds)*time.Second, DefaultRestartTime)
}

// meshPeers are the sessions to every other node that is in the mesh, one for each IP family.
func meshPeers(in Input, self *wire.Host) []Peer {
	var peers []Peer
	for _, host := range in.Hosts {
		if host.Name == in.Node || host.RouteReflectorClusterID != "" {
			continue
		}
		for _, prefix := range []netip.Prefix{host.IPv4, host.IPv6} {
			local := localAddr(self, prefix.Addr())
			if !prefix.IsValid() || !local.IsValid() {
				continue
			}
			peers = append(peers, Peer{
				Name: "Mesh_" + host.Name, Addr: prefix.Addr(), LocalAddr: local,
				Port:     cmp.Or(host.BGPPort, DefaultPort),
				ASNumber: cmp.Or(host.ASNumber, in.BGP.ASNumber), Mesh: true,
				RestartTime: restartTime(in.BGP.MeshMaxRestartSeconds),
			})
		}
	}
	return peers
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
				err = errors.Join(err, fmt.Errorf("BGP peer %s: %s is already the peer of %s", p.Name, p.Addr, kept[n-1].Name))
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
	slices.SortFunc(own, comparePrefix)
	return slices.Compact(own)
}

// exportable are the CIDRs of the pools that may be announced.
func exportable(pools []*wire.Pool) []netip.Prefix {
	var cidrs []netip.Prefix
	for _, pool := range pools {
		if !pool.DisableBGPExport {
			cidrs = append(cidrs, pool.CIDR)
		}
	}
	slices.SortFunc(cidrs, comparePrefix)
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

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
