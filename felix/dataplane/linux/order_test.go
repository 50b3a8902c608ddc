package linux_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/conntrack"
	"github.com/maneki-net/maneki/felix/dataplane/fake"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// host is a Dataplane whose drivers work on kernels that behave like the real ones.
type host struct {
	*linux.Dataplane
	kernel *fake.Kernel
	rules  *iptables.Fake
}

func settings(t *testing.T) (*config.Config, policy.Marks) {
	t.Helper()
	c, err := config.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	marks, err := policy.MarksOf(c.IptablesMarkMask)
	if err != nil {
		t.Fatal(err)
	}
	return c, marks
}

// newHost returns a node with the interface eth0, 192.168.7.1.
func newHost(t *testing.T) *host {
	t.Helper()
	_, marks := settings(t)
	h := &host{kernel: fake.New(), rules: iptables.NewFake()}
	h.addLink(t, "eth0")
	eth0, err := h.kernel.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr("192.168.7.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.kernel.AddrAdd(eth0, addr); err != nil {
		t.Fatal(err)
	}
	h.kernel.Events()
	routes := route.Config{Family: dataplane.IPv4, Protocols: []int{route.ProtocolFelix, route.ProtocolBGP}}
	h.Dataplane = linux.New(linux.Drivers{
		Tunnels: tunnel.New(h.kernel, routing.Devices()), Sysctls: sysctl.New(h.kernel), HasIPv6: true,
		Families: []linux.FamilyDrivers{{Family: dataplane.IPv4,
			Filter: iptables.New(iptables.Config{Family: dataplane.IPv4, Variant: iptables.NFT, Scratch: marks.Scratch,
				Runner: h.rules, Sets: h.rules.Sets}),
			Routes: route.New(h.kernel, routes), Connections: conntrack.New(dataplane.IPv4, h.kernel)}},
	}, marks, nil)
	return h
}

// addLink makes an interface that is up.
func (h *host) addLink(t *testing.T, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	l := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.kernel.LinkAdd(l); err != nil {
		t.Fatal(err)
	}
	if err := h.kernel.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
}

func (h *host) removeLink(t *testing.T, name string) {
	t.Helper()
	l, err := h.kernel.LinkByName(name)
	if err == nil {
		err = h.kernel.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// observe hands the kernel's events over, and reports whether an Apply is due.
func (h *host) observe() bool {
	due := false
	for _, e := range h.kernel.Events() {
		due = h.Observe(e) || due
	}
	return due
}

// applyAll applies as often as an Apply is due, and returns what failed the last time.
func (h *host) applyAll(t *testing.T, changes boundary.Desired) []string {
	t.Helper()
	for range 10 {
		r := h.Apply(t.Context(), changes)
		changes = boundary.Desired{}
		if h.observe() {
			continue
		}
		var failures []string
		for _, f := range r.Failures {
			failures = append(failures, f.Error())
		}
		return failures
	}
	t.Fatal("an Apply is due again and again")
	return nil
}

// routes returns the node's routes but for those of the kernel itself.
func (h *host) routes(t *testing.T) []string {
	t.Helper()
	list, err := h.kernel.RouteListFiltered(unix.AF_INET, &netlink.Route{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range list {
		l, err := h.kernel.LinkByIndex(r.LinkIndex)
		if err != nil {
			t.Fatal(err)
		}
		if r.Protocol != unix.RTPROT_KERNEL {
			lines = append(lines, fmt.Sprintf("%s %s", r.Dst, l.Attrs().Name))
		}
	}
	slices.Sort(lines)
	return lines
}

var (
	pod      = netip.MustParseAddr("10.65.0.2")
	endpoint = boundary.Endpoint{Addrs: []netip.Addr{pod}, Present: true,
		Policy: &wire.Endpoint{Namespace: "shop", Pod: "web"}}
	vxlan = tunnel.Device{Name: "vxlan.calico", Kind: encap.VXLAN, Family: dataplane.IPv4, Parent: "eth0",
		Local: netip.MustParseAddr("192.168.7.1"), Addr: netip.MustParseAddr("10.65.0.1"), VNI: 4096, Port: 4789,
		MAC: net.HardwareAddr{0x66, 0, 0, 0, 0, 1}, Peers: []tunnel.Peer{{Addr: netip.MustParseAddr("10.65.1.1"),
			MAC: net.HardwareAddr{0x66, 0, 0, 0, 0, 2}, Outer: netip.MustParseAddr("192.168.7.2")}}}
	podRoute = route.Route{Dst: netip.PrefixFrom(pod, 32), Protocol: route.ProtocolFelix,
		Hops: []route.Hop{{Device: "cali1"}}}
	viaVXLAN = route.Route{Dst: netip.MustParsePrefix("10.65.1.0/26"), Protocol: route.ProtocolFelix,
		Hops: []route.Hop{{Device: "vxlan.calico", Gateway: netip.MustParseAddr("10.65.1.1"), OnLink: true}}}
)

// everything is a node with a pod on cali1 and a tunnel.
func everything(t *testing.T) boundary.Desired {
	t.Helper()
	c, _ := settings(t)
	d := boundary.Desired{Whole: true, Settings: &boundary.Settings{Config: c}, Networks: &boundary.Networks{}}
	d.Endpoints.Set("cali1", endpoint)
	d.Tunnels.Set(vxlan.Name, vxlan)
	d.Routes.Set(route.Key{Dst: podRoute.Dst}, podRoute)
	d.Routes.Set(route.Key{Dst: viaVXLAN.Dst}, viaVXLAN)
	return d
}

// TestOneApply: what a part needs of another is there before it, so that one Apply is enough: the device of a route,
// the chain of a jump.
func TestOneApply(t *testing.T) {
	h := newHost(t)
	h.addLink(t, "cali1")
	r := h.Apply(t.Context(), everything(t))
	for _, f := range r.Failures {
		t.Error(f)
	}
	if diff := cmp.Diff([]string{"10.65.0.2/32 cali1", "10.65.1.0/26 vxlan.calico"}, h.routes(t)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if !h.InPlace("cali1") || !r.Enforced[dataplane.IPv4] {
		t.Errorf("in place %v, enforced %v", h.InPlace("cali1"), r.Enforced)
	}
	for _, key := range []string{"net/ipv4/conf/cali1/proxy_arp", "net/ipv6/conf/cali1/disable_ipv6"} {
		if got, err := h.kernel.ReadSetting(key); err != nil || strings.TrimSpace(got) != "1" {
			t.Errorf("%s is %q, %v, want 1", key, got, err)
		}
	}
}

// TestDeviceComesAndGoes: the route and the settings of a pod wait for its interface, come with it, and come back with
// it.
func TestDeviceComesAndGoes(t *testing.T) {
	h := newHost(t)
	failures := h.applyAll(t, everything(t))
	text := strings.Join(failures, "\n")
	if !strings.Contains(text, "cali1: device does not exist") || h.InPlace("cali1") {
		t.Errorf("without the interface: in place %v, failures %q", h.InPlace("cali1"), failures)
	}
	if diff := cmp.Diff([]string{"10.65.1.0/26 vxlan.calico"}, h.routes(t)); diff != "" {
		t.Errorf("routes without the interface (-want +got):\n%s", diff)
	}
	for _, lost := range []bool{false, true} {
		h.kernel.LoseEvents(lost)
		h.addLink(t, "cali1")
		if !h.observe() {
			t.Errorf("events lost %v: the interface is there, and no Apply is due", lost)
		}
		h.kernel.LoseEvents(false)
		if failures := h.applyAll(t, boundary.Desired{}); len(failures) > 0 || !h.InPlace("cali1") {
			t.Errorf("events lost %v: in place %v, failures %q", lost, h.InPlace("cali1"), failures)
		}
		h.kernel.LoseEvents(lost)
		h.removeLink(t, "cali1")
		if !h.observe() {
			t.Errorf("events lost %v: the interface has gone, and no Apply is due", lost)
		}
		h.kernel.LoseEvents(false)
		h.applyAll(t, boundary.Desired{})
		if h.InPlace("cali1") {
			t.Errorf("events lost %v: in place without the interface", lost)
		}
	}
}

// TestTunnelIsRepaired: with a tunnel device its routes go. One Apply brings back both.
func TestTunnelIsRepaired(t *testing.T) {
	h := newHost(t)
	h.addLink(t, "cali1")
	if failures := h.applyAll(t, everything(t)); len(failures) > 0 {
		t.Fatal(failures)
	}
	h.removeLink(t, vxlan.Name)
	if got := h.routes(t); len(got) != 1 || !h.observe() {
		t.Errorf("without the tunnel: routes %q", got)
	}
	if r := h.Apply(t.Context(), boundary.Desired{}); len(r.Failures) > 0 {
		t.Error(r.Failures)
	}
	if got := h.routes(t); len(got) != 2 {
		t.Errorf("routes %q, want two", got)
	}
}

// TestOneFailure: a call that fails holds up no other object, and is made again.
func TestOneFailure(t *testing.T) {
	for _, call := range []string{
		"RouteAdd", "RouteListFiltered", "WriteSetting", "NeighSet", "LinkAdd", "ConntrackDeleteFilters",
	} {
		t.Run(call, func(t *testing.T) {
			h := newHost(t)
			h.addLink(t, "cali1")
			h.kernel.FailNext(call, unix.EBUSY)
			changes := everything(t)
			changes.Forget = []netip.Addr{pod}
			r := h.Apply(t.Context(), changes)
			if len(r.Failures) == 0 || !errors.Is(r.Failures[0], unix.EBUSY) {
				t.Errorf("failures %v", r.Failures)
			}
			failures := h.applyAll(t, boundary.Desired{})
			if inPlace := h.InPlace("cali1"); len(failures) > 0 || !inPlace || len(h.routes(t)) != 2 {
				t.Errorf("the next time: in place %v, routes %q, failures %q", inPlace, h.routes(t), failures)
			}
		})
	}
}
