package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// filter is a BGPFilter: its rules by IP family, 0 for IPv4 and 1 for IPv6.
type filter struct {
	imports, exports [2][]filterRule
}

// filterRule is a rule, and the kind of peers that it is for.
type filterRule struct {
	wire.BGPRule
	peers v3.BGPFilterPeerType
}

// SetFilter adds or changes a BGPFilter. The error names the first rule, or part of a rule, that cannot be used. Of
// such rules, one that accepts is left out and one that rejects, rejects all that it may have meant.
func (r *Resolver) SetFilter(o *v3.BGPFilter) error {
	var c filterReader
	v4 := func(rule v3.BGPFilterRuleV4) anyFamilyRule {
		out := anyFamilyRule{BGPFilterRuleV6: v3.BGPFilterRuleV6{
			Action: rule.Action, ASPathPrefix: rule.ASPathPrefix, CIDR: rule.CIDR, Communities: rule.Communities,
			Interface: rule.Interface, MatchOperator: rule.MatchOperator, Operations: rule.Operations,
			PeerType: rule.PeerType, Priority: rule.Priority, Source: rule.Source}}
		if rule.PrefixLength != nil {
			out.shortest, out.longest = rule.PrefixLength.Min, rule.PrefixLength.Max
		}
		return out
	}
	v6 := func(rule v3.BGPFilterRuleV6) anyFamilyRule {
		out := anyFamilyRule{BGPFilterRuleV6: rule, six: true}
		if rule.PrefixLength != nil {
			out.shortest, out.longest = rule.PrefixLength.Min, rule.PrefixLength.Max
		}
		return out
	}
	r.filters[o.Name] = &filter{
		imports: [2][]filterRule{
			readRules(&c, "spec.importV4", o.Spec.ImportV4, v4), readRules(&c, "spec.importV6", o.Spec.ImportV6, v6)},
		exports: [2][]filterRule{
			readRules(&c, "spec.exportV4", o.Spec.ExportV4, v4), readRules(&c, "spec.exportV6", o.Spec.ExportV6, v6)},
	}
	r.allChanged = true
	if c.first != nil {
		return c.first
	}
	return joined(withoutEffect(o))
}

// DeleteFilter removes a BGPFilter.
func (r *Resolver) DeleteFilter(name string) {
	if r.filters[name] != nil {
		delete(r.filters, name)
		r.allChanged = true
	}
}

// setFilters sets a session's rules: those of the named filters, in order. If a filter is missing, no route passes in
// either direction, because it is not known which routes the filter would accept. local is the node's AS number.
func (r *Resolver) setFilters(session *wire.BGPPeer, names []string, local uint32) {
	family, peers := 0, v3.BGPFilterPeerTypeEBGP
	if session.Addr.Is6() {
		family = 1
	}
	if session.ASNumber == cmp.Or(session.LocalASNumber, local) {
		peers = v3.BGPFilterPeerTypeIBGP
	}
	forPeer := func(rules []filterRule) (out []wire.BGPRule) {
		for _, rule := range rules {
			if rule.peers == "" || rule.peers == peers {
				out = append(out, rule.BGPRule)
			}
		}
		return out
	}
	for _, name := range names {
		f := r.filters[name]
		if f == nil {
			session.Import, session.Export = []wire.BGPRule{{Reject: true}}, []wire.BGPRule{{Reject: true}}
			return
		}
		session.Import = append(session.Import, forPeer(f.imports[family])...)
		session.Export = append(session.Export, forPeer(f.exports[family])...)
	}
}

// anyFamilyRule is a rule of either family: the types of the API differ in the prefix length alone.
type anyFamilyRule struct {
	v3.BGPFilterRuleV6
	six               bool // of IPv6
	shortest, longest *int32
}

// filterReader reads the rules of one BGPFilter.
type filterReader struct{ first error } // first is about the first part that cannot be used

func readRules[T any](c *filterReader, path string, rules []T, convert func(T) anyFamilyRule) (out []filterRule) {
	for i, r := range rules {
		if rule, ok := c.rule(fmt.Sprintf("%s[%d]", path, i), convert(r)); ok {
			out = append(out, rule)
		}
	}
	return out
}

// rule returns what a rule means to a speaker, and reports whether the rule is applied.
func (c *filterReader) rule(path string, r anyFamilyRule) (filterRule, bool) {
	out := filterRule{peers: r.PeerType, BGPRule: wire.BGPRule{
		Reject: r.Action != v3.Accept, Learned: r.Source != "", ASPathPrefix: r.ASPathPrefix}}
	usable := true
	unusable := func(format string, args ...any) {
		usable = false
		c.first = orFirst(c.first, path+format, args...)
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
				unusable(".operations[%d].addCommunity.value: %q is not a community such as 65001:100",
					i, operation.AddCommunity.Value)
				continue
			}
			out.AddCommunities = append(out.AddCommunities, community)
		case operation.PrependASPath != nil:
			out.PrependASPath = slices.Concat(operation.PrependASPath.Prefix, out.PrependASPath)
		}
	}
	return out, usable || out.Reject
}

// setCIDR sets the networks that the rule matches.
func (r *filterRule) setCIDR(from anyFamilyRule) error {
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
