package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// The import policy decides what a peer may announce. It runs before the best path is chosen, so a refused path hides
// no other path and is passed on to nobody. The destinations of a node change often. They are therefore in sets of
// their own, which GoBGP can change without changing the policies.

// nowhere are destinations that no peer may announce, with everything in them: this network, loopback, link-local,
// multicast and broadcast (RFC 6890), and IPv4 addresses written as IPv6. The default routes are not among them, nor is
// 240.0.0.0/4, which some clusters use for pods.
var nowhere = parsePrefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
	"::/80", "fe80::/10", "ff00::/8")

// inPool is the community that marks, inside the import policy, a route within the pools that IPAM has not confirmed.
// Its AS number is reserved (RFC 7300).
const inPool = "4294967295:4294967295:1"

func parsePrefixes(list ...string) (out []netip.Prefix) {
	for _, text := range list {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// forNobody returns the statements that refuse what no peer may announce, and everything from the anchor.
func (p *policies) forNobody() (statements []*api.Statement) {
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		name := fmt.Sprintf("nowhere %s", family)
		statements = append(statements, decision(name, api.RouteAction_REJECT, &api.Conditions{
			PrefixSet: p.prefixes(name, networksOf(nowhere, family, within)...)}))
	}
	anchor := p.neighbors("anchor", bgp.Peer{BGPPeer: wire.BGPPeer{Addr: anchorAddr}})
	return append(statements, decision("anchor", api.RouteAction_REJECT, &api.Conditions{NeighborSet: anchor}))
}

func decision(name string, action api.RouteAction, conditions *api.Conditions) *api.Statement {
	return &api.Statement{Name: name, Conditions: conditions, Actions: &api.Actions{RouteAction: action}}
}

// limits returns the statements on what a peer may announce: those before and those after the statements of its
// filters. There are none for a router outside the cluster. A node may announce what IPAM has on it, and a reflector
// what is in the pools. Anything else needs a filter that accepts it; no filter can accept destinations within the
// pools.
func (p *policies) limits(neighbor *api.MatchSet, peer bgp.Peer, config bgp.Config) (before, after []*api.Statement) {
	if peer.Node == "" && !peer.Mesh {
		return nil, nil
	}
	name := peer.Addr.String()
	pools := networksOf(config.Pools, peer.Addr, within)
	if peer.Reflector {
		outside := inverted(p.prefixes("pools for "+name, pools...))
		return nil, []*api.Statement{decision("outside "+name, api.RouteAction_REJECT,
			&api.Conditions{NeighborSet: neighbor, PrefixSet: outside})}
	}
	confirmed := p.prefixes(confirmedName(peer.Addr), networksOf(config.Confirmed[peer.Node], peer.Addr, exactly)...)
	after = []*api.Statement{decision("unconfirmed "+name, api.RouteAction_REJECT,
		&api.Conditions{NeighborSet: neighbor, PrefixSet: inverted(confirmed)})}
	if len(peer.Import) == 0 {
		return nil, after
	}
	mark := func(step string, set *api.MatchSet, action api.CommunityAction_Type) *api.Statement {
		return &api.Statement{Name: step + " " + name, Conditions: &api.Conditions{NeighborSet: neighbor,
			PrefixSet: set},
			Actions: &api.Actions{LargeCommunity: &api.CommunityAction{Type: action, Communities: []string{inPool}}}}
	}
	marked := p.add(&api.DefinedSet{
		DefinedType: api.DefinedType_LARGE_COMMUNITY, Name: "marked " + name, List: []string{inPool}})
	return []*api.Statement{
		mark("mark", p.prefixes("pools for "+name, pools...), api.CommunityAction_ADD),
		mark("confirm", confirmed, api.CommunityAction_REMOVE),
		decision("marked "+name, api.RouteAction_REJECT, &api.Conditions{NeighborSet: neighbor,
			LargeCommunitySet: marked}),
	}, after
}

func confirmedName(peer netip.Addr) string { return "confirmed " + peer.String() }

func inverted(set *api.MatchSet) *api.MatchSet {
	return &api.MatchSet{Type: api.MatchSet_INVERT, Name: set.Name}
}

// networksOf returns the networks of an address's family as members of a set. The family of a GoBGP set is that of its
// first member, and a condition on a set of the other family is never true, even when it is inverted. So each set has a
// first member of the right family, a destination that forNobody refuses.
func networksOf(list []netip.Prefix, family netip.Addr, as func(netip.Prefix) *api.Prefix) []*api.Prefix {
	out := []*api.Prefix{exactly(netip.PrefixFrom(netip.IPv4Unspecified(), 32))}
	if family.Is6() {
		out[0] = exactly(netip.PrefixFrom(netip.IPv6Unspecified(), 128))
	}
	for _, cidr := range list {
		if cidr.Addr().Is4() == family.Is4() {
			out = append(out, as(cidr))
		}
	}
	return out
}

// applyConfirmed updates the sets of confirmed destinations from config, and applies the import policy again to the
// routes of peers whose set has changed.
func (e *embedded) applyConfirmed(ctx context.Context, config bgp.Config) error {
	for _, peer := range config.Peers {
		if peer.Node == "" || peer.Reflector {
			continue // the peer has no such set, or its set stays empty
		}
		before, now := e.confirmed[peer.Addr], config.Confirmed[peer.Node]
		added, gone := without(now, before), without(before, now)
		set := func(list []netip.Prefix) *api.DefinedSet {
			return &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: confirmedName(peer.Addr),
				Prefixes: networksOf(list, peer.Addr, exactly)[1:]}
		}
		changed := false
		if s := set(gone); len(s.Prefixes) > 0 {
			changed = true
			if err := e.bgp.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: s}); err != nil {
				return fmt.Errorf("take destinations from BGP peer %s: %w", peer.Addr, err)
			}
		}
		if s := set(added); len(s.Prefixes) > 0 {
			changed = true
			if err := e.bgp.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: s}); err != nil {
				return fmt.Errorf("give destinations to BGP peer %s: %w", peer.Addr, err)
			}
		}
		if _, there := e.peers[peer.Addr]; changed && there {
			if err := e.judgeAgain(ctx, peer.Addr.String()); err != nil {
				return err
			}
		}
		e.confirmed[peer.Addr] = now
	}
	return nil
}

// judgeAgain applies the import policy again to the routes that a peer has announced, or those of all peers if addr is
// empty.
func (e *embedded) judgeAgain(ctx context.Context, addr string) error {
	err := e.bgp.ResetPeer(ctx, &api.ResetPeerRequest{Address: addr, Soft: true, Direction: api.ResetPeerRequest_IN})
	if err != nil {
		return fmt.Errorf("judge the routes of BGP peers again: %w", err)
	}
	return nil
}

// without returns the members of list that are not in other. Both are sorted.
func without(list, other []netip.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		if _, is := slices.BinarySearchFunc(other, p, netip.Prefix.Compare); !is {
			out = append(out, p)
		}
	}
	return out
}
