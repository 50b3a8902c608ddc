package speaker

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

const (
	importPolicyName = "import"
	exportPolicyName = "export"
)

// policies collects what GoBGP calls a policy: statements, each with conditions that name sets. GoBGP has no policies
// for one neighbour, so there is one a direction for all, with conditions on the neighbour.
type policies struct {
	sets []*api.DefinedSet
}

// direction is the policy for routes that come in or go out.
type direction struct {
	sets       []*api.DefinedSet
	statements []*api.Statement
}

// importPolicy returns the policy that accepts what a peer may announce (confirm.go) and its filter does not reject.
func importPolicy(config bgp.Config) direction {
	var p policies
	statements := p.forNobody()
	for _, peer := range config.Peers {
		neighbor := p.neighbors("from "+peer.Addr.String(), peer)
		before, after := p.limits(neighbor, peer, config)
		statements = append(statements, before...)
		for i, r := range peer.Import {
			r.Learned = false // they all are
			statements = append(statements, p.rule(fmt.Sprintf("import %s %d", peer.Addr, i), neighbor, r)...)
		}
		statements = append(statements, after...)
	}
	return direction{p.sets, statements}
}

// exportPolicy returns the policy for announced routes. It accepts what the peers' filters accept. Of routes that no
// filter matches, it accepts the node's own destinations, and learned routes in the pools of PassOn.
func exportPolicy(config bgp.Config) direction {
	var p policies
	out := slices.Concat(p.advertise(config.Advertisements),
		p.nextHop("keep", &api.NexthopAction{Unchanged: true}, config.Peers,
			func(p bgp.Peer) bool { return p.KeepNextHop }),
		p.nextHop("self", &api.NexthopAction{Self: true}, config.Peers, func(p bgp.Peer) bool { return p.NextHopSelf }))
	for _, peer := range config.Peers {
		if len(peer.Export) == 0 {
			continue
		}
		neighbor := p.neighbors("to "+peer.Addr.String(), peer)
		for i, r := range peer.Export {
			out = append(out, p.rule(fmt.Sprintf("export %s %d", peer.Addr, i), neighbor,
				exported(r, peer, config.ASNumber))...)
		}
	}
	out = append(out, &api.Statement{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	})
	for _, pool := range config.PassOn {
		out = append(out, &api.Statement{
			Name:       "pool " + pool.String(),
			Conditions: &api.Conditions{PrefixSet: p.prefixes("pool "+pool.String(), within(pool))},
			Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
		})
	}
	return direction{p.sets, out}
}

// exported is an export rule as GoBGP has to be told: it asks for the path when the AS number of the node is already in
// front of it, as it is towards another AS, and the path that is sent has to begin with that number (RFC 4271 section
// 5.1.2).
func exported(r wire.BGPRule, peer bgp.Peer, asn uint32) wire.BGPRule {
	own := cmp.Or(peer.LocalASNumber, asn)
	if peer.ASNumber == own {
		return r
	}
	if len(r.ASPathPrefix) > 0 {
		r.ASPathPrefix = slices.Concat([]uint32{own}, r.ASPathPrefix)
	}
	if len(r.PrependASPath) > 0 && r.PrependASPath[0] != own {
		r.PrependASPath = slices.Concat([]uint32{own}, r.PrependASPath)
	}
	return r
}

func (p *policies) add(set *api.DefinedSet) *api.MatchSet {
	p.sets = append(p.sets, set)
	return &api.MatchSet{Type: api.MatchSet_ANY, Name: set.Name}
}

func (p *policies) neighbors(name string, peers ...bgp.Peer) *api.MatchSet {
	var list []string
	for _, peer := range peers {
		list = append(list, netip.PrefixFrom(peer.Addr, peer.Addr.BitLen()).String())
	}
	return p.add(&api.DefinedSet{DefinedType: api.DefinedType_NEIGHBOR, Name: name, List: list})
}

func (p *policies) prefixes(name string, list ...*api.Prefix) *api.MatchSet {
	return p.add(&api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: name, Prefixes: list})
}

// exactly matches a network alone; within also matches the networks in it.
func exactly(cidr netip.Prefix) *api.Prefix { return prefixOf(cidr, cidr.Bits(), cidr.Bits()) }

func within(cidr netip.Prefix) *api.Prefix { return prefixOf(cidr, cidr.Bits(), cidr.Addr().BitLen()) }

func prefixOf(cidr netip.Prefix, shortest, longest int) *api.Prefix {
	return &api.Prefix{IpPrefix: cidr.String(), MaskLengthMin: uint32(shortest), MaskLengthMax: uint32(longest)}
}

// advertise adds communities, decides nothing and goes on.
func (p *policies) advertise(list []wire.BGPAdvertisement) (statements []*api.Statement) {
	for i, a := range list {
		name := fmt.Sprintf("advertise %d", i)
		conditions := &api.Conditions{PrefixSet: p.prefixes(name, within(a.CIDR))}
		for _, action := range []api.CommunityAction_Type{api.CommunityAction_REMOVE, api.CommunityAction_ADD} {
			statements = append(statements, &api.Statement{Name: fmt.Sprintf("%s %s", name, action),
				Conditions: conditions, Actions: communities(action, a.Communities)})
		}
	}
	return statements
}

// nextHop sets the next hop for some peers, decides nothing and goes on.
func (p *policies) nextHop(name string, action *api.NexthopAction, peers []bgp.Peer,
	wants func(bgp.Peer) bool) []*api.Statement {
	chosen := slices.DeleteFunc(slices.Clone(peers), func(p bgp.Peer) bool { return !wants(p) })
	if len(chosen) == 0 {
		return nil
	}
	return []*api.Statement{{
		Name:       name,
		Conditions: &api.Conditions{NeighborSet: p.neighbors(name, chosen...)},
		Actions:    &api.Actions{Nexthop: action},
	}}
}

// rule returns the statements of a rule: one for each AS number that it prepends, which go on, and one that decides.
func (p *policies) rule(name string, neighbor *api.MatchSet, r wire.BGPRule) []*api.Statement {
	conditions := &api.Conditions{NeighborSet: neighbor}
	if r.CIDR.IsValid() {
		conditions.PrefixSet = p.prefixes(name, prefixOf(r.CIDR, int(r.MinLength), int(r.MaxLength)))
		if r.NotCIDR {
			conditions.PrefixSet.Type = api.MatchSet_INVERT
		}
	}
	if large := strings.Count(r.Community, ":") == 2; r.Community != "" && large {
		conditions.LargeCommunitySet = p.add(&api.DefinedSet{DefinedType: api.DefinedType_LARGE_COMMUNITY, Name: name,
			List: []string{r.Community}})
	} else if r.Community != "" {
		conditions.CommunitySet = p.add(&api.DefinedSet{DefinedType: api.DefinedType_COMMUNITY, Name: name,
			List: []string{r.Community}})
	}
	types := []api.Conditions_RouteType{api.Conditions_ROUTE_TYPE_NONE}
	if r.Learned {
		types = []api.Conditions_RouteType{api.Conditions_ROUTE_TYPE_INTERNAL, api.Conditions_ROUTE_TYPE_EXTERNAL}
	}
	var statements []*api.Statement
	for _, routeType := range types {
		statements = append(statements, p.steps(fmt.Sprintf("%s %d", name, routeType), conditions, routeType, r)...)
	}
	return statements
}

// steps are the statements of a rule for routes of one type. A later one sees what the earlier have changed, so the
// path that is asked for grows with what was prepended.
func (p *policies) steps(name string, conditions *api.Conditions, routeType api.Conditions_RouteType,
	r wire.BGPRule) []*api.Statement {
	var statements []*api.Statement
	path := r.ASPathPrefix
	step := func(actions *api.Actions) {
		s := &api.Statement{Name: fmt.Sprintf("%s %d", name, len(statements)), Actions: actions,
			Conditions: &api.Conditions{
				NeighborSet: conditions.NeighborSet, PrefixSet: conditions.PrefixSet, RouteType: routeType,
				CommunitySet: conditions.CommunitySet, LargeCommunitySet: conditions.LargeCommunitySet}}
		if len(path) > 0 {
			s.Conditions.AsPathSet = p.add(&api.DefinedSet{DefinedType: api.DefinedType_AS_PATH, Name: s.Name,
				List: []string{pathPattern(path)}})
		}
		statements = append(statements, s)
	}
	if r.Reject {
		step(&api.Actions{RouteAction: api.RouteAction_REJECT})
		return statements
	}
	for _, asn := range slices.Backward(r.PrependASPath) {
		step(&api.Actions{AsPrepend: &api.AsPrependAction{Asn: asn, Repeat: 1}})
		if len(path) > 0 {
			path = slices.Concat([]uint32{asn}, path)
		}
	}
	// A community that the rule asks for is there already, and taking it away would end the match.
	add := slices.DeleteFunc(slices.Clone(r.AddCommunities), func(c string) bool { return c == r.Community })
	if len(add) > 0 {
		step(communities(api.CommunityAction_REMOVE, add))
	}
	accept := communities(api.CommunityAction_ADD, add)
	accept.RouteAction = api.RouteAction_ACCEPT
	step(accept)
	return statements
}

// communities returns the actions that add or remove communities: two numbers joined by a colon, or three of a large
// one. GoBGP adds a community also to a route that has it, as a route does that another node or rule has changed
// before. So the same communities are removed first: a route has each of them once (RFC 8092 section 3).
func communities(action api.CommunityAction_Type, list []string) *api.Actions {
	actions := &api.Actions{}
	for _, community := range list {
		field := &actions.Community
		if strings.Count(community, ":") == 2 {
			field = &actions.LargeCommunity
		}
		if *field == nil {
			*field = &api.CommunityAction{Type: action}
		}
		if !slices.Contains((*field).Communities, community) {
			(*field).Communities = append((*field).Communities, community)
		}
	}
	return actions
}

// pathPattern is GoBGP's regular expression for paths that begin so; _ is the end of a number.
func pathPattern(asns []uint32) string {
	pattern := "^"
	for _, asn := range asns {
		pattern += fmt.Sprintf("%d_", asn)
	}
	return pattern
}
