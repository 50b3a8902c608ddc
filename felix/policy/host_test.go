package policy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// hostWorld is a node, in the test's own namespace, with a pod, and a neighbour behind each of eth0 and eth1.
type hostWorld struct {
	stations map[string]*station
	outside  *os.File
	podNS    *os.File
	pod      policy.Endpoint
	options  func(*policy.Renderer) // nil for none
	*node
}

func newHostWorld(t *testing.T, backend iptables.Variant) *hostWorld {
	t.Helper()
	kerneltest.Enter(t)
	w := &hostWorld{stations: map[string]*station{}}
	kerneltest.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0")
	addr := netip.MustParseAddr
	for i, name := range []string{"outside", "other"} {
		ns, device := kerneltest.New(t), fmt.Sprint("eth", i)
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: "uplink",
			PeerNamespace: netlink.NsFd(ns.Fd())}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Fatal(err)
		}
		v4, v6 := fmt.Sprintf("10.%d.0.", i+1), fmt.Sprintf("fd01:%d::", i+1)
		kerneltest.Run(t, "ip addr add "+v4+"1/24 dev "+device)
		kerneltest.Run(t, "ip addr add "+v6+"1/64 dev "+device+" nodad")
		kerneltest.Run(t, "ip link set "+device+" up")
		kerneltest.Do(t, ns, func() {
			for _, line := range []string{"ip link set lo up", "ip link set dev uplink up",
				"ip addr add " + v4 + "2/24 dev uplink",
				"ip addr add " + v6 + "2/64 dev uplink nodad", "ip route add default via " + v4 + "1",
				"ip route add default via " + v6 + "1"} {
				kerneltest.Run(t, line)
			}
		})
		w.stations[name] = newStation(t, name, ns, addr(v4+"2"), addr(v6+"2"))
		if name == "outside" {
			w.outside = ns
		}
	}
	w.stations["host"] = newStation(t, "host", kerneltest.Current(t), addr("10.1.0.1"), addr("fd01:1::1"))
	w.addPod(t)
	w.node = newNode(t, backend, &wire.IPSet{Name: policy.SetAllHosts,
		Nets: prefixes("10.1.0.1/32", "10.2.0.2/32", "fd01:1::1/128", "fd01:2::2/128")},
		&wire.IPSet{Name: vxlanGuard.Nodes, Nets: prefixes("10.2.0.2/32", "fd01:2::2/128")},
		&wire.IPSet{Name: policy.SetThisHost, Nets: prefixes("127.0.0.0/8", "10.1.0.1/32", "10.2.0.1/32", "::1/128",
			"fd01:1::1/128", "fd01:2::1/128", "fe80::/10")})
	// What the node serves for the pod, and a service of its own: its address leads to eth1, what is behind it to eth0.
	for _, rule := range []string{"PREROUTING -p tcp -d 10.1.0.1 --dport 8000:8999 -j DNAT --to-destination " +
		"10.65.0.1:80",
		"OUTPUT -p tcp -d 10.99.0.1 --dport 1 -j DNAT --to-destination 10.1.0.2:81",
		"OUTPUT -p tcp -d 10.99.0.1 --dport 2 -j DNAT --to-destination 10.1.0.2:82"} {
		kerneltest.Run(t, "iptables-"+string(backend)+" -t nat -A "+rule)
	}
	for _, rule := range []string{"PREROUTING -p tcp -d fd01:1::1 --dport 8000:8999 -j DNAT --to-destination " +
		"[fd00:65::1]:80",
		"OUTPUT -p tcp -d fd99::1 --dport 1 -j DNAT --to-destination [fd01:1::2]:81",
		"OUTPUT -p tcp -d fd99::1 --dport 2 -j DNAT --to-destination [fd01:1::2]:82"} {
		kerneltest.Run(t, "ip6tables-"+string(backend)+" -t nat -A "+rule)
	}
	kerneltest.Run(t, "ip route add 10.99.0.1 dev eth1")
	kerneltest.Run(t, "ip route add fd99::1 dev eth1")
	return w
}

func (w *hostWorld) addPod(t *testing.T) {
	t.Helper()
	ns := kerneltest.New(t)
	w.pod = policy.Endpoint{Interface: "cali0", Addrs: podAddrs[0],
		Policy: &wire.Endpoint{Profiles: []string{"kns.all"}}}
	if _, err := veth.Open().Create(t.Context(), veth.Pair{Host: "cali0", Netns: ns, Pod: "eth0",
		Addrs: podAddrs[0]}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "sysctl -qw net.ipv4.conf.cali0.proxy_arp=1 net.ipv4.neigh.cali0.proxy_delay=0")
	for _, addr := range podAddrs[0] {
		kerneltest.Run(t, "ip route add "+addr.String()+" dev cali0")
	}
	kerneltest.Do(t, ns, func() { kerneltest.Run(t, "ip link set lo up") })
	w.podNS, w.stations["pod"] = ns, newStation(t, "pod", ns, podAddrs[0]...)
}

// apply enforces host endpoints by their interfaces.
func (w *hostWorld) apply(t *testing.T, hosts map[string]*wire.HostEndpoint, policies ...*wire.Policy) {
	t.Helper()
	everything := []wire.Rule{{Action: wire.Allow}}
	in := input{Endpoints: []policy.Endpoint{w.pod}, Policies: map[string]*wire.Policy{"kns.all": {Name: "kns.all",
		Ingress: everything, Egress: everything}}}
	for _, p := range policies {
		in.Policies[p.Name] = p
	}
	for _, device := range []string{policy.AnyInterface, "eth0", "eth1"} {
		if h := hosts[device]; h != nil {
			in.Hosts = append(in.Hosts, policy.HostEndpoint{Interface: device, Policy: h})
		}
	}
	w.node.apply(t, func(family dataplane.Family) *policy.Renderer {
		r := renderer(family)
		r.Tunnels = nil
		r.FailsafeIn = []policy.Failsafe{{Protocol: 6, Port: 22}, {Protocol: 6, Port: marker.port},
			{Protocol: 6, Port: 23, Net: prefixes("10.2.0.0/16")[0]}}
		r.FailsafeOut = []policy.Failsafe{{Protocol: 17, Port: 53}, {Protocol: 6, Port: marker.port}}
		if w.options != nil {
			w.options(r)
		}
		return r
	}, in)
}

// findNeighbours lets every station be reached at once from now on.
func (w *hostWorld) findNeighbours(t *testing.T) {
	t.Helper()
	for _, pair := range [][2]string{{"outside", "host"}, {"host", "outside"}, {"other", "host"}, {"pod", "outside"},
		{"other", "pod"}, {"host", "pod"}} {
		for _, dst := range w.stations[pair[1]].addrs { // finds the neighbours
			tag := nextTag()
			w.stations[pair[0]].send(t, udpTo(1), tag, dst)
			w.stations[pair[1]].wait(t, udpTo(1), tag, familyOf(dst))
		}
	}
}

// flow is a packet between two stations. to is where it is looked for, dst where it is sent if that is not to's
// address.
type flow struct {
	from, to string
	p        probe
	dst      []string // of both families
	want     bool
}

func pass(from, to string, p probe, dst ...string) flow { return flow{from, to, p, dst, true} }
func stop(from, to string, p probe, dst ...string) flow { return flow{from, to, p, dst, false} }

// check sends each flow in both families.
func (w *hostWorld) check(t *testing.T, what string, flows []flow) {
	t.Helper()
	for _, f := range flows {
		from, to := w.stations[f.from], w.stations[f.to]
		for i, dst := range to.addrs {
			if f.dst != nil {
				dst = netip.MustParseAddr(f.dst[i])
			}
			if f.p.protocol == 1 && dst.Is6() || f.p.protocol == 58 && dst.Is4() {
				continue
			}
			if got := passes(t, from, to, f.p, dst); got != f.want {
				t.Errorf("%s: %s to %s (%s), %v: let through %v, want %v", what, f.from, f.to, dst, f.p, got, f.want)
			}
		}
	}
}

// service and served are what the rules of newHostWorld translate.
var (
	service = []string{"10.99.0.1", "fd99::1"}
	served  = []string{"10.1.0.1", "fd01:1::1"}
)

// tier makes a tier that denies what the policies leave.
func tier(policies ...string) []wire.Tier {
	return []wire.Tier{{Name: "default", Ingress: policies, Egress: policies, DefaultAction: wire.Deny}}
}

func ingressTier(policies ...string) []wire.Tier {
	return []wire.Tier{{Name: "default", Ingress: policies, DefaultAction: wire.Deny}}
}

// toPort is a rule for packets to a port.
func toPort(action wire.Action, protocol uint8, port uint16) wire.Rule {
	return wire.Rule{Action: action, Protocol: protocol, Dst: wire.Match{Ports: ports(port, port)}}
}

var hostPolicies = []*wire.Policy{
	{Name: "web", Tier: "default", Ingress: []wire.Rule{toPort(wire.Allow, 6, 80)},
		Egress: []wire.Rule{toPort(wire.Allow, 6, 81)}},
	{Name: "no-8001", Tier: "default", Ingress: []wire.Rule{toPort(wire.Deny, 6, 8001), toPort(wire.Allow, 6, 90)}},
	{Name: "nothing", Tier: "default", Ingress: []wire.Rule{{Action: wire.Deny}},
		Egress: []wire.Rule{{Action: wire.Deny}}},
	{Name: "echo", Tier: "default", Ingress: []wire.Rule{toPort(wire.Allow, 17, 7), toPort(wire.Deny, 17, 8)},
		Egress: []wire.Rule{toPort(wire.Allow, 17, 7), toPort(wire.Deny, 17, 8)}},
}

// unaffected are flows that a host endpoint without policies for forwarded traffic leaves alone.
var unaffected = []flow{pass("outside", "pod", tcpTo(22)), pass("outside", "pod", tcpTo(80)),
	pass("pod", "outside", udpTo(80)),
	pass("outside", "other", tcpTo(80)), pass("pod", "host", tcpTo(80)), pass("host", "pod", tcpTo(80)),
	pass("outside", "pod", tcpTo(8001), served...)}

var hostCases = []struct {
	name  string
	hosts map[string]*wire.HostEndpoint
	flows []flow
}{
	{"none", nil, append(unaffected, pass("outside", "host", tcpTo(80)), pass("host", "outside", tcpTo(80)),
		pass("host", "outside", tcpTo(2), service...))},
	{"without policy", map[string]*wire.HostEndpoint{"eth0": {}}, append(unaffected,
		stop("outside", "host", tcpTo(80)), pass("outside", "host", tcpTo(22)), stop("outside", "host", udpTo(22)),
		stop("outside", "host", tcpTo(23)),
		stop("outside", "host", icmpOf(8, 0)), stop("outside", "host", icmp6Of(128, 0)),
		stop("host", "outside", tcpTo(80)), pass("host", "outside", udpTo(53)), stop("host", "outside", tcpTo(53)),
		pass("other", "host", tcpTo(80)))},
	{"profile", map[string]*wire.HostEndpoint{"eth0": {Profiles: []string{"kns.all"}}}, append(unaffected,
		pass("outside", "host", tcpTo(80)), pass("host", "outside", tcpTo(80)),
		pass("host", "outside", tcpTo(2), service...))},
	{"policy", map[string]*wire.HostEndpoint{"eth0": {Tiers: tier("web"), Profiles: []string{"kns.all"}}},
		append(unaffected,
			pass("outside", "host", tcpTo(80)), stop("outside", "host", tcpTo(81)), pass("outside", "host", tcpTo(22)),
			pass("host", "outside", tcpTo(81)), stop("host", "outside", tcpTo(80)), pass("host", "outside", udpTo(53)),
			pass("host", "outside", tcpTo(1), service...), stop("host", "outside", tcpTo(2), service...))},
	{"policy of one direction", map[string]*wire.HostEndpoint{"eth0": {Tiers: ingressTier("web"),
		Profiles: []string{"kns.all"}}}, append(unaffected,
		pass("outside", "host", tcpTo(80)), stop("outside", "host", tcpTo(81)), pass("host", "outside", tcpTo(80)))},
	{"failsafe despite policy", map[string]*wire.HostEndpoint{"eth0": {Tiers: tier("nothing"),
		PreDNAT: ingressTier("nothing"), Untracked: tier("nothing")}}, []flow{
		stop("outside", "host", tcpTo(80)), pass("outside", "host", tcpTo(22)), stop("host", "outside", tcpTo(80)),
		pass("host", "outside", udpTo(53))}},
	{"forward", map[string]*wire.HostEndpoint{"eth0": {Forward: tier("web")}}, []flow{
		pass("outside", "pod", tcpTo(80)), stop("outside", "pod", tcpTo(81)), stop("outside", "pod", tcpTo(22)),
		pass("outside", "other", tcpTo(80)), stop("outside", "other", tcpTo(81)), pass("pod", "outside", tcpTo(81)),
		stop("pod", "outside", tcpTo(80)),
		pass("other", "outside", tcpTo(81)), stop("other", "outside", tcpTo(80)), pass("other", "pod", tcpTo(81)),
		pass("pod", "other", tcpTo(80)),
		pass("outside", "pod", tcpTo(8001), served...), stop("outside", "host", tcpTo(80)),
		pass("pod", "host", tcpTo(81))}},
	{"forward, one direction", map[string]*wire.HostEndpoint{"eth0": {Forward: ingressTier("web")}}, []flow{
		pass("outside", "pod", tcpTo(80)), stop("outside", "pod", tcpTo(81)), pass("pod", "outside", tcpTo(80))}},
	{"before translation", map[string]*wire.HostEndpoint{"eth0": {PreDNAT: ingressTier("no-8001"), Tiers: tier("web"),
		Forward: ingressTier("web")}}, []flow{
		stop("outside", "pod", tcpTo(8001), served...), pass("outside", "pod", tcpTo(8002), served...),
		pass("outside", "host", tcpTo(22)),
		pass("outside", "host", tcpTo(90)), pass("outside", "host", tcpTo(80)), stop("outside", "host", tcpTo(91)),
		pass("outside", "pod", tcpTo(90)), stop("outside", "pod", tcpTo(91)), pass("host", "outside", tcpTo(81)),
		stop("host", "outside", tcpTo(80))}},
	{"untracked", map[string]*wire.HostEndpoint{"eth0": {Untracked: tier("echo"), Tiers: tier("web")}}, []flow{
		pass("outside", "host", udpTo(7)), pass("host", "outside", udpTo(7)), stop("outside", "host", udpTo(8)),
		stop("host", "outside", udpTo(8)),
		stop("outside", "host", udpTo(9)), pass("outside", "host", tcpTo(80)), pass("host", "outside", tcpTo(81)),
		pass("outside", "host", tcpTo(22)),
		stop("outside", "pod", udpTo(8)), pass("outside", "pod", udpTo(9)), pass("outside", "other", udpTo(9))}},
	{"any", map[string]*wire.HostEndpoint{policy.AnyInterface: {}}, append(unaffected,
		stop("outside", "host", tcpTo(80)), pass("outside", "host", tcpTo(22)), stop("other", "host", tcpTo(80)),
		stop("host", "outside", tcpTo(80)),
		stop("host", "host", tcpTo(80)), stop("host", "outside", tcpTo(1), service...))},
	{"any, and one of its own", map[string]*wire.HostEndpoint{policy.AnyInterface: {Tiers: tier("web")},
		"eth1": {Profiles: []string{"kns.all"}}}, append(unaffected,
		pass("outside", "host", tcpTo(80)), stop("outside", "host", tcpTo(81)), pass("other", "host", tcpTo(81)),
		pass("host", "outside", tcpTo(81)),
		pass("host", "outside", tcpTo(1), service...), stop("host", "outside", tcpTo(2), service...))},
	{"any, forward", map[string]*wire.HostEndpoint{policy.AnyInterface: {Forward: ingressTier("web")}}, []flow{
		pass("outside", "pod", tcpTo(80)), stop("outside", "pod", tcpTo(81)), pass("pod", "outside", tcpTo(80)),
		stop("pod", "outside", tcpTo(81)), pass("pod", "host", tcpTo(81))}},
	{"none again", nil, append(unaffected, pass("outside", "host", tcpTo(80)), pass("host", "outside", tcpTo(80)))},
}

// TestHostEndpoints sends packets to, from and through a node with host endpoints.
func TestHostEndpoints(t *testing.T) {
	for _, backend := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		t.Run(string(backend), func(t *testing.T) { checkHostEndpoints(t, backend) })
	}
}

// TestHostEndpointsBesideIPVS: where kube-proxy is in IPVS mode, everything that is not IPVS's is as ever.
func TestHostEndpointsBesideIPVS(t *testing.T) {
	w := newHostWorld(t, iptables.NFT)
	kerneltest.OneCPU(t)
	w.options = func(r *policy.Renderer) { r.IPVS = ipvsRenderer(r.Family).IPVS }
	w.checkHostEndpoints(t)
}

func checkHostEndpoints(t *testing.T, backend iptables.Variant) {
	w := newHostWorld(t, backend)
	kerneltest.OneCPU(t)
	w.checkHostEndpoints(t)
	for _, command := range []string{"iptables", "ip6tables"} {
		if out := kerneltest.Run(t, command+"-"+string(backend)+"-save -t mangle"); strings.Contains(out,
			filter.ChainPrefix) {
			t.Errorf("without host endpoints table mangle has chains of ours:\n%s", out)
		}
	}
}

func (w *hostWorld) checkHostEndpoints(t *testing.T) {
	t.Helper()
	w.apply(t, nil)
	w.findNeighbours(t)
	for _, c := range hostCases {
		w.apply(t, c.hosts, hostPolicies...)
		w.check(t, c.name, c.flows)
	}
}

// TestTracking: what doNotTrack allows has no connection, everything else does, and its answers pass by it.
func TestTracking(t *testing.T) {
	w := newHostWorld(t, iptables.NFT)
	w.apply(t, map[string]*wire.HostEndpoint{"eth0": {Untracked: tier("echo"), Tiers: ingressTier("web")}},
		hostPolicies...)
	listener, err := net.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello") //nolint:errcheck // who reads it sees
			conn.Close()
		}
	}()
	kerneltest.Do(t, w.outside, func() {
		for _, addr := range w.stations["host"].addrs {
			conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, 80).String(), 10*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
				t.Errorf("read %q, %v", text, err)
			}
		}
	})
	for _, dst := range w.stations["host"].addrs {
		tag := nextTag()
		w.stations["outside"].send(t, udpTo(7), tag, dst)
		w.stations["host"].wait(t, udpTo(7), tag, familyOf(dst))
	}
	for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			t.Fatal(err)
		}
		has := func(protocol uint8, port uint16) bool {
			return slices.ContainsFunc(flows, func(f *netlink.ConntrackFlow) bool {
				return f.Forward.Protocol == protocol && f.Forward.DstPort == port
			})
		}
		if !has(6, 80) || has(17, 7) {
			t.Errorf("family %d: tracked: TCP to 80 %v, want true; UDP to 7 %v, want false", family, has(6, 80),
				has(17, 7))
		}
	}
}

// TestNeighbours: a node that policy closes still finds its IPv6 neighbours, without which failsafe ports are none.
func TestNeighbours(t *testing.T) {
	w := newHostWorld(t, iptables.NFT)
	w.apply(t, map[string]*wire.HostEndpoint{policy.AnyInterface: {Tiers: tier("nothing"),
		PreDNAT: ingressTier("nothing")},
		"eth0": {Tiers: tier("nothing"), Untracked: tier("nothing")}}, hostPolicies...)
	kerneltest.Run(t, "ip -6 neigh flush dev eth0")
	kerneltest.Do(t, w.outside, func() { kerneltest.Run(t, "ip -6 neigh flush dev uplink") })
	host := w.stations["host"]
	tag := nextTag()
	w.stations["outside"].send(t, tcpTo(22), tag, host.addr(6))
	host.wait(t, tcpTo(22), tag, 6)
}

// TestAnswersOfPods: what a node asks its pods, as the kubelet does, is answered, whatever pods may send to it.
func TestAnswersOfPods(t *testing.T) {
	w := newHostWorld(t, iptables.NFT)
	kerneltest.Do(t, w.podNS, func() {
		listener, err := net.Listen("tcp", ":80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { listener.Close() })
	})
	pod, host := w.stations["pod"], w.stations["host"]
	for _, leave := range []bool{false, true} {
		w.options = func(r *policy.Renderer) { r.ToHost, r.AllowReturns = filter.Drop{}, leave }
		w.apply(t, nil)
		for _, addr := range pod.addrs {
			if err := dial(addr, 80, true); err != nil {
				t.Errorf("what is allowed is left to the rules that follow: %v: %v", leave, err)
			}
			dst := host.addr(familyOf(addr))
			if passes(t, pod, host, tcpTo(80), dst) {
				t.Errorf("what is allowed is left to the rules that follow: %v: the pod reaches %s", leave, dst)
			}
		}
	}
}
