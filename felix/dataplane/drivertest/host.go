package drivertest

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

var loopbackNet = net.IPNet{IP: net.IPv4(127, 255, 255, 255).To4(), Mask: net.CIDRMask(32, 32)}

// host carries out the commands of a transcript that are not the driver's.
type host struct {
	kernel Kernel
	// links is the last event shown of each device: the real kernel repeats itself.
	links map[string]dataplane.Event
}

func newHost(k Kernel) *host { return &host{kernel: k, links: map[string]dataplane.Event{}} }

// events returns the events that are the same on every machine: not those of link-local addresses and multicast, which
// IPv6 makes in its own time.
func (h *host) events(t testing.TB) []dataplane.Event {
	t.Helper()
	list := h.kernel.flush(t)
	for deadline := time.Now().Add(10 * time.Second); !moveAddrs(list); list = append(list, h.kernel.flush(t)...) {
		if time.Now().After(deadline) {
			t.Fatalf("an IPv6 address has a route and no event: %+v", list)
		}
	}
	sortRuns(list)
	return slices.DeleteFunc(list, func(e dataplane.Event) bool {
		if e.Kind == dataplane.EventLink {
			last, known := h.links[e.Device]
			h.links[e.Device] = e
			same := last.Up == e.Up && last.Deleted == e.Deleted && last.Index == e.Index && last.MTU == e.MTU
			return known && same && bytes.Equal(last.MAC, e.MAC)
		}
		a := e.Dst.Addr()
		own := e.Kind == dataplane.EventNeigh && !a.IsValid() // the forwarding entry of a bridge's own MAC address
		return e.Kind == dataplane.EventChains || own || a.IsLinkLocalUnicast() || a.IsMulticast()
	})
}

// moveAddrs moves the event of each new IPv6 address after that of its route, and reports whether all are there: the
// real kernel sends it a moment later.
func moveAddrs(list []dataplane.Event) bool {
	for i, r := range list {
		subnet := r.Kind == dataplane.EventRoute && r.Family == dataplane.IPv6 && r.Protocol == unix.RTPROT_KERNEL
		if !subnet || r.Deleted || r.Dst.Addr().IsLinkLocalUnicast() || r.Dst.Addr().IsMulticast() {
			continue
		}
		at := slices.IndexFunc(list[i+1:], func(e dataplane.Event) bool {
			return e.Kind == dataplane.EventAddr && !e.Deleted && e.Dst.Masked() == r.Dst
		})
		if at < 0 {
			return false
		}
		addr := list[i+1+at]
		copy(list[i+2:i+2+at], list[i+1:i+1+at])
		list[i+1] = addr
	}
	return true
}

// sortRuns sorts neighbour events that follow each other, and deletions of routes that do. The real kernel sends them
// in the order of a random hash and of a tree.
func sortRuns(list []dataplane.Event) {
	same := func(a, b dataplane.Event) bool {
		routes := a.Kind == dataplane.EventRoute && a.Deleted && b.Deleted
		return a.Kind == b.Kind && (routes || a.Kind == dataplane.EventNeigh)
	}
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && same(list[start], list[end]) {
			end++
		}
		slices.SortStableFunc(list[start:end], func(a, b dataplane.Event) int {
			return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()))
		})
		start = end
	}
}

// command carries out a command, if it is one of these:
//
//	link add|del|up|down NAME
//	addr add|del PREFIX DEVICE
//	route add|del PREFIX [via ADDRESS] [dev DEVICE] [proto N] [metric N] [blackhole]
//	routes 4|6
//	device NAME
//	link mtu NAME OCTETS
//	neigh del ADDRESS DEVICE, fdb del MAC DEVICE
//	setting KEY [VALUE]
//	flow add SOURCE DESTINATION REPLIER, flows 4|6
func (h *host) command(words []string) (text string, known bool, err error) {
	switch words[0] {
	case "link":
		return "", true, h.link(words[1], words[2], words[3:]...)
	case "device":
		text, err = h.device(words[1])
	case "neigh", "fdb":
		return "", true, h.removeNeigh(words[2], words[3])
	case "addr":
		return "", true, h.addr(words[1], words[2], words[3])
	case "route":
		return "", true, h.route(words[1], words[2:])
	case "routes":
		text, err = h.routes(familyOf(words[1]))
	case "setting":
		if len(words) > 2 {
			return "", true, h.kernel.WriteSetting(words[1], strings.Join(words[2:], " "))
		}
		text, err = h.kernel.ReadSetting(words[1])
		text = strings.Join(strings.Fields(text), " ")
	case "flow":
		return "", true, h.flow(words[2], words[3], words[4])
	case "flows":
		text, err = h.flows(familyOf(words[1]))
	default:
		return "", false, nil
	}
	return text, true, err
}

func familyOf(word string) dataplane.Family {
	return map[string]dataplane.Family{"4": dataplane.IPv4, "6": dataplane.IPv6}[word]
}

func (h *host) link(verb, name string, more ...string) error {
	if verb == "add" {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return h.kernel.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	}
	l, err := h.kernel.LinkByName(name)
	if err != nil {
		return err
	}
	if verb == "mtu" {
		octets, err := strconv.Atoi(more[0])
		if err != nil {
			return err
		}
		return h.kernel.LinkSetMTU(l, octets)
	}
	do := map[string]func(netlink.Link) error{
		"del": h.kernel.LinkDel, "up": h.kernel.LinkSetUp, "down": h.kernel.LinkSetDown,
	}
	return do[verb](l)
}

func (h *host) addr(verb, prefix, device string) error {
	l, err := h.kernel.LinkByName(device)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(prefix))}
	if strings.Contains(prefix, ":") {
		a.Flags = unix.IFA_F_NODAD
	}
	if verb == "del" {
		return h.kernel.AddrDel(l, a)
	}
	return h.kernel.AddrAdd(l, a)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (h *host) route(verb string, words []string) error {
	r := &netlink.Route{Dst: ipNet(netip.MustParsePrefix(words[0])), Scope: unix.RT_SCOPE_LINK}
	if verb == "del" {
		r.Scope = unix.RT_SCOPE_NOWHERE
	}
	for words = words[1:]; len(words) > 0; words = words[1:] {
		switch words[0] {
		case "blackhole":
			r.Type, r.Scope = unix.RTN_BLACKHOLE, unix.RT_SCOPE_UNIVERSE
			continue
		case "via":
			r.Gw, r.Scope = netip.MustParseAddr(words[1]).AsSlice(), unix.RT_SCOPE_UNIVERSE
		case "dev":
			l, err := h.kernel.LinkByName(words[1])
			if err != nil {
				return err
			}
			r.LinkIndex = l.Attrs().Index
		case "proto", "metric":
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return err
			}
			if words[0] == "proto" {
				r.Protocol = netlink.RouteProtocol(n)
			} else {
				r.Priority = n
			}
		}
		words = words[1:]
	}
	if verb == "del" {
		return h.kernel.RouteDel(r)
	}
	return h.kernel.RouteAdd(r)
}

// routes shows the routes of the main table, without link-local ones and multicast.
func (h *host) routes(f dataplane.Family) (string, error) {
	links, err := h.kernel.LinkList()
	if err != nil {
		return "", err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	list, err := h.kernel.RouteListFiltered(f.AF(), &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range list {
		if r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast() {
			continue
		}
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Flags: r.Flags}}
		}
		line := r.Dst.String()
		if r.Type == unix.RTN_BLACKHOLE {
			line, hops = "blackhole "+line, nil
		}
		var ways []string
		for _, hop := range hops {
			way := ""
			if hop.Gw != nil {
				way = " via " + hop.Gw.String()
			}
			way += " dev " + names[hop.LinkIndex]
			if hop.Flags&int(netlink.FLAG_ONLINK) != 0 {
				way += " onlink"
			}
			ways = append(ways, way)
		}
		slices.Sort(ways)
		line += strings.Join(ways, "") + fmt.Sprintf(" metric %d proto %d", r.Priority, r.Protocol)
		if r.Src != nil {
			line += " src " + r.Src.String()
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// flow makes the kernel know a UDP connection whose answers come from replier.
func (h *host) flow(src, dst, replier string) error {
	tuple := func(src, dst string, from, to uint16) netlink.IPTuple {
		return netlink.IPTuple{SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice(),
			SrcPort: from, DstPort: to, Protocol: unix.IPPROTO_UDP}
	}
	family := netlink.InetFamily(dataplane.FamilyOf(netip.MustParseAddr(src)).AF())
	return h.kernel.ConntrackCreate(netlink.ConntrackTable, family, &netlink.ConntrackFlow{FamilyType: uint8(family),
		Forward: tuple(src, dst, 5000, 53), Reverse: tuple(replier, src, 53, 5000), TimeOut: 600})
}

// flows shows source and destination of the connections that the kernel knows.
func (h *host) flows(f dataplane.Family) (string, error) {
	list, err := h.kernel.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(f.AF()))
	var lines []string
	for _, flow := range list {
		lines = append(lines, flow.Forward.SrcIP.String()+" to "+flow.Forward.DstIP.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), err
}
