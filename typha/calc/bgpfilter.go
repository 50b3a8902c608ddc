package calc

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// bgpFilter is a BGPFilter in use: its rules by IP family, 0 for IPv4 and 1 for IPv6.
type bgpFilter struct {
	imports, exports [2][]bgpRule
}

// bgpRule is a rule, and the peers that it is for.
type bgpRule struct {
	wire.BGPRule
	peers v3.BGPFilterPeerType
}

func (e *Engine) upsertBGPFilter(o *v3.BGPFilter) {
	var c bgpFilterCompiler
	v4 := func(r v3.BGPFilterRuleV4) bgpFilterRule {
		out := bgpFilterRule{BGPFilterRuleV6: v3.BGPFilterRuleV6{
			Action: r.Action, ASPathPrefix: r.ASPathPrefix, CIDR: r.CIDR, Communities: r.Communities, Interface: r.Interface,
			MatchOperator: r.MatchOperator, Operations: r.Operations, PeerType: r.PeerType, Priority: r.Priority, Source: r.Source}}
		if r.PrefixLength != nil {
			out.shortest, out.longest = r.PrefixLength.Min, r.PrefixLength.Max
		}
		return out
	}
	v6 := func(r v3.BGPFilterRuleV6) bgpFilterRule {
		out := bgpFilterRule{BGPFilterRuleV6: r, six: true}
		if r.PrefixLength != nil {
			out.shortest, out.longest = r.PrefixLength.Min, r.PrefixLength.Max
		}
		return out
	}
	f := &bgpFilter{
		imports: [2][]bgpRule{compileRules(&c, "spec.importV4", o.Spec.ImportV4, v4), compileRules(&c, "spec.importV6", o.Spec.ImportV6, v6)},
		exports: [2][]bgpRule{compileRules(&c, "spec.exportV4", o.Spec.ExportV4, v4), compileRules(&c, "spec.exportV6", o.Spec.ExportV6, v6)},
	}
	e.problems.set(KindBGPFilter, "", o.Name, cmp.Or(c.reason, strings.Join(withoutEffect(o), "; ")))
	e.bgp.filters[o.Name] = f
	e.bgp.allDirty = true
}

func (e *Engine) deleteBGPFilter(name string) {
	if e.bgp.filters[name] != nil {
		delete(e.bgp.filters, name)
		e.bgp.allDirty = true
	}
}

// filter sets the rules of the filters that a session's peer names. If a filter is missing, no route passes in either
// direction, because it is not known which routes the filter would accept.
func (e *Engine) filter(session *wire.BGPPeer, names []string, local uint32) {
	family, peers := 0, v3.BGPFilterPeerTypeEBGP
	if session.Addr.Is6() {
		family = 1
	}
	if session.ASNumber == cmp.Or(session.LocalASNumber, local) {
		peers = v3.BGPFilterPeerTypeIBGP
	}
	meant := func(rules []bgpRule) (out []wire.BGPRule) {
		for _, r := range rules {
			if r.peers == "" || r.peers == peers {
				out = append(out, r.BGPRule)
			}
		}
		return out
	}
	for _, name := range names {
		f := e.bgp.filters[name]
		if f == nil {
			session.Import, session.Export = []wire.BGPRule{{Reject: true}}, []wire.BGPRule{{Reject: true}}
			return
		}
		session.Import = append(session.Import, meant(f.imports[family])...)
		session.Export = append(session.Export, meant(f.exports[family])...)
	}
}

// bgpFilterRule is a rule of either family.
type bgpFilterRule struct {
	v3.BGPFilterRuleV6
	six               bool // of IPv6
	shortest, longest *int32
}

// bgpFilterCompiler keeps the first thing that cannot be used.
type bgpFilterCompiler struct{ reason string }

func (c *bgpFilterCompiler) complain(format string, args ...any) {
	if c.reason == "" {
		c.reason = fmt.Sprintf(format, args...)
	}
}

func compileRules[T any](c *bgpFilterCompiler, path string, rules []T, read func(T) bgpFilterRule) (out []bgpRule) {
	for i, r := range rules {
		if rule, ok := c.rule(fmt.Sprintf("%s[%d]", path, i), read(r)); ok {
			out = append(out, rule)
		}
	}
	return out
}

// rule returns what a rule means to a speaker. Of what cannot be used, a rule that accepts is left out and one that
// rejects rejects all that it might have meant.
func (c *bgpFilterCompiler) rule(path string, r bgpFilterRule) (bgpRule, bool) {
	out := bgpRule{peers: r.PeerType, BGPRule: wire.BGPRule{
		Reject: r.Action != v3.Accept, Learned: r.Source != "", ASPathPrefix: r.ASPathPrefix}}
	usable := true
	unusable := func(format string, args ...any) {
		usable = false
		c.complain(path+format, args...)
	}
	if r.Communities != nil && len(r.Communities.Values) > 0 {
		community, ok := communityOf(string(r.Communities.Values[0]))
		if !ok {
			unusable(".communities.values[0]: %q is not a community such as 65001:100", r.Communities.Values[0])
		}
		out.Community = community
	}
	if err := out.setCIDR(r); err != nil {
		unusable(".cidr: %v", err)
	}
	if r.Interface != "" {
		unusable(".interface: the speaker does not know by which interface a route leaves")
	}
	if r.Priority != nil {
		unusable(".priority: the speaker does not know the metric of a route")
	}
	for i, operation := range r.Operations {
		switch {
		case operation.AddCommunity != nil:
			community, ok := communityOf(string(operation.AddCommunity.Value))
			if !ok {
				unusable(".operations[%d].addCommunity.value: %q is not a community such as 65001:100", i, operation.AddCommunity.Value)
				continue
			}
			out.AddCommunities = append(out.AddCommunities, community)
		case operation.PrependASPath != nil:
			out.PrependASPath = append(append([]uint32(nil), operation.PrependASPath.Prefix...), out.PrependASPath...)
		}
	}
	return out, usable || out.Reject
}

func (r *bgpRule) setCIDR(from bgpFilterRule) error {
	if from.CIDR == "" {
		return nil
	}
	cidr, err := netip.ParsePrefix(strings.TrimSpace(from.CIDR))
	if err != nil {
		return err
	}
	if cidr.Addr().Is6() != from.six || cidr.Addr().Is4In6() {
		return fmt.Errorf("%s is of the other IP family", cidr)
	}
	r.CIDR = cidr.Masked()
	r.MinLength, r.MaxLength = uint8(cidr.Bits()), uint8(cidr.Addr().BitLen())
	switch from.MatchOperator {
	case v3.MatchOperatorEqual, v3.MatchOperatorNotEqual:
		r.MaxLength = r.MinLength
	}
	if from.shortest != nil {
		r.MinLength = max(r.MinLength, uint8(*from.shortest))
	}
	if from.longest != nil {
		r.MaxLength = uint8(*from.longest)
	}
	r.NotCIDR = from.MatchOperator == v3.MatchOperatorNotEqual || from.MatchOperator == v3.MatchOperatorNotIn
	return nil
}
