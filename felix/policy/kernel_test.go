package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// The pods of the kernel test, and what random rules are made of. The server is the last pod.
var (
	podAddrs = [][]netip.Addr{
		{netip.MustParseAddr("10.65.0.1"), netip.MustParseAddr("fd00:65::1")},
		{netip.MustParseAddr("10.65.0.2"), netip.MustParseAddr("fd00:65::2")},
		{netip.MustParseAddr("10.65.0.3"), netip.MustParseAddr("fd00:65::3")},
	}
	serverPorts = []uint16{80, 443, 8080}
	someNets    = prefixes("10.65.0.1/32", "10.65.0.0/31", "10.65.0.2/31", "0.0.0.0/0", "10.65.0.3/32",
		"fd00:65::1/128", "fd00:65::/127", "fd00:65::2/127", "::/0", "fd00:65::3/128")
	someSets = []*wire.IPSet{
		{Name: "one", Type: wire.SetNet, Nets: prefixes("10.65.0.1/32", "fd00:65::1/128")},
		{Name: "last", Type: wire.SetNet, Nets: prefixes("10.65.0.2/31", "fd00:65::2/127")},
		{Name: "empty", Type: wire.SetNet},
		{Name: "all", Type: wire.SetNet, Nets: prefixes("0.0.0.0/0", "::/0")},
	}
	portSet = &wire.IPSet{Name: "http", Type: wire.SetPort, Ports: []wire.PortMember{
		{Addr: podAddrs[2][0], Protocol: 6, Port: 80}, {Addr: podAddrs[2][1], Protocol: 6, Port: 443}}}
	serviceSet = &wire.IPSet{Name: "services", Type: wire.SetPort, Ports: []wire.PortMember{
		{Addr: podAddrs[2][0], Protocol: 6, Port: 80}, {Addr: podAddrs[2][1], Protocol: 6, Port: 80},
		{Addr: podAddrs[2][0], Protocol: 17, Port: 53},
		{Addr: podAddrs[2][1], Protocol: 17, Port: 53}, {Addr: podAddrs[2][0], Protocol: 132, Port: 36412},
		{Addr: podAddrs[2][1], Protocol: 132, Port: 36412}}}
	somePorts = ports(80, 80, 443, 8080, 1, 79, 0, 65535, 8080, 8080)
)

// packet is the first of a TCP connection to the server.
type packet struct {
	src, dst netip.Addr
	port     uint16
}

// pick takes up to most random elements, none with probability one half.
func pick[T any](r *rand.Rand, list []T, most int) []T {
	if r.IntN(2) == 0 {
		return nil
	}
	var picked []T
	for range 1 + r.IntN(most) {
		picked = append(picked, list[r.IntN(len(list))])
	}
	return picked
}

func randomMatch(r *rand.Rand, ported, destination bool) wire.Match {
	names := func() []string {
		var all []string
		for _, s := range pick(r, someSets, 2) {
			all = append(all, s.Name)
		}
		return all
	}
	var m wire.Match
	if r.IntN(2) == 0 {
		m.Nets, m.NotNets = pick(r, someNets, 4), pick(r, append(someNets[4:6:6], someNets[3]), 2)
	} else {
		m.Sets = names()
		if r.IntN(3) == 0 {
			m.NotSets = names()
		}
	}
	if ported && destination {
		m.Ports = pick(r, somePorts, 3)
		if r.IntN(3) == 0 {
			m.NotPorts = pick(r, somePorts[:3], 2)
		}
		if r.IntN(3) == 0 {
			m.PortSets = []string{portSet.Name}
		}
		if r.IntN(6) == 0 {
			m.NotPortSets = []string{portSet.Name}
		}
	}
	return m
}

func randomRule(r *rand.Rand) wire.Rule {
	rule := wire.Rule{Action: []wire.Action{wire.Allow, wire.Allow, wire.Deny, wire.Pass}[r.IntN(4)]}
	switch r.IntN(8) {
	case 0:
		rule.NotProtocol = []uint8{6, 17}[r.IntN(2)]
	case 1:
		rule.Protocol = 17
	case 2, 3, 4, 5:
		rule.Protocol = 6
	}
	if r.IntN(6) == 0 {
		rule.Family = []uint8{4, 6}[r.IntN(2)]
	}
	rule.Src, rule.Dst = randomMatch(r, rule.Protocol != 0, false), randomMatch(r, rule.Protocol != 0, true)
	return rule
}

// matches says what the documentation of wire.Rule says, for a TCP packet.
func matches(rule wire.Rule, p packet) bool {
	family := uint8(6)
	if p.src.Is4() {
		family = 4
	}
	return (rule.Family == 0 || rule.Family == family) && (rule.Protocol == 0 || rule.Protocol == 6) &&
		rule.NotProtocol != 6 &&
		matchesEnd(rule.Src, p.src, 0) && matchesEnd(rule.Dst, p.dst, p.port)
}

func matchesEnd(m wire.Match, addr netip.Addr, port uint16) bool {
	in := func(nets []netip.Prefix) bool {
		return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(addr) })
	}
	inSet := func(name string) bool {
		return in(someSets[slices.IndexFunc(someSets, func(s *wire.IPSet) bool { return s.Name == name })].Nets)
	}
	inPorts := func(ranges []wire.PortRange) bool {
		return slices.ContainsFunc(ranges, func(r wire.PortRange) bool { return r.First <= port && port <= r.Last })
	}
	inPortSet := slices.Contains(portSet.Ports, wire.PortMember{Addr: addr, Protocol: 6, Port: port})
	for _, name := range m.Sets {
		if !inSet(name) {
			return false
		}
	}
	return (len(m.Nets) == 0 || in(m.Nets)) && !in(m.NotNets) && !slices.ContainsFunc(m.NotSets, inSet) &&
		(len(m.Ports)+len(m.PortSets) == 0 || inPorts(m.Ports) || len(m.PortSets) > 0 && inPortSet) &&
		!inPorts(m.NotPorts) && (len(m.NotPortSets) == 0 || !inPortSet)
}

// allowed evaluates the tiers of one direction, and then the profiles, as the API's documentation has it.
func allowed(e *wire.Endpoint, policies map[string]*wire.Policy, ingress bool, p packet) bool {
	// verdict is the action of the first rule that decides, 0 if none does.
	verdict := func(name string) wire.Action {
		rules := policies[name].Egress
		if ingress {
			rules = policies[name].Ingress
		}
		for _, rule := range rules {
			if rule.Action != wire.Log && matches(rule, p) {
				return rule.Action
			}
		}
		return 0
	}
tiers:
	for _, tier := range e.Tiers {
		names := tier.Egress
		if ingress {
			names = tier.Ingress
		}
		if len(names) == 0 {
			continue
		}
		for _, name := range names {
			switch verdict(name) {
			case wire.Allow:
				return true
			case wire.Deny:
				return false
			case wire.Pass:
				continue tiers
			}
		}
		if tier.DefaultAction == wire.Deny {
			return false
		}
	}
	for _, name := range e.Profiles {
		if action := verdict(name); action == wire.Allow || action == wire.Deny {
			return action == wire.Allow
		}
	}
	return false
}

// world is the namespaces of the kernel test.
type world struct {
	endpoints []policy.Endpoint
	pods      []*os.File
	*node
	deny     filter.Action
	anyState bool // also what connection tracking calls invalid
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kerneltest.Enter(t)
	w := &world{deny: filter.Reject{}} // who is rejected need not wait
	// Rejections need an address to come from, and are many.
	kerneltest.Run(t, "ip addr add 192.0.2.1/32 dev lo")
	kerneltest.Run(t, "ip addr add fd00::1/128 dev lo")
	kerneltest.Run(t, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	for i, addrs := range podAddrs {
		name, ns := fmt.Sprint("cali", i), kerneltest.New(t)
		if _, err := veth.Open().Create(t.Context(), veth.Pair{Host: name, Netns: ns, Pod: "eth0",
			Addrs: addrs}); err != nil {
			t.Fatal(err)
		}
		kerneltest.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf."+name+
			".proxy_arp=1 net.ipv4.neigh."+name+".proxy_delay=0")
		for _, addr := range addrs {
			kerneltest.Run(t, "ip route add "+addr.String()+" dev "+name)
		}
		w.pods = append(w.pods, ns)
		w.endpoints = append(w.endpoints, policy.Endpoint{Interface: name, Addrs: addrs})
	}
	w.node = newNode(t, iptables.NFT, append([]*wire.IPSet{portSet, serviceSet}, someSets...)...)
	w.listen(t)
	return w
}

// node is the programs and the backends of a kernel.
type node struct {
	programs map[dataplane.Family]*policy.Program
	backends map[dataplane.Family]*iptables.Backend
	sets     []filter.SetChange // for the first commit
	former   input
}

func newNode(t *testing.T, variant iptables.Variant, sets ...*wire.IPSet) *node {
	t.Helper()
	n := &node{programs: map[dataplane.Family]*policy.Program{}, backends: map[dataplane.Family]*iptables.Backend{}}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		kernel, err := ipset.Dial(family)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kernel.Close() })
		n.programs[family] = policy.NewProgram()
		n.backends[family] = iptables.New(iptables.Config{Family: family, Variant: variant, Runner: iptables.Exec{},
			Sets: kernel, Scratch: 0xc0000})
	}
	known := map[string]bool{}
	for _, s := range sets {
		whole := &filter.Set{}
		for _, n := range s.Nets {
			whole.Members = append(whole.Members, filter.Member{Net: n})
		}
		if s.Type == wire.SetPort {
			whole.Type = filter.SetPorts
		}
		for _, p := range s.Ports {
			whole.Members = append(whole.Members, filter.Member{Net: netip.PrefixFrom(p.Addr, p.Addr.BitLen()),
				Protocol: p.Protocol, Port: p.Port})
		}
		known[s.Name] = true
		n.sets = append(n.sets, filter.SetChange{ID: s.Name, Whole: whole})
	}
	for _, id := range []string{policy.SetAllHosts, policy.SetAllPools, policy.SetMasqPools, vxlanGuard.Nodes,
		policy.SetThisHost} {
		if !known[id] {
			n.sets = append(n.sets, filter.SetChange{ID: id, Whole: &filter.Set{}})
		}
	}
	return n
}

// apply enforces what there is to enforce, in place of what there was.
func (n *node) apply(t *testing.T, renderer func(dataplane.Family) *policy.Renderer, in input) {
	t.Helper()
	for family, p := range n.programs {
		p.SetRenderer(renderer(family))
		enforce(p, n.former, in)
		c := p.Commit()
		c.Sets = n.sets
		if err := n.backends[family].Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	n.sets, n.former = nil, in
	n.former.Endpoints, n.former.Policies = slices.Clone(in.Endpoints), maps.Clone(in.Policies)
}

// listen makes the last pod a server.
func (w *world) listen(t *testing.T) {
	kerneltest.Do(t, w.pods[len(w.pods)-1], func() {
		kerneltest.Run(t, "ip link set lo up")
		for _, port := range serverPorts {
			listener, err := net.Listen("tcp", fmt.Sprint(":", port))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { listener.Close() })
		}
	})
}

func (w *world) apply(t *testing.T, policies map[string]*wire.Policy) {
	t.Helper()
	w.node.apply(t, func(family dataplane.Family) *policy.Renderer {
		r := renderer(family)
		r.Deny, r.NoInvalidCheck, r.Tunnels = w.deny, w.anyState, nil
		return r
	}, input{Endpoints: w.endpoints, Policies: policies})
}

// TestVerdicts compares, for random policies, what the kernel lets through with what the API says.
func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	open, shut := 0, 0
	for range 25 {
		policies := map[string]*wire.Policy{}
		for i := range w.endpoints {
			w.endpoints[i].Policy = randomEndpoint(r, fmt.Sprint(i), policies)
		}
		w.apply(t, policies)
		for client := range 2 {
			kerneltest.Do(t, w.pods[client], func() {
				for family, dst := range podAddrs[2] {
					for _, port := range serverPorts {
						p := packet{podAddrs[client][family], dst, port}
						want := allowed(w.endpoints[client].Policy, policies, false, p) &&
							allowed(w.endpoints[2].Policy, policies, true, p)
						err := dial(dst, port, want)
						if err == nil {
							open++
						} else {
							shut++
						}
						if got := err == nil; got != want {
							t.Errorf("%+v: let through %v (%v), want %v\n%+v\n%+v\n%+v", p, got, err, want,
								w.endpoints[client].Policy, w.endpoints[2].Policy, dump(policies))
							return
						}
					}
				}
			})
		}
	}
	if open < 20 || shut < 20 {
		t.Errorf("%d connections let through and %d not: the test proves little", open, shut)
	}
}

// dial connects. IPv6 does not always hear of a rejection, so a failure that is expected is not waited for long.
func dial(dst netip.Addr, port uint16, expected bool) error {
	patience := 100 * time.Millisecond
	if expected {
		patience = 5 * time.Second
	}
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(dst, port).String(), patience)
	if err == nil {
		conn.Close()
	}
	return err
}

func dump(policies map[string]*wire.Policy) string {
	text := ""
	for name, p := range policies {
		text += fmt.Sprintf("%s: %+v\n", name, *p)
	}
	return text
}

// randomEndpoint makes up to two tiers of up to two policies.
func randomEndpoint(r *rand.Rand, prefix string, policies map[string]*wire.Policy) *wire.Endpoint {
	e := &wire.Endpoint{}
	for i := range r.IntN(3) {
		tier := wire.Tier{Name: fmt.Sprint("t", i), DefaultAction: []wire.Action{wire.Deny, wire.Pass}[r.IntN(2)]}
		for j := range r.IntN(3) {
			p := &wire.Policy{Name: fmt.Sprint(prefix, "-", i, "-", j)}
			for range r.IntN(4) {
				p.Ingress, p.Egress = append(p.Ingress, randomRule(r)), append(p.Egress, randomRule(r))
			}
			policies[p.Name] = p
			tier.Ingress = append(tier.Ingress, p.Name)
			if r.IntN(3) == 0 {
				tier.Egress = append(tier.Egress, p.Name)
			}
		}
		e.Tiers = append(e.Tiers, tier)
	}
	for i := range r.IntN(3) { // the last, as of a namespace, allows everything
		p := &wire.Policy{Name: fmt.Sprint("kns.", prefix, i)}
		for range r.IntN(2) {
			p.Ingress, p.Egress = append(p.Ingress, randomRule(r)), append(p.Egress, randomRule(r))
		}
		if r.IntN(4) > 0 {
			p.Ingress, p.Egress = append(p.Ingress, wire.Rule{Action: wire.Allow}),
				append(p.Egress, wire.Rule{Action: wire.Allow})
		}
		policies[p.Name], e.Profiles = p, append(e.Profiles, p.Name)
	}
	return e
}
