package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// ipvsRenderer is a renderer for a node whose kube-proxy is in IPVS mode.
func ipvsRenderer(family dataplane.Family) *policy.Renderer {
	r := renderer(family)
	r.IPVS = &policy.IPVS{NodePorts: []filter.PortRange{{First: 30000, Last: 32767}}}
	return r
}

// TestIPVS: the chains by which what IPVS forwards is recognised and decided on.
func TestIPVS(t *testing.T) {
	endpoints := slices.Clone(shopEndpoints[:2])
	endpoints[0].Mark = 3
	in := input{Endpoints: endpoints, Policies: shopPolicies}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		in.Hosts = nil
		golden(t, "ipvs-"+family.String(), only(show(t, family, filter.Filter, render(ipvsRenderer(family), in)),
			"INPUT", "OUTPUT", "forward", "mark", "sm"))
		in.Hosts = []policy.HostEndpoint{{Interface: policy.AnyInterface, Policy: &wire.HostEndpoint{Name: "any"}},
			{Interface: "eth0", Policy: &wire.HostEndpoint{Name: "eth0"}, Mark: 4},
			{Interface: "eth1", Policy: &wire.HostEndpoint{Name: "eth1"}}}
		golden(t, "ipvs-hosts-"+family.String(), only(show(t, family, filter.Filter, render(ipvsRenderer(family), in)),
			"forward", "mark"))
	}
}

// only gives the rules of the chains whose names end with one of the words, or have it between dashes.
func only(rules string, words ...string) string {
	var kept []string
	for line := range strings.Lines(rules) {
		parts := strings.Split(strings.Fields(line)[1], "-")
		if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(parts, w) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestEndpointMarks: an interface keeps its number while it is there, nobody else has it, and the mark's bits are the
// limit.
func TestEndpointMarks(t *testing.T) {
	marks, err := policy.MarksOf(0x7f0)
	if err != nil {
		t.Fatal(err)
	}
	e := policy.NewEndpointMarks(marks) // three bits: 3 to 7
	if e.Room() != 5 {
		t.Errorf("room for %d, want 5", e.Room())
	}
	first := e.Assign([]string{"a", "b", "c"})
	second := e.Assign([]string{"d", "c", "a", "e", "f", "g"})
	if second["a"] != first["a"] || second["c"] != first["c"] || second["g"] != 0 {
		t.Errorf("numbers %v became %v", first, second)
	}
	seen := map[uint32]string{}
	for name, n := range second {
		if other, twice := seen[n]; twice || n < 3 || n > 7 {
			t.Errorf("%s has number %d, as %q", name, n, other)
		}
		seen[n] = name
	}
	if none := policy.NewEndpointMarks(policy.Marks{}); none.Room() != 0 || none.Assign([]string{"a"})["a"] != 0 {
		t.Error("without bits there are numbers")
	}
}

// modelPacket is a packet in the model of a kernel.
type modelPacket struct {
	in, out  string
	src, dst netip.Addr
	protocol uint8
	port     uint16
	mark     uint32
}

// model walks packets through rendered chains as the kernel does.
type model struct {
	t      *testing.T
	chains map[string]filter.Chain
	hooks  map[filter.Hook]filter.HookRules
	sets   map[string]func(netip.Addr, modelPacket) bool // of the address of the set's direction
	local  []netip.Addr                                  // the node's addresses, those of Services included
}

func newModel(t *testing.T, c filter.Commit) *model {
	m := &model{t: t, chains: map[string]filter.Chain{}, hooks: c.Hooks[filter.Filter],
		sets: map[string]func(netip.Addr, modelPacket) bool{}}
	for _, chain := range c.Chains {
		if chain.Table == filter.Filter {
			m.chains[chain.Name] = chain
		}
	}
	for _, d := range c.Dispatches {
		if d.Table != filter.Filter {
			continue
		}
		var rules []filter.Rule
		for device, chain := range d.Targets {
			match := filter.Match{In: filter.Interface{Name: device}}
			if d.Direction == filter.Out {
				match = filter.Match{Out: filter.Interface{Name: device}}
			}
			rules = append(rules, filter.Rule{Match: match, Action: filter.Goto{Chain: chain}})
		}
		m.chains[d.Name] = filter.Chain{Rules: append(rules, d.Default...)}
	}
	return m
}

// addSets makes sets of the packets' families; addresses of port sets go with TCP.
func (m *model) addSets(sets ...*wire.IPSet) {
	for _, s := range sets {
		m.sets[s.Name] = func(addr netip.Addr, p modelPacket) bool {
			return slices.ContainsFunc(s.Nets, func(n netip.Prefix) bool { return n.Contains(addr) }) ||
				slices.Contains(s.Ports, wire.PortMember{Addr: addr, Protocol: p.protocol, Port: p.port})
		}
	}
}

// The verdicts of a walk. Without one the hook's policy accepts.
const (
	verdictAccept = "accept"
	verdictDrop   = "drop"
)

// hook walks a packet through one of the kernel's chains, and says whether it goes on.
func (m *model) hook(name string, p *modelPacket) bool {
	m.t.Helper()
	hooks := m.hooks[filter.Hook(name)]
	verdict := m.walk(slices.Concat(hooks.First, hooks.Last), p, 0)
	return verdict != verdictDrop
}

// walk gives "" when the chain ends without a verdict.
func (m *model) walk(rules []filter.Rule, p *modelPacket, depth int) string {
	m.t.Helper()
	if depth > 20 {
		m.t.Fatal("chains call each other in a circle")
	}
	for _, rule := range rules {
		if !m.matches(rule.Match, *p) {
			continue
		}
		switch a := rule.Action.(type) {
		case filter.Accept:
			return verdictAccept
		case filter.Drop, filter.Reject:
			return verdictDrop
		case filter.Return:
			return ""
		case filter.SetMark:
			p.mark = p.mark&^a.Mask | a.Value
			if a.Return {
				return ""
			}
		case filter.ClearMark:
			p.mark &^= a.Mask
		case filter.Jump:
			if verdict := m.walk(m.chains[a.Chain].Rules, p, depth+1); verdict != "" {
				return verdict
			}
		case filter.Goto:
			return m.walk(m.chains[a.Chain].Rules, p, depth+1)
		case nil, filter.Log:
		default:
			m.t.Fatalf("the model does not know action %T", a)
		}
	}
	return ""
}

// matches evaluates a match. Every packet is the first of its connection, and IPVS does not count as a translation.
func (m *model) matches(match filter.Match, p modelPacket) bool {
	m.t.Helper()
	device := func(i filter.Interface, name string) bool {
		return i.Name == "" || name == i.Name || i.Prefix && strings.HasPrefix(name, i.Name)
	}
	return device(match.In, p.in) && device(match.Out, p.out) &&
		match.ICMP == nil && // no packet of the model is one of ICMP
		(match.Protocol == 0 || match.Protocol == p.protocol) &&
		(match.NotProtocol == 0 || match.NotProtocol != p.protocol) &&
		m.end(match.Source, p.src, p) && m.end(match.Dest, p.dst, p) &&
		(match.Mark.Mask == 0 || (p.mark&match.Mark.Mask == match.Mark.Value) != match.Mark.Not) &&
		(match.State == 0 || match.State&filter.New != 0) && match.NotState&filter.New == 0
}

// end evaluates a match of one end. All ports are those of the destination.
func (m *model) end(e filter.End, addr netip.Addr, p modelPacket) bool {
	m.t.Helper()
	in := func(n netip.Prefix) bool { return n.Contains(addr) }
	inSet := func(id string) bool {
		set, known := m.sets[id]
		if !known {
			m.t.Fatalf("set %s is not known", id)
		}
		return set(addr, p)
	}
	inPorts := func(r filter.PortRange) bool { return r.First <= p.port && p.port <= r.Last }
	for _, id := range e.Sets {
		if !inSet(id) {
			return false
		}
	}
	ports := len(e.Ports)+len(e.PortSets) == 0 || slices.ContainsFunc(e.Ports, inPorts) ||
		slices.ContainsFunc(e.PortSets, inSet)
	return (!e.Local || slices.Contains(m.local, addr)) && (len(e.Nets) == 0 || slices.ContainsFunc(e.Nets, in)) &&
		!slices.ContainsFunc(e.NotNets, in) && !slices.ContainsFunc(e.NotSets, inSet) && ports &&
		!slices.ContainsFunc(e.NotPorts, inPorts) && !slices.ContainsFunc(e.NotPortSets, inSet)
}

// ipvsWorld is a node of the model: pods 0, 1 and 2, and neighbours behind eth0 and eth1.
type ipvsWorld struct {
	*model
	family int // index of the addresses
}

// The addresses of the model that are not pods'.
var (
	serviceAddrs = []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:96::1")}
	hostAddrs    = []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd01:1::1")}
	outsideAddrs = map[string][]netip.Addr{"eth0": {netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd01:1::2")},
		"eth1": {netip.MustParseAddr("10.2.0.2"), netip.MustParseAddr("fd01:2::2")}}
)

func newIPVSWorld(t *testing.T, family int, c filter.Commit) *ipvsWorld {
	w := &ipvsWorld{newModel(t, c), family}
	w.addSets(append([]*wire.IPSet{portSet, {Name: vxlanGuard.Nodes},
		{Name: policy.SetThisHost, Nets: append(prefixes("127.0.0.0/8", "::1/128"),
			netip.PrefixFrom(hostAddrs[family], hostAddrs[family].BitLen()))},
		{Name: policy.SetAllHosts, Nets: prefixes("10.1.0.1/32", "10.2.0.2/32", "fd01:1::1/128", "fd01:2::2/128")}},
		someSets...)...)
	w.local = []netip.Addr{serviceAddrs[family], hostAddrs[family]}
	return w
}

// addr is that of who is behind an interface.
func (w *ipvsWorld) addr(device string) netip.Addr {
	if n, isPod := strings.CutPrefix(device, "cali"); isPod {
		i, _ := strconv.Atoi(n)
		return podAddrs[i][w.family]
	}
	return outsideAddrs[device][w.family]
}

// forwards walks a packet from one interface to another as the kernel forwards it.
func (w *ipvsWorld) forwards(from, to string, port uint16) bool {
	p := &modelPacket{in: from, out: to, src: w.addr(from), dst: w.addr(to), protocol: 6, port: port}
	return w.hook("FORWARD", p)
}

// byService walks the same packet as it goes when IPVS translates it from an address and port of the node, or of a
// Service.
func (w *ipvsWorld) byService(from, to string, port uint16, service netip.Addr, servicePort uint16) bool {
	p := &modelPacket{in: from, src: w.addr(from), dst: service, protocol: 6, port: servicePort}
	if !w.hook("INPUT", p) {
		return false
	}
	p.in, p.out, p.dst, p.port = "", to, w.addr(to), port
	return w.hook("OUTPUT", p)
}

// TestIPVSDecidesAsForward: of random policies, and host endpoints, what IPVS forwards to an endpoint of a Service
// has the verdict of what the kernel forwards there. Without the chains for IPVS, ingress policy would be passed by.
func TestIPVSDecidesAsForward(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	open, shut, bypassed := 0, 0, 0
	for round := range 100 {
		policies := map[string]*wire.Policy{}
		in := input{Policies: policies}
		for i, addrs := range podAddrs {
			in.Endpoints = append(in.Endpoints, policy.Endpoint{Interface: fmt.Sprint("cali", i), Addrs: addrs,
				Mark:   uint32(3 + i),
				Policy: randomEndpoint(r, fmt.Sprint(i), policies)})
		}
		for i, device := range []string{policy.AnyInterface, "eth0"} {
			if r.IntN(2) == 0 {
				continue
			}
			name := fmt.Sprint("host", i)
			p := &wire.Policy{Name: name}
			for range r.IntN(3) {
				p.Ingress, p.Egress = append(p.Ingress, randomRule(r)), append(p.Egress, randomRule(r))
			}
			policies[name] = p
			h := policy.HostEndpoint{Interface: device, Policy: &wire.HostEndpoint{Name: name, Forward: tier(name)}}
			if device != policy.AnyInterface {
				h.Mark = uint32(10 + i)
			}
			in.Hosts = append(in.Hosts, h)
		}
		family := round % 2
		f := []dataplane.Family{dataplane.IPv4, dataplane.IPv6}[family]
		w := newIPVSWorld(t, family, render(ipvsRenderer(f), in))
		without := newIPVSWorld(t, family, render(renderer(f), in))
		devices := append(slices.Sorted(maps.Keys(outsideAddrs)), "cali0", "cali1", "cali2")
		for _, from := range devices {
			for _, to := range devices {
				for _, port := range append(serverPorts, 179) {
					want := w.forwards(from, to, port)
					for service, servicePort := range map[netip.Addr]uint16{serviceAddrs[family]: 1,
						hostAddrs[family]: 30001} {
						if got := w.byService(from, to, port, service, servicePort); got != want {
							t.Fatalf("%s to %s port %d by %s:%d: let through %v, want %v as without a Service\n%+v\n%s",
								from, to, port, service, servicePort,
								got, want, in.Endpoints, dump(policies))
						}
						if !want && without.byService(from, to, port, service, servicePort) {
							bypassed++
						}
					}
					if want {
						open++
					} else {
						shut++
					}
				}
			}
		}
	}
	if open < 100 || shut < 100 || bypassed == 0 {
		t.Errorf("%d let through and %d not, of which %d pass where IPVS is not known: the test proves little", open,
			shut, bypassed)
	}
}

// TestIPVSWithoutMarks: where the mark has no bits for endpoints nothing is forwarded to Services.
func TestIPVSWithoutMarks(t *testing.T) {
	r := ipvsRenderer(dataplane.IPv4)
	r.Marks.Endpoint = 0
	w := newIPVSWorld(t, 0, render(r, input{Endpoints: []policy.Endpoint{{Interface: "cali0", Addrs: podAddrs[0],
		Policy: &wire.Endpoint{Profiles: []string{"kns.all"}}}},
		Policies: map[string]*wire.Policy{"kns.all": {Name: "kns.all", Ingress: []wire.Rule{{Action: wire.Allow}},
			Egress: []wire.Rule{{Action: wire.Allow}}}}}))
	if w.byService("eth0", "cali0", 80, serviceAddrs[0], 1) || !w.forwards("eth0", "cali0", 80) {
		t.Error("by a Service it is let through, or without one it is not")
	}
}

// TestIPVSLeavesTheRest: what is not IPVS's is decided as ever: to the node itself, and from it to a Service.
func TestIPVSLeavesTheRest(t *testing.T) {
	in := input{Policies: map[string]*wire.Policy{"closed": {Name: "closed"},
		"kns.all": {Name: "kns.all", Ingress: []wire.Rule{{Action: wire.Allow}},
			Egress: []wire.Rule{{Action: wire.Allow}}}},
		Hosts: []policy.HostEndpoint{{Interface: "eth0", Policy: &wire.HostEndpoint{Name: "eth0",
			Tiers: tier("closed")}, Mark: 9}},
		Endpoints: []policy.Endpoint{{Interface: "cali0", Addrs: podAddrs[0],
			Policy: &wire.Endpoint{Profiles: []string{"kns.all"}}, Mark: 3},
			{Interface: "cali1", Addrs: podAddrs[1], Policy: &wire.Endpoint{Tiers: tier("closed")}, Mark: 4},
			{Interface: "cali2", Addrs: podAddrs[2], Policy: &wire.Endpoint{Profiles: []string{"kns.all"}}}}}
	w := newIPVSWorld(t, 0, render(ipvsRenderer(dataplane.IPv4), in))
	for _, c := range []struct {
		hook, in, out string
		src, dst      netip.Addr
		port          uint16
		want          bool
	}{
		{"INPUT", "eth0", "", outsideAddrs["eth0"][0], hostAddrs[0], 80, false},
		{"INPUT", "eth1", "", outsideAddrs["eth1"][0], hostAddrs[0], 80, true},
		{"INPUT", "cali0", "", podAddrs[0][0], hostAddrs[0], 80, true},
		{"INPUT", "cali0", "", podAddrs[0][0], hostAddrs[0], 179, false},
		{"INPUT", "cali0", "", podAddrs[0][0], netip.MustParseAddr("127.0.0.1"), 80, false},
		{"INPUT", "cali1", "", podAddrs[1][0], hostAddrs[0], 80, false},
		{"INPUT", "cali2", "", podAddrs[2][0], hostAddrs[0], 80, true},
		{"INPUT", "cali2", "", podAddrs[2][0], serviceAddrs[0], 80, false}, // no mark was left for it
		{"INPUT", "cali9", "", podAddrs[2][0], serviceAddrs[0], 80, false}, // nobody's
		{"INPUT", "eth0", "", outsideAddrs["eth0"][0], netip.MustParseAddr("255.255.255.255"), 80, false},
		{"OUTPUT", "", "cali1", hostAddrs[0], podAddrs[1][0], 80, true},
	} {
		p := &modelPacket{in: c.in, out: c.out, src: c.src, dst: c.dst, protocol: 6, port: c.port}
		if got := w.hook(c.hook, p); got != c.want {
			t.Errorf("%s from %s%s to %s port %d: let through %v, want %v", c.hook, c.in, c.src, c.dst, c.port, got,
				c.want)
		}
	}
}
