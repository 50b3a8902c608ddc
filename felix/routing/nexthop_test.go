package routing_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// via is an underlay route, with hops as ip shows them: "via 172.30.0.1 dev eth0 onlink", "dev eth0".
func via(dst string, hops ...string) route.Route {
	r := route.Route{Dst: prefix(dst), Type: route.Unicast}
	for _, hop := range hops {
		words := strings.Fields(hop)
		h := route.Hop{OnLink: slices.Contains(words, "onlink")}
		for i, word := range words[:len(words)-1] {
			switch word {
			case "via":
				h.Gateway = addr(words[i+1])
			case "dev":
				h.Device = words[i+1]
			}
		}
		r.Hops = append(r.Hops, h)
	}
	return r
}

// TestNextHops: which way a route that BGP learned goes, by the routes that the node has from others.
func TestNextHops(t *testing.T) {
	link, gateway := via("172.30.0.0/24", "dev eth0"), via("0.0.0.0/0", "via 172.30.0.1 dev eth0")
	drop := route.Route{Dst: prefix("172.31.0.0/16"), Type: route.Blackhole}
	const onLink, far, other = "172.30.0.12", "172.31.0.13", "172.32.0.14"
	tests := []struct {
		name     string
		underlay []route.Route // the best first, as it comes
		next     []string
		want     string // after the destination; empty if unresolved
	}{
		{"on the link", []route.Route{link, gateway}, []string{onLink}, " via 172.30.0.12 dev eth0"},
		{"by the default route", []route.Route{link, gateway}, []string{far}, " via 172.30.0.1 dev eth0"},
		{"no default route", []route.Route{link}, []string{far}, ""},
		{"the longest prefix", []route.Route{via("172.31.0.0/16", "via 192.0.2.1 dev eth1"), gateway}, []string{far},
			" via 192.0.2.1 dev eth1"},
		{"a prefix beside it", []route.Route{via("172.32.0.0/16", "via 192.0.2.1 dev eth1"), gateway}, []string{far},
			" via 172.30.0.1 dev eth0"},
		{"the least metric, which comes first", []route.Route{gateway, via("0.0.0.0/0", "via 192.0.2.1 dev eth1")},
			[]string{far}, " via 172.30.0.1 dev eth0"},
		{"a gateway that no subnet has", []route.Route{via("0.0.0.0/0", "via 169.254.1.1 dev eth0 onlink")},
			[]string{far}, " via 169.254.1.1 dev eth0 onlink"},
		{"a point-to-point link", []route.Route{via("172.31.0.13/32", "dev ppp0"), gateway}, []string{far},
			" via 172.31.0.13 dev ppp0"},
		{"several gateways", []route.Route{via("0.0.0.0/0", "via 172.30.0.1 dev eth0", "via 192.0.2.1 dev eth1")},
			[]string{far},
			" via 172.30.0.1 dev eth0 via 192.0.2.1 dev eth1"},
		{"several next hops", []route.Route{link, gateway}, []string{onLink, far},
			" via 172.30.0.12 dev eth0 via 172.30.0.1 dev eth0"},
		{"several next hops of one gateway", []route.Route{link, gateway}, []string{far, other},
			" via 172.30.0.1 dev eth0"},
		{"one of several next hops", []route.Route{link}, []string{onLink, far}, " via 172.30.0.12 dev eth0"},
		{"dropped", []route.Route{drop, gateway}, []string{far}, ""},
		{"down", []route.Route{via("172.31.0.0/16"), gateway}, []string{far}, ""},
		{"a pod's interface", []route.Route{via("172.31.0.0/16", "dev cali12345"), gateway}, []string{far}, ""},
		{"the tunnel", []route.Route{via("172.31.0.0/16", "via 10.65.3.0 dev vxlan.calico onlink"), gateway},
			[]string{far}, ""},
		{"the node itself", []route.Route{link, gateway}, []string{"172.30.0.11"}, ""},
		{"no unicast address", []route.Route{gateway}, []string{"0.0.0.0", "127.0.0.1", "224.0.0.5"}, ""},
		{"of another link", []route.Route{gateway}, []string{"169.254.1.1"}, ""},
		{"a gateway of another link", []route.Route{via("0.0.0.0/0", "via 169.254.1.1 dev eth0 onlink")},
			[]string{"169.254.1.1"}, " via 169.254.1.1 dev eth0 onlink"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for family, write := range map[dataplane.Family]func(string) string{dataplane.IPv4: strings.Clone,
				dataplane.IPv6: inIPv6} {
				learned := bgp.Route{Dst: prefix(write("10.99.0.0/16"))}
				for _, next := range test.next {
					learned.NextHops = append(learned.NextHops, addr(write(next)))
				}
				var underlay []route.Route
				for _, r := range test.underlay {
					r.Dst, r.Hops = prefix(write(r.Dst.String())), slices.Clone(r.Hops)
					for i, hop := range r.Hops {
						if hop.Gateway.IsValid() {
							r.Hops[i].Gateway = addr(write(hop.Gateway.String()))
						}
					}
					underlay = append(underlay, r)
				}
				out := routing.Compute(routing.Input{Family: family,
					Self:    routing.Self{Own: []netip.Addr{addr(write("172.30.0.11"))}},
					Learned: []bgp.Route{learned}, Underlay: underlay})
				var want []string
				if test.want != "" {
					words := strings.Fields(test.want)
					for i, word := range words {
						if strings.Contains(word, ".") && word != "vxlan.calico" {
							words[i] = write(word)
						}
					}
					want = []string{learned.Dst.String() + " " + strings.Join(words, " ") + " proto 12"}
				}
				if diff := cmp.Diff(want, show(out.Routes)); diff != "" {
					t.Errorf("%s routes (-want +got):\n%s", family, diff)
				}
				if len(out.Unresolved) > 0 == (test.want != "") || len(out.Problems) > 0 {
					t.Errorf("%s: unresolved %q, problems %q", family, out.Unresolved, out.Problems)
				}
			}
		})
	}
}

// inIPv6 writes an address or prefix of the table as one of the other family with the same meaning.
func inIPv6(s string) string {
	switch s {
	case "0.0.0.0/0":
		return "::/0"
	case "0.0.0.0":
		return "::"
	case "127.0.0.1":
		return "::1"
	case "224.0.0.5":
		return "ff02::5"
	case "169.254.1.1":
		return "fe80::1"
	}
	a, bits, isPrefix := strings.Cut(s, "/")
	octets := addr(a).As4()
	six := netip.AddrFrom16([16]byte{0: 0xfd, 4: octets[0], 5: octets[1], 6: octets[2], 7: octets[3]})
	if !isPrefix {
		return six.String()
	}
	length := map[string]int{"16": 48, "24": 56, "32": 128}[bits]
	return netip.PrefixFrom(six, length).String()
}

// TestNextHopsOfTheStream: what the stream says wins over what is learned by the underlay too, and resolves nothing.
func TestNextHopsOfTheStream(t *testing.T) {
	in := input(wire.Pool{VXLAN: wire.EncapCrossSubnet})
	in.Underlay = append(in.Underlay, via("0.0.0.0/0", "via 172.30.0.1 dev eth0"))
	in.Learned = []bgp.Route{
		{Dst: prefix("10.65.3.0/26"), NextHops: []netip.Addr{addr("172.31.0.13")}},
		{Dst: prefix("172.31.0.0/24"), NextHops: []netip.Addr{addr("172.31.0.13")}}, // would lead to its own next hop
		{Dst: prefix("10.98.0.0/16"), NextHops: []netip.Addr{addr("172.31.0.13")}},
		{Dst: prefix("10.99.0.0/16"), NextHops: []netip.Addr{addr("10.65.3.7")}}, // a pod behind the tunnel
	}
	want := append(slices.Clone(local), n2Direct, n3Tunnel, "10.98.0.0/16 via 172.30.0.1 dev eth0 proto 12",
		"172.31.0.0/24 via 172.30.0.1 dev eth0 proto 12")
	if diff := cmp.Diff(want, show(desired(in))); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}
