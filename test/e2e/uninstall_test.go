package e2e

import (
	"strings"
	"testing"
)

// TestUninstall uninstalls Maneki. Its programs and what it left on the nodes are gone; the CRDs and the resources of
// users stay.
func TestUninstall(t *testing.T) {
	install(t)
	must(t, "kubectl delete namespace shop data pings --ignore-not-found --timeout=120s")
	must(t, "helm uninstall maneki -n "+namespace+" --wait --timeout 4m")
	suite.installed, suite.routed = false, false
	if left := must(t, "kubectl get all,secrets,serviceaccounts,configmaps -n "+namespace+
		" -o name"); strings.Contains(left, "calico") || strings.Contains(left, "maneki") {
		t.Errorf("left in the namespace:\n%s", left)
	}
	if left := must(t, "kubectl get clusterroles,clusterrolebindings,validatingwebhookconfigurations -o name | grep "+
		"-E 'calico|maneki' || true"); left != "" {
		t.Errorf("left in the cluster:\n%s", left)
	}
	if pools := must(t, "kubectl get ippools -o name"); !strings.Contains(pools, "default-ipv4-ippool") {
		t.Errorf("the users' pools are gone: %q", pools)
	}
	for _, n := range suite.cluster.Nodes() {
		for what, line := range map[string]string{
			"chains":     "(iptables-save; ip6tables-save) | grep cali- || true",
			"sets":       "ipset list -n | grep ^cali || true",
			"interfaces": "ip -o link | grep -E 'cali|vxlan' || true",
			"routes":     "(ip route; ip -6 route) | grep -E 'proto (80|bird)|vxlan|cali|blackhole' || true",
			"files": "find /etc/cni/net.d /opt/cni/bin /var/lib/calico /var/run/calico -name '*calico*' ! " +
				"-type d -o -path '*/calico/*' ! -type d 2>/dev/null || true",
		} {
			left, err := n.Exec(t.Context(), "sh", "-c", line)
			if err != nil {
				t.Error(err)
			}
			if strings.TrimSpace(left) != "" {
				t.Errorf("%s left on %s:\n%s", what, n.Name, left)
			}
		}
	}
}
