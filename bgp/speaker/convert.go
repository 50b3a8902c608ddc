package speaker

import (
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/maneki-net/maneki/bgp"
)

// Timers in seconds. GoBGP connects one to two seconds after a peer is added and then every connectRetry to twice
// that, with one second less as the timeout. Hold time and keepalive are RFC 4271's suggestions.
const (
	connectRetry      = 3
	holdTime          = 90
	keepaliveInterval = 30
)

// firstUpdate is how many seconds after a session came up a restarted speaker announces its routes. The
// RFC 4724 reason to wait, that best routes are not known yet, does not hold for a node's own
// blocks; one second is the least that GoBGP can be told.
const firstUpdate = 1

// maxRestartSeconds is the longest graceful restart time that a message has room for (RFC 4724).
const maxRestartSeconds = 4095

// session is the peer as GoBGP wants it.
func (e *embedded) session(peer bgp.Peer) *api.Peer {
	keepalive, hold := uint64(keepaliveInterval), uint64(holdTime)
	if peer.KeepaliveSeconds > 0 {
		keepalive = uint64(peer.KeepaliveSeconds)
		hold = 3 * keepalive
	}
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: peer.Addr.String(), PeerAsn: peer.ASNumber,
			LocalAsn: peer.LocalASNumber, AllowOwnAsn: uint32(peer.AllowedLocalAS), Description: peer.Name,
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: connectRetry, HoldTime: hold, KeepaliveInterval: keepalive,
		}},
		Transport: &api.Transport{
			RemotePort: uint32(peer.Port),
			// One end of a mesh session waits for the other, the one with the higher address as in RFC 4271's rule for
			// collisions: GoBGP's two ends can each close the connection that the other has chosen.
			PassiveMode: peer.Mesh && peer.LocalAddr.Less(peer.Addr),
		},
		GracefulRestart: &api.GracefulRestart{
			Enabled: true, RestartTime: min(peer.MaxRestartSeconds, maxRestartSeconds),
			DeferralTime: firstUpdate, LocalRestarting: e.restarting,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: family(peer.Addr), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}
	if peer.MaxPrefixes > 0 {
		p.AfiSafis[0].PrefixLimits = &api.PrefixLimit{Family: family(peer.Addr), MaxPrefixes: peer.MaxPrefixes}
	}
	if peer.LocalAddr.IsValid() {
		p.Transport.LocalAddress = peer.LocalAddr.String()
	}
	if peer.TTLSecurity > 0 {
		p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 256 - uint32(peer.TTLSecurity)}
	} else {
		// As in Calico, an external peer may be any number of hops away.
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: 255}
	}
	if peer.RouteReflectorPeer {
		p.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: peer.ClusterID}
	}
	return p
}

func family(addr netip.Addr) *api.Family {
	if addr.Is4() {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// ownPath announces dst; the unspecified next hop becomes the address of each session.
func ownPath(dst netip.Prefix) *api.Path {
	nlri := packed(&api.IPAddressPrefix{Prefix: dst.Addr().String(), PrefixLen: uint32(dst.Bits())})
	attributes := []*anypb.Any{packed(&api.OriginAttribute{Origin: 0})}
	if dst.Addr().Is4() {
		attributes = append(attributes, packed(&api.NextHopAttribute{NextHop: "0.0.0.0"}))
	} else {
		attributes = append(attributes, packed(&api.MpReachNLRIAttribute{
			Family: family(dst.Addr()), NextHops: []string{"::"}, Nlris: []*anypb.Any{nlri},
		}))
	}
	return &api.Path{Family: family(dst.Addr()), Nlri: nlri, Pattrs: attributes}
}

// packed wraps a message of GoBGP's own API; that it can be marshalled is an invariant.
func packed(message proto.Message) *anypb.Any {
	wrapped, err := anypb.New(message)
	if err != nil {
		panic(err)
	}
	return wrapped
}
