package route_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// counting counts what is written and how often routes are read.
type counting struct {
	*netlink.Handle
	writes, dumps int
}

func (c *counting) RouteAdd(r *netlink.Route) error     { c.writes++; return c.Handle.RouteAdd(r) }
func (c *counting) RouteReplace(r *netlink.Route) error { c.writes++; return c.Handle.RouteReplace(r) }
func (c *counting) RouteDel(r *netlink.Route) error     { c.writes++; return c.Handle.RouteDel(r) }
func (c *counting) RouteListFiltered(f int, r *netlink.Route, m uint64) ([]netlink.Route, error) {
	c.dumps++
	return c.Handle.RouteListFiltered(f, r, m)
}

func open(t *testing.T) *counting {
	t.Helper()
	h, err := route.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return &counting{Handle: h}
}

// family is the addresses of one family: each case below runs with both.
type family struct {
	dataplane.Family
	pod, block, remote, gw1, gw2, src, foreign string
	device                                     string // ip commands that make cali1 and eth0
}

var families = []family{
	{dataplane.IPv4, "10.65.0.2/32", "10.65.0.0/26", "10.65.1.0/26", "192.168.7.2", "192.168.7.3", "192.168.7.1",
		"10.99.0.0/16", ""},
	{dataplane.IPv6, "fd00:65::2/128", "fd00:65::/122", "fd00:65::40/122", "fd00:7::2", "fd00:7::3", "fd00:7::1",
		"fd00:99::/32", " nodad"},
}

func (f family) table(k route.Kernel) *route.Table {
	return route.New(k, route.Config{Family: f.Family, Protocols: []int{route.ProtocolFelix, route.ProtocolBGP}})
}

func (f family) ip() string {
	return map[dataplane.Family]string{dataplane.IPv4: "ip -4 ", dataplane.IPv6: "ip -6 "}[f.Family]
}

// routes shows the kernel's routes of a protocol, sorted by the kernel, without what varies.
func (f family) routes(t *testing.T, protocol string) []string {
	t.Helper()
	out := kerneltest.Run(t, f.ip()+"route show table main proto "+protocol)
	out = strings.NewReplacer(" metric 1024", "", " pref medium", "", " linkdown", "", "\n\t", " ", " weight 1",
		"").Replace(out)
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func (f family) setUp(t *testing.T) {
	t.Helper()
	kerneltest.Enter(t)
	kerneltest.Run(t, "ip link add cali1 type veth peer name pod1")
	kerneltest.Run(t, "ip link add eth0 type veth peer name eth0p")
	for _, d := range []string{"cali1", "pod1", "eth0", "eth0p"} {
		kerneltest.Run(t, "ip link set "+d+" up")
	}
	bits := "/24"
	if f.Family == dataplane.IPv6 {
		bits = "/64"
	}
	kerneltest.Run(t, "ip addr add "+f.src+bits+" dev eth0"+f.device)
}

func (f family) bare(p string) string {
	return strings.TrimSuffix(strings.TrimSuffix(p, "/32"), "/128")
}

func (f family) desired() []route.Route {
	p := netip.MustParsePrefix
	return []route.Route{
		{Dst: p(f.pod), Hops: []route.Hop{{Device: "cali1"}}, Protocol: route.ProtocolFelix,
			Src: netip.MustParseAddr(f.src)},
		{Dst: p(f.block), Type: route.Blackhole, Protocol: route.ProtocolFelix},
		{Dst: p(f.remote), Protocol: route.ProtocolBGP, MTU: 1400, Hops: []route.Hop{
			{Device: "eth0", Gateway: netip.MustParseAddr(f.gw2)},
			{Device: "eth0", Gateway: netip.MustParseAddr(f.gw1), OnLink: true},
		}},
	}
}

func eachFamily(t *testing.T, test func(*testing.T, family)) {
	for _, f := range families {
		t.Run(f.Family.String(), func(t *testing.T) {
			f.setUp(t)
			test(t, f)
		})
	}
}

func apply(t *testing.T, table *route.Table) {
	t.Helper()
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestProgram(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		kerneltest.Run(t, f.ip()+"route add "+f.foreign+" dev eth0 proto 77")
		kerneltest.Run(t, f.ip()+"route add blackhole "+f.foreign+" metric 7 proto 80") // left by an earlier Felix
		k := open(t)
		table := f.table(k)
		table.Replace(f.desired())
		apply(t, table)

		want := []string{f.bare(f.pod) + " dev cali1 scope link src " + f.src, "blackhole " + f.block}
		if f.Family == dataplane.IPv6 {
			want = []string{f.bare(f.pod) + " dev cali1 src " + f.src, "blackhole " + f.block + " dev lo"}
		}
		got := f.routes(t, "80")
		if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
			t.Errorf("routes of protocol 80 (-want +got):\n%s", diff)
		}
		ecmp := []string{f.remote + " mtu 1400 nexthop via " + f.gw1 + " dev eth0 onlink nexthop via " + f.gw2 +
			" dev eth0"}
		if diff := cmp.Diff(ecmp, f.routes(t, "12")); diff != "" {
			t.Errorf("routes of protocol 12 (-want +got):\n%s", diff)
		}
		if got := f.routes(t, "77"); len(got) != 1 {
			t.Errorf("foreign routes: %q, want 1", got)
		}

		k.writes, k.dumps = 0, 0
		apply(t, table)
		if k.writes != 0 || k.dumps != 0 {
			t.Errorf("second Apply wrote %d and read %d times", k.writes, k.dumps)
		}
		table.Resync()
		apply(t, table)
		restarted := f.table(k)
		restarted.Replace(f.desired())
		apply(t, restarted)
		if k.writes != 0 {
			t.Errorf("Apply of the same after Resync and after a restart wrote %d times", k.writes)
		}
	})
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

func TestChange(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		table := f.table(open(t))
		dst := netip.MustParsePrefix(f.remote)
		gw := []route.Hop{{Device: "eth0", Gateway: netip.MustParseAddr(f.gw1)}}
		steps := []struct {
			name  string
			route route.Route
			want  string
		}{
			{"device", route.Route{Hops: []route.Hop{{Device: "cali1"}}}, " dev cali1"},
			{"gateway", route.Route{Hops: gw}, " via " + f.gw1 + " dev eth0"},
			{"blackhole", route.Route{Type: route.Blackhole}, "blackhole "},
			{"gateway again", route.Route{Hops: gw}, " via " + f.gw1 + " dev eth0"},
			{"no device", route.Route{Hops: []route.Hop{{Gateway: netip.MustParseAddr(f.gw2)}}},
				" via " + f.gw2 + " dev eth0"},
			{"several", route.Route{Hops: append(gw, route.Hop{Device: "eth0", Gateway: netip.MustParseAddr(f.gw2)})},
				"nexthop via " + f.gw2},
			{"blackhole again", route.Route{Type: route.Blackhole}, "blackhole "},
			{"several again", route.Route{Hops: append(gw, route.Hop{Device: "eth0",
				Gateway: netip.MustParseAddr(f.gw2)})}, "nexthop via " + f.gw2},
			{"device again", route.Route{Hops: []route.Hop{{Device: "cali1"}}}, " dev cali1"},
		}
		for _, s := range steps {
			s.route.Dst, s.route.Protocol = dst, route.ProtocolFelix
			table.Set(s.route)
			apply(t, table)
			got := f.routes(t, "80")
			if len(got) != 1 || !strings.Contains(got[0], s.want) {
				t.Fatalf("%s: routes %q, want one with %q", s.name, got, s.want)
			}
			table.Resync()
			apply(t, table)
		}
		table.Remove(route.Key{Dst: dst})
		apply(t, table)
		if got := f.routes(t, "80"); len(got) != 0 {
			t.Errorf("removed: routes %q", got)
		}
	})
}

// TestOneRoute: the change of one route costs one write and no reading, however many there are.
func TestOneRoute(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		k := open(t)
		table := f.table(k)
		addr := netip.MustParsePrefix(f.block).Addr()
		pod := func() route.Route {
			addr = addr.Next()
			return route.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Protocol: route.ProtocolFelix,
				Hops: []route.Hop{{Device: "cali1"}}}
		}
		for range 500 {
			table.Set(pod())
		}
		table.Complete()
		apply(t, table)
		added := pod()
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"added", func() { table.Set(added) }},
			{"changed", func() { added.Hops = []route.Hop{{Device: "eth0"}}; table.Set(added) }},
			{"removed", func() { table.Remove(route.Key{Dst: added.Dst}) }},
		} {
			k.writes, k.dumps = 0, 0
			step.do()
			apply(t, table)
			if k.writes != 1 || k.dumps != 0 {
				t.Errorf("%s: %d writes and %d lists, want 1 and 0", step.name, k.writes, k.dumps)
			}
		}
		if got := f.routes(t, "80"); len(got) != 500 {
			t.Errorf("%d routes, want 500", len(got))
		}
	})
}

// TestEarlierProcess: what an earlier process left stays until everything desired is known.
func TestEarlierProcess(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		table := f.table(open(t))
		for _, r := range f.desired() {
			table.Set(r)
		}
		apply(t, table)
		restarted := f.table(open(t))
		restarted.Set(f.desired()[0])
		apply(t, restarted)
		if got := f.routes(t, "80"); len(got) != 2 {
			t.Errorf("after the first route: %q, want both", got)
		}
		restarted.Complete()
		apply(t, restarted)
		if got := f.routes(t, "80"); len(got) != 1 {
			t.Errorf("after the last one: %q, want 1", got)
		}
	})
}

func TestConflictWithForeignRoute(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		kerneltest.Run(t, f.ip()+"route add "+f.remote+" dev eth0 proto 77")
		table := f.table(open(t))
		table.Replace(f.desired())
		if err := table.Apply(t.Context()); !errors.Is(err, route.ErrConflict) ||
			!strings.Contains(err.Error(), f.remote) {
			t.Fatalf("Apply: %v, want ErrConflict that names %s", err, f.remote)
		}
		if got := f.routes(t, "77"); len(got) != 1 {
			t.Errorf("foreign routes: %q, want 1", got)
		}
		if got := f.routes(t, "80"); len(got) != 2 {
			t.Errorf("our other routes: %q, want 2", got)
		}
		kerneltest.Run(t, f.ip()+"route del "+f.remote+" dev eth0 proto 77")
		gone := dataplane.Event{Kind: dataplane.EventRoute, Deleted: true, Family: f.Family, Table: route.MainTable,
			Dst: netip.MustParsePrefix(f.remote), Protocol: 77}
		if f.Family == dataplane.IPv6 {
			gone.Priority = 1024
		}
		if !table.Observe(gone) {
			t.Error("Observe of the foreign route's end asks for no Apply")
		}
		apply(t, table)
		if got := f.routes(t, "12"); len(got) != 1 {
			t.Errorf("our route after the conflict ended: %q, want 1", got)
		}
	})
}

// TestYieldingRoute: where a route that yields has a foreign one in its way nothing is wrong, and it comes when the way
// is free.
func TestYieldingRoute(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		kerneltest.Run(t, f.ip()+"route add "+f.remote+" dev eth0 proto 77")
		table := f.table(open(t))
		desired := f.desired()
		for i := range desired {
			desired[i].Yields = desired[i].Protocol == route.ProtocolBGP
		}
		table.Replace(desired)
		apply(t, table)
		if foreign, ours := f.routes(t, "77"), f.routes(t, "12"); len(foreign) != 1 || len(ours) != 0 {
			t.Errorf("foreign routes %q and ours %q, want the foreign one", foreign, ours)
		}
		kerneltest.Run(t, f.ip()+"route del "+f.remote+" dev eth0 proto 77")
		apply(t, table)
		if got := f.routes(t, "12"); len(got) != 1 {
			t.Errorf("our route without the foreign one: %q, want 1", got)
		}
	})
}

func TestDeviceComesLater(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		table := f.table(open(t))
		late := route.Route{Dst: netip.MustParsePrefix(f.remote), Hops: []route.Hop{{Device: "cali2"}},
			Protocol: route.ProtocolFelix}
		table.Replace(append(f.desired()[:2], late))
		if err := table.Apply(t.Context()); !errors.Is(err, route.ErrNoDevice) {
			t.Fatalf("Apply: %v, want ErrNoDevice", err)
		}
		if got := f.routes(t, "80"); len(got) != 2 {
			t.Errorf("routes without the device: %q, want 2", got)
		}
		if table.InPlace(route.Key{Dst: late.Dst}) || !table.InPlace(route.Key{Dst: netip.MustParsePrefix(f.pod)}) {
			t.Error("InPlace of the missing or of another route is wrong")
		}
		kerneltest.Run(t, "ip link add cali2 type veth peer name pod2")
		link := dataplane.Event{Kind: dataplane.EventLink, Device: "cali2"}
		if table.Observe(link) {
			t.Error("Observe of a device that is down asks for an Apply")
		}
		kerneltest.Run(t, "ip link set cali2 up")
		link.Up = true
		if !table.Observe(link) {
			t.Error("Observe of the awaited device asks for no Apply")
		}
		apply(t, table)
		if got := f.routes(t, "80"); len(got) != 3 {
			t.Errorf("routes with the device: %q, want 3", got)
		}
		if !table.InPlace(route.Key{Dst: late.Dst}) {
			t.Error("InPlace of the route is false once it is there")
		}
	})
}

// TestDeviceReplaced: IPv4 routes vanish with a device and no event says so.
func TestDeviceReplaced(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		table := f.table(open(t))
		table.Replace(f.desired())
		apply(t, table)
		kerneltest.Run(t, "ip link del cali1")
		if !table.Observe(dataplane.Event{Kind: dataplane.EventLink, Device: "cali1", Deleted: true}) {
			t.Error("Observe of the device's end asks for no Apply")
		}
		if err := table.Apply(t.Context()); !errors.Is(err, route.ErrNoDevice) {
			t.Fatalf("Apply: %v, want ErrNoDevice", err)
		}
		kerneltest.Run(t, "ip link add cali1 type veth peer name pod1")
		kerneltest.Run(t, "ip link set cali1 up")
		kerneltest.Run(t, "ip link set pod1 up")
		apply(t, table)
		if got := f.routes(t, "80"); len(got) != 2 {
			t.Errorf("routes: %q, want 2", got)
		}
	})
}

func TestRepair(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		k := open(t)
		table := f.table(k)
		table.Replace(f.desired())
		apply(t, table)
		deleted := dataplane.Event{Kind: dataplane.EventRoute, Family: f.Family, Table: route.MainTable,
			Dst: netip.MustParsePrefix(f.pod), Protocol: 80}
		if f.Family == dataplane.IPv6 {
			deleted.Priority = 1024
		}
		k.writes, k.dumps = 0, 0
		if table.Observe(deleted) {
			t.Error("Observe of our own route's event asks for an Apply")
		}
		kerneltest.Run(t, f.ip()+"route del "+f.pod)
		deleted.Deleted = true
		if !table.Observe(deleted) {
			t.Error("Observe of a deletion by hand asks for no Apply")
		}
		apply(t, table)
		if got := f.routes(t, "80"); len(got) != 2 || k.writes != 1 {
			t.Errorf("after repair: routes %q with %d writes, want 2 with 1", got, k.writes)
		}
	})
}

// A pool's mode changes: the direct route to a block gives way to one through the tunnel, whose gateway is
// the block's own first address, and back.
func TestDirectAndTunnelledTakeTurns(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		table := f.table(open(t))
		block := netip.MustParsePrefix(f.remote)
		for range 2 {
			for _, hop := range []route.Hop{
				{Device: "eth0", Gateway: netip.MustParseAddr(f.gw1)},
				{Device: "cali1", Gateway: block.Addr(), OnLink: true},
			} {
				table.Set(route.Route{Dst: block, Hops: []route.Hop{hop}, Protocol: route.ProtocolFelix})
				if err := table.Apply(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := f.routes(t, "80"); len(got) != 1 ||
					!strings.Contains(got[0], "via "+hop.Gateway.String()+" dev "+hop.Device) {
					t.Errorf("routes are %q, want one via %s dev %s", got, hop.Gateway, hop.Device)
				}
			}
		}
	})
}

// TestDefaultRoute: the driver knows its own default route again.
func TestDefaultRoute(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		k := open(t)
		table := f.table(k)
		every := netip.PrefixFrom(netip.MustParseAddr(f.gw1), 0).Masked()
		table.Set(route.Route{Dst: every, Protocol: route.ProtocolBGP,
			Hops: []route.Hop{{Device: "eth0", Gateway: netip.MustParseAddr(f.gw1)}}})
		apply(t, table)
		table.Resync()
		k.writes = 0
		apply(t, table)
		if got := f.routes(t, "12"); k.writes != 0 || len(got) != 1 ||
			!strings.HasPrefix(got[0], "default via "+f.gw1) {
			t.Errorf("after reading back, %d writes; routes %q", k.writes, got)
		}
	})
}
