package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// kinds are what the transcripts compile, by the name of the command.
var kinds = map[string]func() metav1.Object{
	"NetworkPolicy":                 func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"ClusterNetworkPolicy":          func() metav1.Object { return &policyv1alpha2.ClusterNetworkPolicy{} },
	"CalicoNetworkPolicy":           func() metav1.Object { return &v3.NetworkPolicy{} },
	"GlobalNetworkPolicy":           func() metav1.Object { return &v3.GlobalNetworkPolicy{} },
	"StagedNetworkPolicy":           func() metav1.Object { return &v3.StagedNetworkPolicy{} },
	"StagedGlobalNetworkPolicy":     func() metav1.Object { return &v3.StagedGlobalNetworkPolicy{} },
	"StagedKubernetesNetworkPolicy": func() metav1.Object { return &v3.StagedKubernetesNetworkPolicy{} },
}

// TestTranscripts compiles the resources in testdata, within a small budget.
func TestTranscripts(t *testing.T) {
	budget := Budget{PolicyRules: 8, PolicySets: 5}.WithDefaults()
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		return func(c transcript.Command) string {
			if c.Name == "Profile" {
				var profile v3.Profile
				c.Into(t, &profile)
				p := Profile(wire.ProfilePrefix+profile.Name, &profile.Spec)
				return format(&p)
			}
			object := kinds[c.Name]()
			c.Into(t, object)
			_, p, is := budget.Policy(object)
			if !is {
				t.Fatalf("%s is not a policy", c.Name)
			}
			return format(&p)
		}
	})
}

// format writes a policy line by line: what it is, what it applies to, the rules with their origins, the sets and what
// is wrong.
func format(p *Policy) string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("policy %s, tier %q, order %s, cost %d rules and %d sets",
		p.Name, p.Tier, orderOf(p.Order), p.Cost.Rules, p.Cost.Sets)
	if p.Staged != "" {
		line("staged: %s", p.Staged)
	}
	if p.Subject.Expression != nil {
		line("subject: %s", selectorText(p.Subject))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"doNotTrack", p.DoNotTrack}, {"preDNAT", p.PreDNAT}, {"applyOnForward", p.ApplyOnForward},
		{"needed on every node", p.NeededOnEveryNode},
	} {
		if f.set {
			line("%s", f.name)
		}
	}
	names := map[string]string{}
	for i, s := range p.Sets {
		names[s.Name] = fmt.Sprintf("set%d", i+1)
	}
	for _, d := range []struct {
		name    string
		applies bool
		rules   *Rules
	}{{"ingress", p.AppliesToIngress, &p.Ingress}, {"egress", p.AppliesToEgress, &p.Egress}} {
		if !d.applies && len(d.rules.List) == 0 {
			continue
		}
		line("%s: applies %t", d.name, d.applies)
		for i, r := range d.rules.List {
			line("  rule %d: %s", d.rules.Origin(i), ruleText(&r, names))
		}
	}
	for _, s := range p.Sets {
		line("%s: %s", names[s.Name], setText(&s))
	}
	if p.Reason != "" {
		line("reason: %s", p.Reason)
	}
	return out.String()
}

func orderOf(order *float64) string {
	if order == nil {
		return "last"
	}
	return fmt.Sprint(*order)
}

func selectorText(s spec.Selector) string {
	scope := [...]string{spec.Any: "endpoints and network sets", spec.Pods: "pods", spec.Nodes: "nodes"}[s.Scope]
	if s.Namespace != "" {
		scope += " of namespace " + s.Namespace
	}
	return scope + " with " + s.Expression.String()
}

func setText(s *spec.Set) string {
	switch {
	case s.Service != nil && s.WithPorts:
		return fmt.Sprintf("addresses and ports of Service %s", s.Service)
	case s.Service != nil:
		return fmt.Sprintf("addresses of Service %s", s.Service)
	case s.Port != "":
		return fmt.Sprintf("ports %q of protocol %d of %s", s.Port, s.Protocol, selectorText(s.Items))
	}
	return "networks of " + selectorText(s.Items)
}

func ruleText(r *wire.Rule, names map[string]string) string {
	actions := [...]string{wire.Allow: "allow", wire.Deny: "deny", wire.Pass: "pass", wire.Log: "log"}
	parts := []string{actions[r.Action]}
	add := func(name string, set bool, value any) {
		if set {
			parts = append(parts, fmt.Sprint(name, " ", value))
		}
	}
	add("IP version", r.Family != 0, r.Family)
	add("protocol", r.Protocol != 0, r.Protocol)
	add("not protocol", r.NotProtocol != 0, r.NotProtocol)
	if r.ICMP != nil {
		add("icmp", true, *r.ICMP)
	}
	if r.NotICMP != nil {
		add("not icmp", true, *r.NotICMP)
	}
	return strings.Join(append(parts, matchText("from", &r.Src, names)+" "+matchText("to", &r.Dst, names)), ", ")
}

func matchText(end string, m *wire.Match, names map[string]string) string {
	var parts []string
	list := func(name string, nets []netip.Prefix, sets []string, ports []wire.PortRange) {
		for _, net := range nets {
			parts = append(parts, name+net.String())
		}
		for _, set := range sets {
			parts = append(parts, name+names[set])
		}
		for _, p := range ports {
			parts = append(parts, fmt.Sprintf("%sports %d-%d", name, p.First, p.Last))
		}
	}
	list("", m.Nets, slices.Concat(m.Sets, m.PortSets), m.Ports)
	list("not ", m.NotNets, slices.Concat(m.NotSets, m.NotPortSets), m.NotPorts)
	if len(parts) == 0 {
		return end + " any"
	}
	return end + " " + strings.Join(parts, " ")
}

// TestTierOf checks what tiers are with and without a Tier.
func TestTierOf(t *testing.T) {
	five, pass, log := 5.0, v3.Pass, v3.Log
	for _, test := range []struct {
		name     string
		resource *v3.TierSpec
		order    string
		action   wire.Action
		problem  bool
	}{
		{"default", nil, "1e+06", wire.Deny, false},
		{"kube-admin", nil, "1000", wire.Pass, false},
		{"kube-baseline", &v3.TierSpec{Order: &five}, "1e+07", wire.Pass, false},
		{"security", nil, "last", wire.Deny, false},
		{"security", &v3.TierSpec{Order: &five, DefaultAction: &pass}, "5", wire.Pass, false},
		{"security", &v3.TierSpec{DefaultAction: &log}, "last", wire.Deny, true},
	} {
		got := TierOf(test.name, test.resource)
		if orderOf(got.Order) != test.order || got.DefaultAction != test.action {
			t.Errorf("%s of %+v: order %s, default action %d, want %s, %d",
				test.name, test.resource, orderOf(got.Order), got.DefaultAction, test.order, test.action)
		}
		if test.resource != nil && (TierProblem(test.resource) != "") != test.problem {
			t.Errorf("%+v: problem %q", test.resource, TierProblem(test.resource))
		}
	}
}

// TestCloseLargeServices closes rules that name a Service with too many members: one that allows matches nothing, one
// that denies or passes denies everything that it may have meant. Rules that do not name it stay.
func TestCloseLargeServices(t *testing.T) {
	large := LargeServices{"big": {Namespace: "shop", Name: "db"}}
	match := func(sets, portSets []string, ports ...wire.PortRange) wire.Match {
		return wire.Match{Sets: sets, PortSets: portSets, Ports: ports}
	}
	web := wire.PortRange{First: 80, Last: 80}
	for _, test := range []struct {
		action     wire.Action
		dst, want  wire.Match
		wantAction wire.Action
	}{
		{wire.Allow, match([]string{"small"}, nil), match([]string{"small"}, nil), wire.Allow},
		{wire.Allow, match([]string{"big", "small"}, nil), match([]string{"big", "small"}, nil), wire.Allow},
		{wire.Allow, match(nil, []string{"big", "x"}, web), match(nil, []string{"big"}), wire.Allow},
		{wire.Log, match(nil, []string{"big"}, web), match(nil, []string{"big"}), wire.Log},
		{wire.Deny, match([]string{"big", "small"}, nil), match([]string{"small"}, nil), wire.Deny},
		{wire.Pass, match(nil, []string{"big", "x"}, web), match(nil, nil), wire.Deny},
	} {
		p := &wire.Policy{Name: "p", Ingress: []wire.Rule{{Action: test.action, Dst: test.dst}}}
		got := large.Close(p).Ingress[0]
		names := map[string]string{"big": "big", "small": "small", "x": "x"}
		want := wire.Rule{Action: test.wantAction, Dst: test.want}
		if ruleText(&got, names) != ruleText(&want, names) {
			t.Errorf("action %d of %+v: %s, want %s",
				test.action, test.dst, ruleText(&got, names), ruleText(&want, names))
		}
		if p.Ingress[0].Action != test.action || len(p.Ingress[0].Dst.Sets) != len(test.dst.Sets) {
			t.Errorf("Close changed the policy: %+v", p)
		}
	}
	got, none := large.Reason(7), LargeServices{}.Reason(7)
	if !strings.Contains(got, "Service shop/db have more than 7") || none != "" {
		t.Errorf("reasons %q and %q", got, none)
	}
}
