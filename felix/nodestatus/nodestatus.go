// Package nodestatus says of a node what a CalicoNodeStatus shows: its BGP speaker, the sessions and the routes, from
// the same facts as "felix status".
//
// It is pure: values in, values out. The agent calls it on its own goroutine.
package nodestatus

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/maneki-net/maneki/api/build"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/typha/wire"
)

// Input is what a status follows from.
type Input struct {
	// Asked are the classes to report.
	Asked wire.StatusRequest
	// Version is that of the agent.
	Version string
	Speaker bgp.Status
	// Subnets are those of the node's own addresses.
	Subnets []Subnet
	// Peers are the sessions as they are configured.
	Peers []bgp.Peer
	// Learned are the routes that BGP knows, sorted by destination; Programmed are those of the agent.
	Learned    []bgp.Route
	Programmed []Programmed
	// Others are routes that neither the agent nor a pod's interface made.
	Others []route.Route
}

// Subnet is the subnet of an address of the node, and the device that has the address.
type Subnet struct {
	CIDR   netip.Prefix
	Device string
}

// Programmed is a route that the agent wants; InUse is set if the kernel has it.
type Programmed struct {
	route.Route
	InUse bool
}

// How many peers and routes a status has at most, of both families together. A cluster with more has a router that
// shows them.
const (
	maxPeers  = 500
	maxRoutes = 1000
)

// noGateway is what Calico writes where a route has none.
const noGateway = "N/A"

// Answer returns what a node answers when it is asked for its status. The status in it is not packed yet.
func Answer(in Input) (wire.StatusAnswer, error) {
	var s v3.CalicoNodeStatusStatus
	omitted := 0
	if in.Asked.Agent {
		s.Agent = agent(in)
	}
	if in.Asked.BGP {
		s.BGP, omitted = sessions(in)
	}
	var routes []v3.CalicoNodeRoute
	if in.Asked.Routes {
		routes = routesOf(in)
	}
	for keep := min(len(routes), maxRoutes); ; keep -= keep/4 + 1 {
		s.Routes = byFamily(routes[:max(keep, 0)])
		text, err := json.Marshal(s)
		if err != nil {
			return wire.StatusAnswer{}, fmt.Errorf("encode the status of the node: %w", err)
		}
		if len(text) <= wire.MaxStatusAnswer || keep <= 0 {
			return wire.StatusAnswer{Status: text, Omitted: omitted + len(routes) - max(keep, 0)}, nil
		}
	}
}

// agent is ready for a family if the speaker runs and the node has an address of the family.
func agent(in Input) v3.CalicoNodeAgentStatus {
	running := in.Speaker.ASNumber != 0 && in.Speaker.Error == ""
	of := func(is4 bool) v3.BGPDaemonStatus {
		for _, s := range in.Subnets {
			if running && s.CIDR.Addr().Is4() == is4 {
				return v3.BGPDaemonStatus{State: v3.BGPDaemonStateReady, Version: in.Version,
					RouterID:                in.Speaker.RouterID.String(),
					LastBootTime:            timeText(in.Speaker.Started),
					LastReconfigurationTime: timeText(in.Speaker.Configured)}
			}
		}
		return v3.BGPDaemonStatus{State: v3.BGPDaemonStateNotReady}
	}
	return v3.CalicoNodeAgentStatus{BIRDV4: of(true), BIRDV6: of(false)}
}

// timeText is a time as Calico writes it, in UTC.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateTime)
}

// sessions returns the state of the sessions, and how many are left out of its lists.
func sessions(in Input) (s v3.CalicoNodeBGPStatus, omitted int) {
	configured := map[netip.Addr]bgp.Peer{}
	for _, p := range in.Peers {
		configured[p.Addr] = p
	}
	for i, p := range in.Speaker.Peers {
		peer := v3.CalicoNodePeer{PeerIP: p.Addr.String(), Since: timeText(p.Since), State: v3.BGPSessionState(p.State),
			Type: v3.BGPPeerTypeNodePeer}
		switch c := configured[p.Addr]; {
		case c.Mesh:
			peer.Type = v3.BGPPeerTypeNodeMesh
		case c.Global:
			peer.Type = v3.BGPPeerTypeGlobalPeer
		}
		list, established, others := &s.PeersV4, &s.NumberEstablishedV4, &s.NumberNotEstablishedV4
		if p.Addr.Is6() {
			list, established, others = &s.PeersV6, &s.NumberEstablishedV6, &s.NumberNotEstablishedV6
		}
		if p.State == bgp.Established {
			*established++
		} else {
			*others++
		}
		if i < maxPeers {
			*list = append(*list, peer)
		} else {
			omitted++
		}
	}
	return s, omitted
}

// routesOf returns the routes: first those that BGP knows, then those of the agent and of others.
func routesOf(in Input) []v3.CalicoNodeRoute {
	var routes []v3.CalicoNodeRoute
	add := func(dst netip.Prefix, hops []route.Hop, kind v3.CalicoNodeRouteType, from v3.CalicoNodeRouteLearnedFrom) {
		for _, hop := range hops {
			r := v3.CalicoNodeRoute{Destination: dst.String(), Gateway: noGateway, Interface: hop.Device, Type: kind,
				LearnedFrom: from}
			if hop.Gateway.IsValid() {
				r.Gateway = hop.Gateway.String()
			}
			routes = append(routes, r)
		}
	}
	learned := in.fromPeers(add)
	for _, p := range in.Programmed {
		if learned[p.Dst] {
			continue
		}
		hops, from := p.Hops, v3.RouteSourceTypeKernel
		if p.Type == route.Blackhole {
			hops, from = []route.Hop{{Device: "blackhole"}}, v3.RouteSourceTypeStatic
		}
		add(p.Dst, hops, typeOf(p.InUse), v3.CalicoNodeRouteLearnedFrom{SourceType: from})
	}
	direct := map[netip.Prefix]bool{}
	for _, s := range in.Subnets {
		direct[s.CIDR.Masked()] = true
		add(s.CIDR.Masked(), []route.Hop{{Device: s.Device}}, v3.RouteTypeFIB,
			v3.CalicoNodeRouteLearnedFrom{SourceType: v3.RouteSourceTypeDirect})
	}
	for _, r := range in.Others {
		if !direct[r.Dst] {
			add(r.Dst, r.Hops, v3.RouteTypeFIB, v3.CalicoNodeRouteLearnedFrom{SourceType: v3.RouteSourceTypeKernel})
		}
	}
	return routes
}

// addRoute adds a route, one entry for each hop.
type addRoute func(netip.Prefix, []route.Hop, v3.CalicoNodeRouteType, v3.CalicoNodeRouteLearnedFrom)

// fromPeers adds the routes that BGP knows, as the kernel has them or, of those that it has not, as they were
// announced. It returns the destinations for which the agent has no other route.
func (in Input) fromPeers(add addRoute) map[netip.Prefix]bool {
	mesh := map[netip.Addr]bool{}
	for _, p := range in.Peers {
		mesh[p.Addr] = p.Mesh
	}
	programmed := map[netip.Prefix]Programmed{}
	for _, p := range in.Programmed {
		if p.Protocol == route.ProtocolBGP {
			programmed[p.Dst] = p
		}
	}
	done := map[netip.Prefix]bool{}
	for _, r := range in.Learned {
		from := v3.CalicoNodeRouteLearnedFrom{SourceType: v3.RouteSourceTypeBGPPeer, PeerIP: r.Peer.String()}
		if mesh[r.Peer] {
			from.SourceType = v3.RouteSourceTypeNodeMesh
		}
		p, wanted := programmed[r.Dst]
		if wanted {
			done[r.Dst] = true
			add(r.Dst, p.Hops, typeOf(p.InUse), from)
			continue
		}
		for _, hop := range r.NextHops {
			add(r.Dst, []route.Hop{{Gateway: hop}}, v3.RouteTypeRIB, from)
		}
	}
	return done
}

func typeOf(inUse bool) v3.CalicoNodeRouteType {
	if inUse {
		return v3.RouteTypeFIB
	}
	return v3.RouteTypeRIB
}

func byFamily(routes []v3.CalicoNodeRoute) (s v3.CalicoNodeBGPRouteStatus) {
	for _, r := range routes {
		if dst, err := netip.ParsePrefix(r.Destination); err == nil && dst.Addr().Is4() {
			s.RoutesV4 = append(s.RoutesV4, r)
		} else {
			s.RoutesV6 = append(s.RoutesV6, r)
		}
	}
	return s
}

// Version returns the versions of the program and of its BGP library, as the Go toolchain recorded them.
func Version() string {
	if library := build.Dependency("github.com/osrg/gobgp/v3"); library != "" {
		return build.Version() + " (GoBGP " + library + ")"
	}
	return build.Version()
}
