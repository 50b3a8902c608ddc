package veth_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

var (
	pod4 = netip.MustParseAddr("10.65.0.2")
	pod6 = netip.MustParseAddr("fd00:65::2")
)

// in runs a command in another network namespace.
func in(t *testing.T, ns *os.File, line string) string {
	t.Helper()
	home := kerneltest.Current(t)
	kerneltest.Set(t, ns)
	defer kerneltest.Set(t, home)
	return kerneltest.Run(t, line)
}

// localRoute shows the route to an address, or nothing if there is none yet.
func localRoute(address string) string {
	out, _ := kerneltest.Try("ip route get " + address)
	return out
}

func TestCreate(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs []netip.Addr
	}{{"IPv4", []netip.Addr{pod4}}, {"IPv6", []netip.Addr{pod6}}, {"both", []netip.Addr{pod4, pod6}}} {
		t.Run(c.name, func(t *testing.T) {
			kerneltest.Enter(t)
			ns := kerneltest.New(t)
			in(t, ns, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
			p := veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0", MTU: 1400, Addrs: c.addrs}
			r, err := veth.Open().Create(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			p.MAC = r.PodMAC
			if err := veth.Open().Check(t.Context(), p); err != nil {
				t.Error(err)
			}
			if show := in(t, ns, "ip -o link show eth0"); !strings.Contains(show, r.PodMAC.String()) ||
				!strings.Contains(show, "mtu 1400") {
				t.Errorf("the pod's end: %s", show)
			}
			if c.addrs[len(c.addrs)-1].Is6() {
				for _, show := range []string{in(t, ns, "ip -6 addr show dev eth0 scope global"),
					kerneltest.Run(t, "ip -6 addr show dev cali1")} {
					if strings.Count(show, "inet6") != 1 || !strings.Contains(show, "nodad") {
						t.Errorf("IPv6 addresses that wait for duplicates: %s", show)
					}
				}
			}
			// What the drivers would do: the routes to the pod, and the host answers for everything.
			if show := kerneltest.Run(t, "ip -o link show cali1"); !strings.Contains(show, "ee:ee:ee:ee:ee:ee") ||
				!strings.Contains(show, "mtu 1400") {
				t.Errorf("the host's end: %s", show)
			}
			for _, a := range c.addrs {
				kerneltest.Run(t, "ip route add "+a.String()+" dev cali1")
				host := map[bool]string{true: "192.0.2.1/32", false: "2001:db8::1/128"}[a.Is4()]
				target, _, _ := strings.Cut(host, "/")
				kerneltest.Run(t, "ip addr add "+host+" dev lo nodad")
				for !strings.HasPrefix(localRoute(target), "local") { // the kernel takes its time
				}
				home := kerneltest.Current(t)
				kerneltest.Set(t, ns)
				// At once: no duplicate address detection, no question for the gateway's MAC.
				out, err := exec.Command("ping", "-c1", "-W1", target).CombinedOutput()
				kerneltest.Set(t, home)
				if err != nil {
					t.Errorf("ping from %s: %v\n%s", a, err, out)
				}
			}
			if err := veth.Open().Delete(t.Context(), "cali1"); err != nil {
				t.Error(err)
			}
			if _, err := kerneltest.Try("ip link show cali1"); err == nil {
				t.Error("cali1 is still there")
			}
			if err := veth.Open().Delete(t.Context(), "cali1"); err != nil {
				t.Errorf("second Delete: %v", err)
			}
		})
	}
}

// TestFirstPacket: what the host sends the moment Create returns arrives.
func TestFirstPacket(t *testing.T) {
	kerneltest.Enter(t)
	kerneltest.Run(t, "ip addr add 192.0.2.1/32 dev lo")
	home, ns := kerneltest.Current(t), kerneltest.New(t)
	kerneltest.Set(t, ns)
	pod, err := net.ListenPacket("udp4", "0.0.0.0:9")
	kerneltest.Set(t, home)
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	sender, err := net.ListenPacket("udp4", "192.0.2.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	h, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	mac := net.HardwareAddr{0x66, 0, 0, 0, 0, 7}
	for range 30 {
		r, err := veth.Open().Create(t.Context(), veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0",
			Addrs: []netip.Addr{pod4}, MAC: mac})
		if err != nil {
			t.Fatal(err)
		}
		dst := &net.IPNet{IP: pod4.AsSlice(), Mask: net.CIDRMask(32, 32)}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: r.HostIndex, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
			t.Fatal(err)
		}
		if err := h.NeighSet(&netlink.Neigh{LinkIndex: r.HostIndex, State: netlink.NUD_PERMANENT, IP: dst.IP,
			HardwareAddr: mac}); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(pod4, 9))); err != nil {
			t.Fatal(err)
		}
		pod.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := pod.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatalf("the first packet did not arrive: %v", err)
		}
		if err := veth.Open().Delete(t.Context(), "cali1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckSaysWhatDiffers(t *testing.T) {
	kerneltest.Enter(t)
	ns := kerneltest.New(t)
	p := veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0", MTU: 1400, Addrs: []netip.Addr{pod4, pod6}}
	for damage, want := range map[string]string{
		"pod ip addr del 10.65.0.2/32 dev eth0":            "no address 10.65.0.2",
		"pod ip addr del fd00:65::2/128 dev eth0":          "no address fd00:65::2",
		"pod ip route del default":                         "no default route by 169.254.1.1",
		"pod ip -6 route del default":                      "no default route by fe80::ecee:eeff:feee:eeee",
		"pod ip link set eth0 down":                        "eth0 is down",
		"pod ip link set eth0 mtu 1300":                    "eth0 has mtu 1300, not 1400",
		"pod ip link set eth0 address 66:00:00:00:00:09":   "eth0 has mac 66:00:00:00:00:09",
		"host ip link set cali1 down":                      "cali1 is down",
		"host ip link set cali1 address 66:00:00:00:00:09": "cali1 has mac 66:00:00:00:00:09",
		"host ip link del cali1":                           "cali1",
	} {
		r, err := veth.Open().Create(t.Context(), p) // also over what the last turn left
		if err != nil {
			t.Fatal(err)
		}
		checked := p
		checked.MAC = r.PodMAC
		if err := veth.Open().Check(t.Context(), checked); err != nil {
			t.Fatal(err)
		}
		side, command, _ := strings.Cut(damage, " ")
		if side == "pod" {
			in(t, ns, command)
		} else {
			kerneltest.Run(t, command)
		}
		if err := veth.Open().Check(t.Context(), checked); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("after %s: Check: %v, want %q", damage, err, want)
		}
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	kerneltest.Enter(t)
	ns := kerneltest.New(t)
	p := veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0", Addrs: []netip.Addr{pod4, pod4}}
	if _, err := veth.Open().Create(t.Context(), p); err == nil ||
		!strings.Contains(err.Error(), "add address 10.65.0.2") {
		t.Errorf("the same address twice: %v", err)
	}
	p.Addrs, p.MAC = []netip.Addr{pod4}, net.HardwareAddr{0x66, 0, 0, 0, 0, 7}
	in(t, ns, "ip link add eth0 type bridge")
	if _, err := veth.Open().Create(t.Context(), p); err == nil {
		t.Error("a pod that has an eth0 got another")
	}
	if _, err := kerneltest.Try("ip link show cali1"); err == nil {
		t.Error("cali1 was left behind")
	}
	in(t, ns, "ip link del eth0")
	if _, err := veth.Open().Create(t.Context(), p); err != nil {
		t.Error(err)
	}

	kerneltest.Run(t, "ip link add cali2 type bridge")
	if err := veth.Open().Delete(t.Context(), "cali2"); err == nil {
		t.Error("Delete of a bridge succeeded")
	}
}

// BenchmarkCreate is the part of a CNI ADD that this package has.
func BenchmarkCreate(b *testing.B) {
	kerneltest.Enter(b)
	ns := kerneltest.New(b)
	p := veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0", MTU: 1450, Addrs: []netip.Addr{pod4, pod6}}
	for b.Loop() {
		if _, err := veth.Open().Create(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := veth.Open().Delete(b.Context(), "cali1"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
