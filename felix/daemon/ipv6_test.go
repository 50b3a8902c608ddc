package daemon

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestWithoutIPv6: where Felix programs no IPv6, pods get no address in it, and interfaces are closed in it, also
// those of pods that have such an address and were there before. Turned on again, these pods have IPv6 again.
func TestWithoutIPv6(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n1.do(t, func() { serve(t) })
	before := n1.addPod(t, "before")
	node := []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00:30::11")}
	reach := func(p *pod, v6 bool) {
		t.Helper()
		for i, want := range []bool{true, v6} {
			if _, err := dial(t, p.ns, node[i], ""); (err == nil) != want {
				t.Errorf("pod %s to %s: %v, want it open: %v", p.name, node[i], err, want)
			}
			if _, err := dial(t, n1.ns, p.addrs[i], ""); (err == nil) != want {
				t.Errorf("node to %s of pod %s: %v, want it open: %v", p.addrs[i], p.name, err, want)
			}
		}
	}
	reach(before, true)
	n1.stop()
	n1.settings = map[string]string{"Ipv6Support": "false"}
	n1.start(t)
	if !n1.agent.CNIState().NoIPv6 {
		t.Error("pods still get IPv6 addresses")
	}
	reach(before, false)
	during := n1.addPod(t, "during") // its interface was made for an address in both
	reach(during, false)
	for _, p := range []*pod{before, during} {
		n1.do(t, func() {
			iface := derive.HostInterface("shop", p.name)
			if got := kerneltest.Run(t, "sysctl -n net.ipv6.conf."+iface+
				".disable_ipv6"); strings.TrimSpace(got) != "1" {
				t.Errorf("disable_ipv6 of pod %s is %s, want 1", p.name, got)
			}
		})
	}
	n1.stop()
	n1.settings = nil
	n1.start(t)
	eventually(t, func() error {
		for _, p := range []*pod{before, during} {
			if _, err := dial(t, n1.ns, p.addrs[1], ""); err != nil {
				return err
			}
		}
		return nil
	})
	reach(before, true)
	reach(during, true)
}
