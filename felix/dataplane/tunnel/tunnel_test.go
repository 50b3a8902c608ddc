package tunnel_test

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
)

// counting counts what is written.
type counting struct {
	*netlink.Handle
	writes int
}

func (c *counting) count(err error) error                  { c.writes++; return err }
func (c *counting) LinkAdd(l netlink.Link) error           { return c.count(c.Handle.LinkAdd(l)) }
func (c *counting) LinkDel(l netlink.Link) error           { return c.count(c.Handle.LinkDel(l)) }
func (c *counting) LinkSetMTU(l netlink.Link, n int) error { return c.count(c.Handle.LinkSetMTU(l, n)) }
func (c *counting) LinkSetUp(l netlink.Link) error         { return c.count(c.Handle.LinkSetUp(l)) }
func (c *counting) AddrDel(l netlink.Link, a *netlink.Addr) error {
	return c.count(c.Handle.AddrDel(l, a))
}
func (c *counting) NeighSet(n *netlink.Neigh) error { return c.count(c.Handle.NeighSet(n)) }
func (c *counting) NeighDel(n *netlink.Neigh) error { return c.count(c.Handle.NeighDel(n)) }
func (c *counting) LinkSetHardwareAddr(l netlink.Link, m net.HardwareAddr) error {
	return c.count(c.Handle.LinkSetHardwareAddr(l, m))
}
func (c *counting) AddrReplace(l netlink.Link, a *netlink.Addr) error {
	return c.count(c.Handle.AddrReplace(l, a))
}

func open(t *testing.T) *counting {
	t.Helper()
	h, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return &counting{Handle: h}
}

func address(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// family is a tunnel with addresses for its ends. Family is that of the packets inside.
type family struct {
	dataplane.Family
	name, local, remote, remote2, tunnel, peer, peer2, ip string
}

var families = []family{
	{dataplane.IPv4, "vxlan.calico", "192.168.7.1", "192.168.7.2", "192.168.7.3", "10.65.0.1", "10.65.0.65",
		"10.65.0.129", "ip -4 "},
	{dataplane.IPv6, "vxlan-v6.calico", "fd00:7::1", "fd00:7::2", "fd00:7::3", "fd00:65::1", "fd00:65::41",
		"fd00:65::81", "ip -6 "},
	{dataplane.IPv4, "vxlan4in6", "fd00:7::1", "fd00:7::2", "fd00:7::3", "10.65.0.1", "10.65.0.65", "10.65.0.129",
		"ip -4 "},
}

// outer returns the family of the packets outside.
func (f family) outer() dataplane.Family { return dataplane.FamilyOf(netip.MustParseAddr(f.local)) }

const (
	mac1 = "66:00:00:00:00:01"
	mac2 = "66:00:00:00:00:02"
	mac3 = "66:00:00:00:00:03"
)

func newDriver(k tunnel.Kernel, name string) *tunnel.Tunnels {
	return tunnel.New(k, map[string]encap.Kind{name: encap.VXLAN})
}

func (f family) desired() tunnel.Device {
	return tunnel.Device{
		Name: f.name, Kind: encap.VXLAN, Family: f.Family, VNI: 4096, Port: 4789, Parent: "eth0",
		Local: netip.MustParseAddr(f.local), MTU: 1400, MAC: address(mac1), Addr: netip.MustParseAddr(f.tunnel),
		Peers: []tunnel.Peer{
			{Addr: netip.MustParseAddr(f.peer), MAC: address(mac2), Outer: netip.MustParseAddr(f.remote)},
			{Addr: netip.MustParseAddr(f.peer2), MAC: address(mac3), Outer: netip.MustParseAddr(f.remote2)},
		},
	}
}

func eachFamily(t *testing.T, test func(*testing.T, family)) {
	for _, f := range families {
		t.Run(f.Family.String()+" in "+f.outer().String(), func(t *testing.T) {
			kerneltest.Enter(t)
			kerneltest.Run(t, "ip link add eth0 type veth peer name eth0p")
			kerneltest.Run(t, "ip link set eth0 up")
			bits := "/24"
			if f.outer() == dataplane.IPv6 {
				bits = "/64"
			}
			kerneltest.Run(t, "ip addr add "+f.local+bits+" dev eth0")
			test(t, f)
		})
	}
}

func apply(t *testing.T, d *tunnel.Tunnels) {
	t.Helper()
	if err := d.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// state shows addresses, permanent neighbours and forwarding entries.
func (f family) state(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, field := range strings.Fields(kerneltest.Run(t, f.ip+"-br addr show dev "+f.name+" scope global"))[2:] {
		list = append(list, "addr "+field)
	}
	for l := range strings.Lines(kerneltest.Run(t, f.ip+"neigh show dev "+f.name+" nud permanent")) {
		list = append(list, "neigh "+strings.TrimSpace(l))
	}
	for l := range strings.Lines(kerneltest.Run(t, "bridge fdb show dev "+f.name)) {
		list = append(list, "fdb "+strings.TrimSpace(l))
	}
	slices.Sort(list)
	return list
}

func (f family) expect(t *testing.T, what string) {
	t.Helper()
	bits := "/32"
	if f.Family == dataplane.IPv6 {
		bits = "/128"
	}
	want := []string{
		"addr " + f.tunnel + bits,
		"fdb " + mac2 + " dst " + f.remote + " self permanent",
		"fdb " + mac3 + " dst " + f.remote2 + " self permanent",
		"neigh " + f.peer2 + " lladdr " + mac3 + " PERMANENT",
		"neigh " + f.peer + " lladdr " + mac2 + " PERMANENT",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, f.state(t)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestProgram(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		k := open(t)
		d := newDriver(k, f.name)
		d.Replace([]tunnel.Device{f.desired()})
		apply(t, d)
		f.expect(t, "programmed")
		show := kerneltest.Run(t, "ip -d link show "+f.name)
		for _, part := range []string{"mtu 1400", mac1, "vxlan id 4096", "dev eth0", "dstport 4789", "nolearning",
			",UP"} {
			if !strings.Contains(show, part) {
				t.Errorf("device lacks %q:\n%s", part, show)
			}
		}

		k.writes = 0
		apply(t, d)
		d.Resync()
		apply(t, d)
		restarted := newDriver(k, f.name)
		restarted.Replace([]tunnel.Device{f.desired()})
		apply(t, restarted)
		if k.writes != 0 {
			t.Errorf("Apply of the same, after Resync, after a restart: %d writes", k.writes)
		}

		restarted.Replace(nil)
		apply(t, restarted)
		if _, err := kerneltest.Try("ip link show " + f.name); err == nil {
			t.Error("the device is still there")
		}
		if k.writes != 1 {
			t.Errorf("removal: %d writes, want 1", k.writes)
		}
	})
}

func TestChange(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		k := open(t)
		d := newDriver(k, f.name)
		d.Replace([]tunnel.Device{f.desired()})
		apply(t, d)
		index := func() int {
			l, err := k.LinkByName(f.name)
			if err != nil {
				t.Fatal(err)
			}
			return l.Attrs().Index
		}
		first := index()
		v := f.desired()
		v.MTU, v.MAC = 1300, address("66:00:00:00:00:09")
		v.Peers[0].Outer = v.Peers[1].Outer
		v.Peers = v.Peers[:1]
		d.Replace([]tunnel.Device{v})
		k.writes = 0
		apply(t, d)
		if index() != first || k.writes != 5 {
			t.Errorf("mtu, mac, a peer moved and one gone: index %d, was %d, %d writes, want 5", index(), first,
				k.writes)
		}
		if got := f.state(t); len(got) != 3 || !strings.Contains(strings.Join(got, "\n"), mac2+" dst "+f.remote2) {
			t.Errorf("state %q", got)
		}
		v = f.desired()
		v.VNI = 4097
		d.Replace([]tunnel.Device{v})
		apply(t, d)
		if index() == first || !strings.Contains(kerneltest.Run(t, "ip -d link show "+f.name), "vxlan id 4097") {
			t.Error("another VNI did not make the device anew")
		}
		f.expect(t, "made anew")
	})
}

func TestRepair(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		d := newDriver(open(t), f.name)
		d.Replace([]tunnel.Device{f.desired()})
		apply(t, d)
		for _, damage := range []string{
			f.ip + "addr flush dev " + f.name + " scope global",
			f.ip + "addr add " + f.peer + " dev " + f.name,
			f.ip + "neigh del " + f.peer + " dev " + f.name,
			f.ip + "neigh replace " + f.peer2 + " lladdr " + mac1 + " dev " + f.name + " nud permanent",
			"bridge fdb del " + mac2 + " dev " + f.name + " dst " + f.remote,
			"bridge fdb add 66:00:00:00:00:77 dev " + f.name + " dst " + f.remote,
			"ip link set " + f.name + " down",
			"ip link set " + f.name + " mtu 1280",
			"ip link del " + f.name,
		} {
			kerneltest.Run(t, damage)
			d.Resync()
			apply(t, d)
			f.expect(t, "after "+damage)
			if show := kerneltest.Run(t, "ip link show "+f.name); !strings.Contains(show, ",UP") ||
				!strings.Contains(show, "mtu 1400") {
				t.Errorf("after %s: %s", damage, show)
			}
		}
	})
}

func TestForeignAndMissing(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		kerneltest.Run(t, "ip link add "+f.name+" type bridge")
		d := newDriver(open(t), f.name)
		apply(t, d) // not desired: stays
		d.Replace([]tunnel.Device{f.desired()})
		if err := d.Apply(t.Context()); !errors.Is(err, tunnel.ErrForeign) {
			t.Errorf("Apply: %v, want ErrForeign", err)
		}
		kerneltest.Run(t, "ip link del "+f.name)
		kerneltest.Run(t, "ip link del eth0")
		if err := d.Apply(t.Context()); !errors.Is(err, tunnel.ErrNoParent) {
			t.Errorf("Apply: %v, want ErrNoParent", err)
		}
		if !d.Observe(dataplane.Event{Kind: dataplane.EventLink, Device: "eth0", Up: true}) {
			t.Error("Observe of the parent asks for no Apply")
		}
	})
}

// TestTraffic: two ends that only this driver configured reach each other by their tunnel addresses.
func TestTraffic(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		here, there := kerneltest.Current(t), kerneltest.New(t)
		if err := open(t).LinkSetNsFd(mustLink(t, "eth0p"), int(there.Fd())); err != nil {
			t.Fatal(err)
		}
		near := f.desired()
		far := tunnel.Device{
			Name: f.name, Kind: encap.VXLAN, Family: f.Family, VNI: 4096, Port: 4789, Parent: "eth0p",
			Local: netip.MustParseAddr(f.remote), MTU: 1400, MAC: address(mac2), Addr: netip.MustParseAddr(f.peer),
			Peers: []tunnel.Peer{{Addr: netip.MustParseAddr(f.tunnel), MAC: address(mac1),
				Outer: netip.MustParseAddr(f.local)}},
		}
		bits := map[dataplane.Family]string{dataplane.IPv4: "/24", dataplane.IPv6: "/64 nodad"}[f.outer()]
		side := func(v tunnel.Device, to string) {
			kerneltest.Run(t, "ip link set "+v.Parent+" up")
			kerneltest.Run(t, "ip addr replace "+v.Local.String()+bits+" dev "+v.Parent)
			d := newDriver(open(t), f.name)
			d.Replace([]tunnel.Device{v})
			apply(t, d)
			kerneltest.Run(t, f.ip+"route add "+to+" dev "+f.name+" src "+v.Addr.String())
		}
		side(near, f.peer)
		kerneltest.Set(t, there)
		side(far, f.tunnel)
		kerneltest.Set(t, here)
		if f.outer() == dataplane.IPv6 { // eth0's first address went through duplicate address detection
			kerneltest.Run(t, "ip addr del "+f.local+"/64 dev eth0")
			kerneltest.Run(t, "ip addr add "+f.local+"/64 dev eth0 nodad")
		}
		if out, err := exec.Command("ping", "-c1", "-W2", f.peer).CombinedOutput(); err != nil {
			t.Errorf("ping through the tunnel: %v\n%s", err, out)
		}
	})
}

func mustLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := open(t).LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
