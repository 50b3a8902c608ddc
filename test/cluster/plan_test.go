package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testPlan(t *testing.T, c Config, index int) Plan {
	t.Helper()
	c.Root = "/checkout"
	c, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	return newPlan(c, index)
}

func TestPlan(t *testing.T) {
	p := testPlan(t, Config{Nodes: 3, Subnets: 2, IP: Dual}, 1)
	got := map[string]string{
		"range":    join(p.Range),
		"uplink":   join(p.Uplink),
		"router":   join(p.Router),
		"outside":  join(p.Outside),
		"subnet2":  join(p.Subnets[1].Router) + " " + join(p.Subnets[1].Tor),
		"node3":    p.Subnets[p.Nodes[2].Subnet].Name + " " + join(p.Nodes[2].Addrs),
		"pods":     join(p.Nodes[2].PodCIDRs),
		"endpoint": p.apiEndpoint(),
	}
	want := map[string]string{
		"range":    "172.30.16.0/20,fd00:30:1::/48",
		"uplink":   "172.30.16.2/24,fd00:30:1::2/64",
		"router":   "172.30.16.1/24,fd00:30:1::1/64",
		"outside":  "172.30.31.2/24,fd00:30:1:f::2/64",
		"subnet2":  "172.30.18.1/24,fd00:30:1:2::1/64 172.30.18.2/24,fd00:30:1:2::2/64",
		"node3":    "subnet1 172.30.17.13/24,fd00:30:1:1::d/64",
		"pods":     "10.244.3.0/24,fd00:10:244:0:3::/80",
		"endpoint": "https://172.30.17.11:6443",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := testPlan(t, Config{IP: IPv6}, 0).apiEndpoint(); got != "https://[fd00:30:0:1::b]:6443" {
		t.Errorf("endpoint over IPv6: %s", got)
	}
}

// TestPlanDisjoint lays all clusters out at their largest: no address occurs twice
// and each lies in its cluster's range.
func TestPlanDisjoint(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for index := range maxClusters {
		p := testPlan(t, Config{Nodes: MaxNodes, Subnets: MaxSubnets}, index)
		all := [][]netip.Prefix{p.Uplink, p.Router, p.Outside, p.OutsideRouter}
		for _, s := range p.Subnets {
			all = append(all, s.Router, s.Tor)
		}
		for _, n := range p.Nodes {
			all = append(all, n.Addrs)
			for f, c := range n.PodCIDRs {
				if c != c.Masked() || !p.PodCIDRs[f].Contains(c.Addr()) {
					t.Fatalf("%s of %s is not a network in %s", c, n.Name, p.PodCIDRs[f])
				}
			}
		}
		for _, pair := range all {
			for f, a := range pair {
				if seen[a.Addr()] {
					t.Fatalf("cluster %d: %s occurs twice", index, a)
				}
				seen[a.Addr()] = true
				if !p.Range[f].Contains(a.Addr()) {
					t.Fatalf("cluster %d: %s is outside %s", index, a, p.Range[f])
				}
			}
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Name: "Dev"}, `cluster name "Dev"`},
		{Config{Name: "a-b"}, `cluster name "a-b"`},
		{Config{Nodes: -1}, "-1 nodes: want 1 to 200"},
		{Config{Nodes: MaxNodes + 1}, "201 nodes"},
		{Config{Subnets: MaxSubnets + 1}, "13 subnets"},
		{Config{IP: "ipv5"}, `IP families "ipv5"`},
		{Config{CNI: "flannel"}, `CNI "flannel"`},
	} {
		c.config.Root = "/checkout"
		if _, err := c.config.complete(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

func TestCompatible(t *testing.T) {
	have := Config{Name: "dev", Nodes: 2, Subnets: 1, IP: Dual, CNI: CNINone}
	more, fewer, other := have, have, have
	more.Nodes, fewer.Nodes, other.IP = 3, 1, IPv4
	if err := compatible(have, more); err != nil {
		t.Errorf("more nodes: %v", err)
	}
	for _, c := range []Config{fewer, other} {
		if err := compatible(have, c); err == nil {
			t.Errorf("%+v can be converged to from %+v", c, have)
		}
	}
}

func TestIsPart(t *testing.T) {
	for part, want := range map[string]bool{
		"node1": true, "node12": true, "router": true, "tor": true,
		"node": false, "nodex": false, "node1x": false, "": false, "tor2": false,
	} {
		if isPart(part) != want {
			t.Errorf("%q belongs to a cluster: %v", part, !want)
		}
	}
}
