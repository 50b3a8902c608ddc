package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/policy"
)

// eachBackend runs a test on a node of its own with each variant of iptables, whose rules let pods reach the node.
func eachBackend(t *testing.T, test func(*testing.T, *hostWorld, string)) {
	for _, backend := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		t.Run(string(backend), func(t *testing.T) {
			w := newHostWorld(t, backend)
			kerneltest.OneCPU(t)
			w.options = func(r *policy.Renderer) { r.Tunnels, r.BGPPort = []policy.TunnelGuard{vxlanGuard}, 1790 }
			w.apply(t, nil)
			w.findNeighbours(t)
			test(t, w, "tables-"+string(backend)+" -t nat -A ")
		})
	}
}

// translate adds a rule of address translation in both families.
func translate(t *testing.T, command string, v4, v6 string) {
	t.Helper()
	kerneltest.Run(t, "ip"+command+v4)
	kerneltest.Run(t, "ip6"+command+v6)
}

// TestBGPPortOfNodes: a pod whose policy allows everything reaches no node's BGP port, neither under its own address
// nor translated, and everything else of the nodes.
func TestBGPPortOfNodes(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *hostWorld, nat string) {
		translate(t, nat, "PREROUTING -p tcp -d 10.98.0.1 --dport 1 -j DNAT --to-destination 10.1.0.1:179",
			"PREROUTING -p tcp -d fd98::1 --dport 1 -j DNAT --to-destination [fd01:1::1]:179")
		translate(t, nat, "PREROUTING -p tcp -d 10.98.0.1 --dport 2 -j DNAT --to-destination 10.2.0.2:179",
			"PREROUTING -p tcp -d fd98::1 --dport 2 -j DNAT --to-destination [fd01:2::2]:179")
		translate(t, nat, "PREROUTING -p tcp -d 10.98.0.1 --dport 179 -j DNAT --to-destination 10.1.0.1:80",
			"PREROUTING -p tcp -d fd98::1 --dport 179 -j DNAT --to-destination [fd01:1::1]:80")
		translate(t, nat, "POSTROUTING -s 10.65.0.0/16 -o eth1 -j MASQUERADE", "POSTROUTING -s fd00:65::/64 -o eth1 "+
			"-j MASQUERADE")
		service := []string{"10.98.0.1", "fd98::1"}
		w.check(t, "BGP", []flow{
			pass("pod", "host", tcpTo(80)), stop("pod", "host", tcpTo(179)), stop("pod", "host", tcpTo(1790)),
			pass("pod", "host", udpTo(179)),
			pass("pod", "other", tcpTo(80)), stop("pod", "other", tcpTo(179)), stop("pod", "other", tcpTo(1790)),
			stop("pod", "host", tcpTo(1), service...), stop("pod", "other", tcpTo(2), service...),
			pass("pod", "host", tcpTo(179), service...),
			pass("outside", "host", tcpTo(179)), pass("other", "host", tcpTo(179)), pass("host", "other", tcpTo(179)),
			pass("pod", "outside", tcpTo(179)),
		})
	})
}

// TestLoopbackOfTheNode: with route_localnet a pod does not reach what listens on the node's loopback, unless the node
// itself translates an address of its own to it.
func TestLoopbackOfTheNode(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *hostWorld, nat string) {
		kerneltest.Run(t, "sysctl -qw net.ipv4.conf.all.route_localnet=1")
		kerneltest.Do(t, w.podNS, func() {
			kerneltest.Run(t, "sysctl -qw net.ipv4.conf.all.route_localnet=1")
			kerneltest.Run(t, "ip route add 127.0.0.1/32 via 169.254.1.1 dev eth0 onlink src 10.65.0.1")
			kerneltest.Run(t, "ip rule add pref 1 lookup main") // before the pod's own loopback
			kerneltest.Run(t, "ip rule del pref 0")
			kerneltest.Run(t, "ip rule add pref 2 lookup local")
		})
		kerneltest.Run(t, "ip"+nat+"PREROUTING -p tcp -d 10.1.0.1 --dport 9000 -j DNAT --to-destination 127.0.0.1:80")
		pod, host := w.stations["pod"], w.stations["host"]
		for _, f := range []struct {
			p    probe
			dst  string
			want bool
		}{{tcpTo(80), "10.1.0.1", true}, {tcpTo(80), "127.0.0.1", false}, {udpTo(80), "127.0.0.1", false},
			{tcpTo(9000), "10.1.0.1", true}} {
			if got := passes(t, pod, host, f.p, netip.MustParseAddr(f.dst)); got != f.want {
				t.Errorf("pod to %s of the node, %v: let through %v, want %v", f.dst, f.p, got, f.want)
			}
		}
	})
}

// TestForwardedVXLAN: what a node translates to the tunnel of another would come there from a node that is known, and
// is dropped. The tunnel of the node itself, and what it forwards to other ports, is not concerned.
func TestForwardedVXLAN(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *hostWorld, nat string) {
		for port, to := range map[string]string{"30001": "4789", "30002": "4790"} {
			translate(t, nat, "PREROUTING -p udp -d 10.1.0.1 --dport "+port+" -j DNAT --to-destination 10.2.0.2:"+to,
				"PREROUTING -p udp -d fd01:1::1 --dport "+port+" -j DNAT --to-destination [fd01:2::2]:"+to)
		}
		translate(t, nat, "POSTROUTING -o eth1 -j MASQUERADE", "POSTROUTING -o eth1 -j MASQUERADE")
		w.check(t, "forwarded", []flow{
			pass("outside", "other", udpTo(30002), served...), stop("outside", "other", udpTo(30001), served...),
			stop("outside", "other", udpTo(4789)), pass("outside", "other", udpTo(4790)),
			stop("pod", "other", udpTo(4789)), pass("pod", "other", udpTo(4790)),
			pass("host", "other", udpTo(4789)), pass("other", "host", udpTo(4789)),
			stop("outside", "host", udpTo(4789)),
			pass("other", "outside", udpTo(4789)),
		})
	})
}

// TestForged: what a pod sends from an address that is not its own is dropped before it makes a connection, and even
// where there is a connection of that address.
func TestForged(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *hostWorld, _ string) {
		other := newStation(t, "forger", w.podNS, netip.MustParseAddr("10.65.9.9"), netip.MustParseAddr("fd00:65::99"))
		kerneltest.Do(t, w.podNS, func() {
			kerneltest.Run(t, "ip addr add 10.65.9.9/32 dev lo")
			kerneltest.Run(t, "ip addr add fd00:65::99/128 dev lo nodad")
		})
		// which would drop it by itself
		kerneltest.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cali0.rp_filter=0")
		for family, addr := range map[int]netip.Addr{4: other.addrs[0], 6: other.addrs[1]} {
			other.bind(t, addr)
			for _, to := range []string{"host", "outside"} {
				dst := w.stations[to].addr(family)
				if !passes(t, w.stations["pod"], w.stations[to], udpTo(1000), dst) {
					t.Errorf("pod to %s: does not get through under its own address", dst)
				}
				if passes(t, other, w.stations[to], udpTo(1001), dst) {
					t.Errorf("pod to %s: gets through under the address %s", dst, addr)
				}
			}
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable,
				netlink.InetFamily(map[int]int{4: netlink.FAMILY_V4, 6: netlink.FAMILY_V6}[family]))
			if err != nil {
				t.Fatal(err)
			}
			tracked := func(port uint16) bool {
				return slices.ContainsFunc(flows, func(f *netlink.ConntrackFlow) bool {
					return f.Forward.Protocol == 17 && f.Forward.DstPort == port
				})
			}
			if !tracked(1000) || tracked(1001) {
				t.Errorf("%s: connections of what was sent openly %v, want true, of what was forged %v, want false",
					fmt.Sprint("IPv", family), tracked(1000), tracked(1001))
			}
		}
	})
}

// bind makes the station send from an address.
func (s *station) bind(t *testing.T, addr netip.Addr) {
	t.Helper()
	var from unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16()}
	if addr.Is4() {
		from = &unix.SockaddrInet4{Addr: addr.As4()}
	}
	for key, fd := range s.sockets {
		if key.family != familyOf(addr) {
			continue
		}
		if err := unix.Bind(fd, from); err != nil {
			t.Fatalf("send from %s: %v", addr, err)
		}
	}
}
