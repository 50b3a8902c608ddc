package cluster

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestRender renders every template for every family, and reads back what
// depends on the plan.
func TestRender(t *testing.T) {
	for _, c := range []struct {
		ip                           IPFamilies
		address, dns, cidr, policies string
		ranges                       int
	}{
		{IPv4, "0.0.0.0", "10.96.0.10", "10.244.0.0/16", "SingleStack", 1},
		{IPv6, "::", "fd00:10:96::a", "fd00:10:244::/64", "SingleStack", 1},
		{Dual, "::", "10.96.0.10", "10.244.0.0/16,fd00:10:244::/64", "RequireDualStack", 2},
	} {
		t.Run(string(c.ip), func(t *testing.T) {
			p := testPlan(t, Config{Nodes: 2, IP: c.ip}, 0)
			data := newTemplateData(Config{IP: c.ip}, p, p.Nodes[1])
			var kubelet struct {
				Address    string
				ClusterDNS []string
			}
			decode(t, data, "kubelet.yaml", &kubelet)
			var proxy struct{ ClusterCIDR, HostnameOverride string }
			decode(t, data, "kube-proxy.yaml", &proxy)
			got := []string{kubelet.Address, kubelet.ClusterDNS[0], proxy.ClusterCIDR, proxy.HostnameOverride}
			if diff := cmp.Diff([]string{c.address, c.dns, c.cidr, "node2"}, got); diff != "" {
				t.Error(diff)
			}
			var ptp struct {
				Plugins []struct {
					IPAM struct {
						Ranges [][]struct{ Subnet string }
						Routes []struct{ Dst string }
					}
				}
			}
			body, err := render("ptp.conflist", data)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(body, &ptp); err != nil {
				t.Fatalf("%v\n%s", err, body)
			}
			if r := ptp.Plugins[0].IPAM; len(r.Ranges) != c.ranges || len(r.Routes) != c.ranges {
				t.Errorf("%d ranges and %d routes, want %d", len(r.Ranges), len(r.Routes), c.ranges)
			}
			body, err = render("bootstrap.yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(body, []byte("ipFamilyPolicy: "+c.policies)) {
				t.Errorf("want policy %s in\n%s", c.policies, body)
			}
			for _, doc := range bytes.Split(body, []byte("\n---\n")) {
				var object struct{ Kind string }
				if err := yaml.Unmarshal(doc, &object); err != nil || object.Kind == "" {
					t.Errorf("%v: not an object:\n%s", err, doc)
				}
			}
		})
	}
}

func decode(t *testing.T, data templateData, name string, into any) {
	t.Helper()
	body, err := render(name, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(body, into); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
}
