package policy_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// hashes are what the driver recognises rules by.
var hashes = regexp.MustCompile(` -m comment --comment "?cali:[^ "]*"?`)

var update = flag.Bool("update", false, "write the golden files")

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// ports makes ranges of pairs of first and last.
func ports(pairs ...uint16) []wire.PortRange {
	var ranges []wire.PortRange
	for i := 0; i < len(pairs); i += 2 {
		ranges = append(ranges, wire.PortRange{First: pairs[i], Last: pairs[i+1]})
	}
	return ranges
}

var vxlanGuard = policy.TunnelGuard{Name: "VXLAN", Protocol: 17, Port: 4789, Nodes: "all-vxlan-net"}

func renderer(family dataplane.Family) *policy.Renderer {
	marks, err := policy.MarksOf(0xffff0000)
	if err != nil {
		panic(err)
	}
	return &policy.Renderer{Family: family, Marks: marks, InterfacePrefixes: []string{"cali"}, ToHost: filter.Accept{},
		Deny:    filter.Drop{},
		Tunnels: []policy.TunnelGuard{vxlanGuard}, LogPrefix: "calico-packet"}
}

// input is what there is to enforce.
type input struct {
	Endpoints []policy.Endpoint
	Hosts     []policy.HostEndpoint
	Policies  map[string]*wire.Policy
	NAT       policy.NAT
}

// enforce tells a program what there is to enforce, in place of what it was told before.
func enforce(p *policy.Program, former, in input) {
	for _, e := range former.Endpoints {
		if !slices.ContainsFunc(in.Endpoints, func(n policy.Endpoint) bool { return n.Interface == e.Interface }) {
			p.RemoveEndpoint(e.Interface)
		}
	}
	for name := range former.Policies {
		if in.Policies[name] == nil {
			p.RemovePolicy(name)
		}
	}
	for _, e := range in.Endpoints {
		p.SetEndpoint(e)
	}
	for _, known := range in.Policies {
		p.SetPolicy(known)
	}
	p.SetHosts(in.Hosts)
	p.SetNAT(in.NAT)
}

// render gives what is rendered for an empty kernel.
func render(r *policy.Renderer, in input) filter.Commit {
	p := policy.NewProgram()
	p.SetRenderer(r)
	enforce(p, input{}, in)
	return p.Commit()
}

// withSets adds the sets that a commit's chains name, without members.
func withSets(c filter.Commit) filter.Commit {
	types := map[string]filter.SetType{}
	for _, chain := range c.Chains {
		for _, rule := range chain.Rules {
			for _, end := range []filter.End{rule.Match.Source, rule.Match.Dest} {
				for _, id := range slices.Concat(end.Sets, end.NotSets) {
					types[id] = filter.SetNets
				}
				for _, id := range slices.Concat(end.PortSets, end.NotPortSets) {
					types[id] = filter.SetPorts
				}
			}
		}
	}
	for id, kind := range types {
		c.Sets = append(c.Sets, filter.SetChange{ID: id, Whole: &filter.Set{Type: kind}})
	}
	return c
}

// show gives a table as iptables-save does, which also proves that every chain that is named exists.
func show(t *testing.T, family dataplane.Family, table filter.Table, desired filter.Commit) string {
	t.Helper()
	fake := iptables.NewFake()
	backend := iptables.New(iptables.Config{Family: family, Variant: iptables.NFT, Runner: fake, Sets: fake.Sets,
		Scratch: 0xc0000})
	if err := backend.Commit(t.Context(), withSets(desired)); err != nil {
		t.Fatal(err)
	}
	name := "iptables-nft-save"
	if family == dataplane.IPv6 {
		name = "ip6tables-nft-save"
	}
	out, _, err := iptables.Run(t.Context(), fake, iptables.Command{Name: name, Args: []string{"-t", string(table)}})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "-A") {
			lines = append(lines, hashes.ReplaceAllString(line, ""))
		}
	}
	return strings.Join(lines, "")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

var shopPolicies = map[string]*wire.Policy{
	"knp.default/shop/web": {Name: "knp.default/shop/web", Tier: "default", Ingress: []wire.Rule{
		{Action: wire.Allow, Protocol: 6, Src: wire.Match{Sets: []string{"s:frontend"}},
			Dst: wire.Match{Ports: ports(80, 80, 8000, 8999)}},
		{Action: wire.Allow, Protocol: 6, Src: wire.Match{Nets: prefixes("10.1.0.0/16", "fd00:1::/32"),
			NotNets: prefixes("10.1.1.0/24", "10.1.2.0/24", "fd00:1:1::/48")}},
		{Action: wire.Allow, Dst: wire.Match{PortSets: []string{"n:http"}}},
	}, Egress: []wire.Rule{
		{Action: wire.Allow, Protocol: 17, Dst: wire.Match{Nets: prefixes("10.2.0.0/16", "10.3.0.0/16"),
			Ports: ports(53, 53), PortSets: []string{"n:dns"}}},
	}},
	"kns.shop": {Name: "kns.shop", Ingress: []wire.Rule{{Action: wire.Allow}},
		Egress: []wire.Rule{{Action: wire.Allow}}},
	"icmp": {Name: "icmp", Tier: "platform", Ingress: []wire.Rule{
		{Action: wire.Log, Protocol: 1, ICMP: &wire.ICMP{Type: 8}},
		{Action: wire.Pass, Protocol: 1, ICMP: &wire.ICMP{Type: 3, Code: 4, HasCode: true}},
		{Action: wire.Deny, Protocol: 58, NotICMP: &wire.ICMP{Type: 128}},
		{Action: wire.Deny, NotProtocol: 6, Src: wire.Match{NotSets: []string{"s:frontend"},
			NotPortSets: []string{"n:http"}}},
		{Action: wire.Allow, Family: 6},
		{Action: wire.Allow, Dst: wire.Match{Ports: ports(1, 1)}},
		{Action: wire.Deny, Dst: wire.Match{Ports: ports(2, 2)}},
		{Action: wire.Allow, ICMP: &wire.ICMP{Type: 8}, Src: wire.Match{Nets: prefixes("10.9.0.0/16", "fd09::/16")}},
		{Action: wire.Pass, ICMP: &wire.ICMP{Type: 8}, Src: wire.Match{Nets: prefixes("10.8.0.0/16", "fd08::/16")}},
	}},
}

var shopEndpoints = []policy.Endpoint{
	{Interface: "cali11111111111", Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.2"),
		netip.MustParseAddr("fd00:65::2")},
		Policy: &wire.Endpoint{Tiers: []wire.Tier{
			{Name: "platform", Ingress: []string{"icmp"}, DefaultAction: wire.Pass},
			{Name: "default", Ingress: []string{"knp.default/shop/web"}, Egress: []string{"knp.default/shop/web"},
				DefaultAction: wire.Deny},
		}, Profiles: []string{"kns.shop", "ksa.shop.a-long-name-of-a-service-account"}}},
	{Interface: "cali22222222222", Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.3")},
		Policy: &wire.Endpoint{Profiles: []string{"kns.shop"}}},
	{Interface: "cali33333333333", Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.4")}},
	{Interface: "cali44444444444", Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.5"),
		netip.MustParseAddr("10.65.0.6")}, Sources: prefixes("10.66.0.0/24", "fd00:66::/64"),
		Policy: &wire.Endpoint{Tiers: []wire.Tier{{Name: "default", Egress: []string{"missing"},
			DefaultAction: wire.Deny}}}},
}

func TestFilter(t *testing.T) {
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		desired := render(renderer(family), input{Endpoints: shopEndpoints, Policies: shopPolicies})
		golden(t, "filter-"+family.String(), show(t, family, filter.Filter, desired))
		golden(t, "raw-"+family.String(), show(t, family, filter.Raw, desired))
	}
}

func TestFilterOptions(t *testing.T) {
	r := renderer(dataplane.IPv4)
	r.AllowReturns, r.NoInvalidCheck, r.Tunnels, r.BGPPort = true, true, nil, 1790
	r.ToHost, r.Deny = filter.Drop{}, filter.Reject{}
	desired := render(r, input{Endpoints: shopEndpoints[2:3]})
	golden(t, "filter-options", show(t, dataplane.IPv4, filter.Filter, desired))
}

// TestHosts: host endpoints in all tables.
func TestHosts(t *testing.T) {
	tiers := func(name string) []wire.Tier {
		return []wire.Tier{{Name: "default", Ingress: []string{name}, Egress: []string{name}, DefaultAction: wire.Deny}}
	}
	in := input{Endpoints: shopEndpoints[1:2], Policies: shopPolicies, Hosts: []policy.HostEndpoint{
		{Interface: policy.AnyInterface, Policy: &wire.HostEndpoint{Name: "any", Tiers: tiers("icmp"),
			Untracked: tiers("icmp"), Profiles: []string{"kns.shop"}}},
		{Interface: "eth0", Policy: &wire.HostEndpoint{Name: "eth", Tiers: tiers("local"), Forward: tiers("forward"),
			PreDNAT: []wire.Tier{{Name: "default", Ingress: []string{"early"}}}, Untracked: tiers("untracked")}},
	}}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		r := renderer(family)
		r.Tunnels, r.Deny = nil, filter.Reject{}
		r.FailsafeIn = []policy.Failsafe{{Protocol: 6, Port: 22},
			{Protocol: 17, Net: prefixes("10.0.0.0/8")[0], Port: 68}}
		r.FailsafeOut = []policy.Failsafe{{Protocol: 17, Net: prefixes("fd00::/8")[0], Port: 53},
			{Protocol: 6, Port: 443}}
		for _, table := range []filter.Table{filter.Filter, filter.Mangle, filter.Raw} {
			golden(t, "host-"+string(table)+"-"+family.String(), show(t, family, table, render(r, in)))
		}
	}
	in.Hosts = nil
	for _, c := range render(renderer(dataplane.IPv4), in).Chains {
		if c.Table == filter.Mangle {
			t.Error("without host endpoints there is something in mangle")
		}
	}
}

func TestNAT(t *testing.T) {
	addr := netip.MustParseAddr
	for name, n := range map[string]policy.NAT{
		"nat": {},
		"nat-options": {Address: addr("192.0.2.1"), SpareHosts: true, OutInterface: "eth0",
			Tunnels: []policy.TunnelDevice{{Name: "vxlan.calico", Addr: addr("10.65.0.1")}}},
	} {
		golden(t, name, show(t, dataplane.IPv4, filter.NAT, render(renderer(dataplane.IPv4), input{NAT: n})))
	}
}

func TestMarks(t *testing.T) {
	got, err := policy.MarksOf(0xff010)
	if want := (policy.Marks{Accept: 0x10, Pass: 0x1000, Scratch: 0x6000, Endpoint: 0xf8000}); err != nil ||
		got != want {
		t.Errorf("marks %+v, %v, want %+v", got, err, want)
	}
	if _, err := policy.MarksOf(0x7); err == nil {
		t.Error("a mask of 3 bits is accepted")
	}
}
