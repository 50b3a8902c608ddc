package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

var wireActions = map[v3.Action]wire.Action{
	v3.Allow: wire.Allow, v3.Deny: wire.Deny, v3.Pass: wire.Pass, v3.Log: wire.Log,
}

// rules compiles the rules of one direction.
func (c *calicoCompiler) rules(out *Policy, path *field.Path, rules []v3.Rule, ingress bool) {
	for i := range rules {
		if r, ok := c.rule(path.Index(i), &rules[i], ingress); ok {
			out.direction(ingress).add(i, r)
		}
	}
}

// rule compiles one rule. It returns false for a rule that matches nothing. Of an unusable rule that denies or passes,
// the parts that can be read remain, so that it denies at least what was meant.
func (c *calicoCompiler) rule(path *field.Path, r *v3.Rule, ingress bool) (wire.Rule, bool) {
	errs := rule.Unusable(path, r, c.namespace != "")
	if r.HTTP != nil {
		errs = append(errs, field.Forbidden(path.Child("http"), "requests are not read"))
	}
	if r.NotICMP != nil && r.NotICMP.Type == nil && len(errs) == 0 {
		return wire.Rule{}, false // notICMP without a type excludes every message
	}
	action, known := wireActions[r.Action]
	if len(errs) > 0 {
		closed := !known || action == wire.Deny || action == wire.Pass
		c.unusable(errs, closed)
		if !closed {
			return wire.Rule{}, false
		}
		action = wire.Deny
	}
	out := wire.Rule{Action: action}
	if v := r.IPVersion; v != nil && (*v == 4 || *v == 6) {
		out.Family = uint8(*v)
	}
	out.Protocol, out.NotProtocol = protocolOf(r.Protocol), protocolOf(r.NotProtocol)
	if out.Protocol == rule.ICMP || out.Protocol == rule.ICMPv6 {
		out.ICMP, out.NotICMP = icmpOf(r.ICMP), icmpOf(r.NotICMP)
	}
	out.Src = c.end(&r.Source, out.Protocol, ingress, false)
	out.Dst = c.end(&r.Destination, out.Protocol, ingress, true)
	return out, true
}

func protocolOf(p *intstr.IntOrString) uint8 {
	if p == nil {
		return 0
	}
	number, err := rule.ParseProtocol(*p)
	if err != nil {
		return 0
	}
	return number
}

// icmpOf returns nil for every message, and for what cannot be read.
func icmpOf(f *v3.ICMPFields) *wire.ICMP {
	if f == nil || f.Type == nil || *f.Type < 0 || *f.Type > 254 || f.Code != nil && (*f.Code < 0 || *f.Code > 255) {
		return nil
	}
	out := &wire.ICMP{Type: uint8(*f.Type)}
	if f.Code != nil {
		out.Code, out.HasCode = uint8(*f.Code), true
	}
	return out
}

// end compiles one end of a rule. It leaves out what cannot be read, which rule has reported.
func (c *calicoCompiler) end(r *v3.EntityRule, protocol uint8, ingress, destination bool) wire.Match {
	var out wire.Match
	out.Nets = netsOf(r.Nets, true)
	out.NotNets = netsOf(r.NotNets, false)
	selected, any := c.selected(r)
	if !any {
		out.Sets = append(out.Sets, c.sets.add(spec.Networks(selected)))
	}
	if r.NotSelector != "" {
		if s, err := expression.Parse(r.NotSelector); err == nil {
			out.NotSets = append(out.NotSets, c.sets.add(spec.Networks(spec.Selector{Scope: spec.Any, Expression: s})))
		}
	}
	if m := r.Services; m != nil && m.Name != "" && (m.Namespace != "" || c.namespace != "") {
		service := spec.Service{Namespace: cmp.Or(m.Namespace, c.namespace), Name: m.Name}
		name := c.sets.add(spec.Endpoints(service, destination))
		if destination {
			out.PortSets = append(out.PortSets, name)
		} else {
			out.Sets = append(out.Sets, name)
		}
	}
	if rule.HasPorts(protocol) {
		owners := selected
		if ingress && destination && !c.onForward && any {
			owners = c.subject
		}
		ranges, sets := c.ports(r.Ports, protocol, owners)
		out.Ports, out.PortSets = ranges, append(out.PortSets, sets...)
		out.NotPorts, out.NotPortSets = c.ports(readablePorts(r.NotPorts), protocol, owners)
	}
	return out
}

// netsOf returns the networks, sorted and without duplicates. Networks that cannot be read are left out. If the list is
// one of alternatives, a network that cannot be read may have meant any: then netsOf returns nil, which matches every
// address.
func netsOf(texts []string, alternatives bool) []netip.Prefix {
	var nets []netip.Prefix
	for _, text := range texts {
		net, err := rule.ParseNet(text)
		if err != nil && alternatives {
			return nil
		}
		if err == nil {
			nets = append(nets, net)
		}
	}
	slices.SortFunc(nets, netip.Prefix.Compare)
	return slices.Compact(nets)
}

// ports returns the ranges of a list of ports, and the sets for its names. If a port cannot be read, any may have been
// meant: then ports returns nothing, which matches every port.
func (c *calicoCompiler) ports(
	list []intstr.IntOrString, protocol uint8, owners spec.Selector,
) (ranges []wire.PortRange, sets []string) {
	if len(readablePorts(list)) < len(list) {
		return nil, nil
	}
	for _, text := range list {
		p, _ := rule.ParsePort(text)
		if p.Name != "" {
			sets = append(sets, c.sets.add(spec.NamedPorts(owners, p.Name, protocol)))
		} else {
			ranges = append(ranges, wire.PortRange{First: p.First, Last: p.Last})
		}
	}
	return ranges, sets
}

// readablePorts returns the ports that can be read.
func readablePorts(list []intstr.IntOrString) []intstr.IntOrString {
	var readable []intstr.IntOrString
	for _, p := range list {
		if _, err := rule.ParsePort(p); err == nil {
			readable = append(readable, p)
		}
	}
	return readable
}

// selected returns the items that selector, namespaceSelector and serviceAccounts select together. It returns any if
// the rule has none of them.
func (c *calicoCompiler) selected(r *v3.EntityRule) (selected spec.Selector, any bool) {
	if r.Selector == "" && r.NamespaceSelector == "" && r.ServiceAccounts == nil {
		return spec.All(spec.Any), true
	}
	parts := []*expression.Selector{readableOrAll(r.Selector)}
	_, global := parts[0].WithGlobal(true)
	if global { // it has no meaning in a selector of labels
		parts[0] = expression.All()
	}
	out := spec.Selector{Scope: spec.Any}
	if r.NamespaceSelector != "" {
		// A selector that cannot be read may have said global().
		if s, err := expression.Parse(r.NamespaceSelector); err == nil {
			parts = append(parts, namespaceScope(s))
		}
	} else {
		out.Namespace = c.namespace
	}
	if a := r.ServiceAccounts; a != nil {
		parts = append(parts, expression.Has(v3.LabelServiceAccount))
		if len(a.Names) > 0 {
			parts = append(parts, expression.In(v3.LabelServiceAccount, a.Names...))
		}
		if a.Selector != "" {
			parts = append(parts, readableOrAll(a.Selector).Prefixed(v3.ServiceAccountLabelPrefix))
		}
	}
	out.Expression = expression.And(parts...)
	return out, false
}

// readableOrAll returns a selector, or all() if it cannot be read.
func readableOrAll(text string) *expression.Selector {
	s, err := expression.Parse(text)
	if err != nil {
		return expression.All()
	}
	return s
}

// namespaceScope returns a selector of what is in the namespaces that a selector selects. With global() it also selects
// what is in no namespace.
func namespaceScope(s *expression.Selector) *expression.Selector {
	within, global := s.WithGlobal(false)
	inside := expression.And(expression.Has(v3.LabelNamespace), within.Prefixed(v3.NamespaceLabelPrefix))
	if !global {
		return inside
	}
	without, _ := s.WithGlobal(true)
	if !without.Matches(nil) {
		return inside
	}
	outside := expression.Not(expression.Has(v3.LabelNamespace))
	if !within.Matches(nil) && s.String() == "global()" {
		return outside
	}
	return expression.Or(inside, outside)
}
