package route_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// far are addresses that no subnet of a family's test has: outside any prefix, and in a prefix of its own.
func (f family) far() (anywhere, within netip.Addr, prefixes []string) {
	if f.Family == dataplane.IPv6 {
		return netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::1"),
			[]string{"2001:db8:2::/64", "2001:db8:2::/48"}
	}
	return netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"),
		[]string{"198.51.100.0/25", "198.51.100.0/24"}
}

func (f family) foreignOf(t *testing.T, k route.Kernel) (*route.Foreign, func(...netip.Addr) []string) {
	foreign := route.NewForeign(k, route.Config{Family: f.Family,
		Protocols: []int{route.ProtocolFelix, route.ProtocolBGP}})
	return foreign, func(addrs ...netip.Addr) []string {
		t.Helper()
		routes, err := foreign.Of(addrs)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, r := range routes {
			line := fmt.Sprintf("%s type %d", r.Dst, r.Type)
			for _, h := range r.Hops {
				line += " " + strings.TrimPrefix(h.Gateway.String(), "invalid IP") + "@" + h.Device
			}
			lines = append(lines, line)
		}
		return lines
	}
}

// TestForeign: what is read is what others made of the table, best first, without what is down.
func TestForeign(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		anywhere, within, prefixes := f.far()
		kerneltest.Run(t, f.ip()+"route add default via "+f.gw1+" metric 200")
		kerneltest.Run(t, f.ip()+"route add default metric 100 nexthop via "+f.gw1+" nexthop via "+f.gw2)
		kerneltest.Run(t, f.ip()+"route add blackhole "+prefixes[1])
		kerneltest.Run(t, f.ip()+"route add "+prefixes[0]+" dev cali1")
		kerneltest.Run(t, f.ip()+"route add "+within.String()+" via "+f.gw1+" proto 80")
		kerneltest.Run(t, f.ip()+"route add "+within.String()+" via "+f.gw1+" proto 12 metric 7")
		kerneltest.Run(t, f.ip()+"route add "+within.String()+" via "+f.gw1+" table 99")
		_, of := f.foreignOf(t, open(t))
		every := "0.0.0.0/0"
		if f.Family == dataplane.IPv6 {
			every = "::/0"
		}
		subnet := netip.MustParseAddr(f.src)
		bits := map[dataplane.Family]int{dataplane.IPv4: 24, dataplane.IPv6: 64}[f.Family]
		onLink, _ := subnet.Prefix(bits)
		defaults := []string{fmt.Sprintf("%s type 1 %s@eth0 %s@eth0", every, f.gw1, f.gw2),
			fmt.Sprintf("%s type 1 %s@eth0", every, f.gw1)}
		for _, test := range []struct {
			of   netip.Addr
			want []string
		}{
			{anywhere, defaults},
			{within, append([]string{prefixes[0] + " type 1 @cali1", prefixes[1] + " type 6"}, defaults...)},
			{netip.MustParseAddr(f.gw2), append([]string{onLink.String() + " type 1 @eth0"}, defaults...)},
		} {
			if diff := cmp.Diff(test.want, of(test.of)); diff != "" {
				t.Errorf("routes of %s (-want +got):\n%s", test.of, diff)
			}
		}
		if got := of(); got != nil {
			t.Errorf("routes of nothing: %q", got)
		}
	})
}

// TestForeignObserve: the kernel is read again after what may have changed the answer, and after nothing else.
func TestForeignObserve(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		anywhere, _, prefixes := f.far()
		kerneltest.Run(t, f.ip()+"route add default via "+f.gw1)
		k := open(t)
		foreign, of := f.foreignOf(t, k)
		if foreign.Observe(dataplane.Event{Kind: dataplane.EventLost}) {
			t.Error("an event asks for work before anybody depends on a route")
		}
		of(anywhere)
		every := netip.PrefixFrom(anywhere, 0).Masked()
		for _, test := range []struct {
			name  string
			event dataplane.Event
			want  bool
		}{
			{"default route", dataplane.Event{Kind: dataplane.EventRoute, Family: f.Family, Table: route.MainTable,
				Dst: every, Protocol: 3}, true},
			{"default route gone", dataplane.Event{Kind: dataplane.EventRoute, Deleted: true, Family: f.Family,
				Table: route.MainTable, Dst: every, Protocol: 3}, true},
			{"our own", dataplane.Event{Kind: dataplane.EventRoute, Family: f.Family, Table: route.MainTable,
				Dst: every, Protocol: route.ProtocolBGP}, false},
			{"another table", dataplane.Event{Kind: dataplane.EventRoute, Family: f.Family, Table: 99, Dst: every,
				Protocol: 3}, false},
			{"elsewhere", dataplane.Event{Kind: dataplane.EventRoute, Family: f.Family, Table: route.MainTable,
				Dst: netip.MustParsePrefix(prefixes[0]), Protocol: 3}, false},
			{"device down", dataplane.Event{Kind: dataplane.EventLink, Device: "eth0"}, true},
			{"device gone", dataplane.Event{Kind: dataplane.EventLink, Device: "eth0", Up: true, Deleted: true}, true},
			{"device up", dataplane.Event{Kind: dataplane.EventLink, Device: "eth0", Up: true}, false},
			{"another device down", dataplane.Event{Kind: dataplane.EventLink, Device: "cali1"}, false},
			{"address gone", dataplane.Event{Kind: dataplane.EventAddr, Deleted: true, Family: f.Family,
				Dst: netip.MustParsePrefix(f.pod)}, true},
			{"address", dataplane.Event{Kind: dataplane.EventAddr, Family: f.Family, Dst: netip.MustParsePrefix(f.pod)},
				false},
			{"lost", dataplane.Event{Kind: dataplane.EventLost}, true},
		} {
			of(anywhere)
			k.dumps = 0
			observed := foreign.Observe(test.event)
			of(anywhere)
			if observed != test.want || k.dumps > 0 != test.want {
				t.Errorf("%s: observed %v, read %d times, want %v", test.name, observed, k.dumps, test.want)
			}
		}
		k.dumps = 0
		of(anywhere, netip.MustParseAddr(f.gw1))
		if k.dumps != 1 {
			t.Errorf("another question read the kernel %d times, want once", k.dumps)
		}
	})
}

// unreadable fails to list routes.
type unreadable struct {
	*counting
	err error
}

func (u *unreadable) RouteListFiltered(f int, r *netlink.Route, m uint64) ([]netlink.Route, error) {
	if u.err != nil {
		return nil, u.err
	}
	return u.counting.RouteListFiltered(f, r, m)
}

// TestForeignUnreadable: while the kernel does not answer what was known stays, and the next question asks again.
func TestForeignUnreadable(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		anywhere, _, _ := f.far()
		kerneltest.Run(t, f.ip()+"route add default via "+f.gw1)
		k := &unreadable{counting: open(t)}
		foreign, of := f.foreignOf(t, k)
		before := of(anywhere)
		kerneltest.Run(t, f.ip()+"route replace default via "+f.gw2)
		foreign.Resync()
		k.err = errors.New("out of memory")
		if known, err := foreign.Of([]netip.Addr{anywhere}); !errors.Is(err, k.err) || len(known) != 1 ||
			known[0].Hops[0].Gateway.String() != f.gw1 {
			t.Errorf("unreadable: %v, %v; before %q", known, err, before)
		}
		k.err = nil
		if after := of(anywhere); len(after) != 1 || !strings.Contains(after[0], f.gw2) {
			t.Errorf("readable again: %q, want the new gateway", after)
		}
	})
}
