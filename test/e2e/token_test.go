package e2e

import (
	"strings"
	"testing"
)

// TestStolenNodeToken: what the token of node1 is good for in the hands of a thief. That the nodes' own writes pass is
// what every other test needs; test/chart has the table of all that can be written.
func TestStolenNodeToken(t *testing.T) {
	install(t)
	addresses := runPods(t, "token", "")
	pod := must(t, `kubectl -n calico-system get pods -l k8s-app=calico-node --field-selector spec.nodeName=node1 -o jsonpath='{.items[0].metadata.name}'`)
	token := strings.TrimSpace(must(t,
		"kubectl -n calico-system create token calico-node --bound-object-kind=Pod --bound-object-name="+pod))
	server := must(t, `kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}'`)
	as := "kubectl --kubeconfig=/dev/null --insecure-skip-tls-verify --server=" + server + " --token=" + token + " "
	block := func(node string) string {
		return strings.TrimSpace(must(t, `kubectl get ipamblocks -o jsonpath='{.items[?(@.spec.affinity=="host:`+node+
			`")].metadata.name}' | cut -d' ' -f1`))
	}
	others := block("node2")
	address := `$(kubectl get node node1 -o jsonpath='{.metadata.annotations.projectcalico\.org/IPv4Address}')`
	for _, attempt := range []struct{ line, refusal string }{
		{"annotate --dry-run=server --overwrite node node1 projectcalico.org/IPv4Address=" + address, ""},
		{"annotate --overwrite node node1 projectcalico.org/IPv4Address=172.30.99.99/24", "has as InternalIP"},
		{"annotate --overwrite node node2 projectcalico.org/IPv4Address=172.30.99.99/24", "no Node but its own"},
		{`patch node node2 --type=merge -p '{"spec": {"unschedulable": true}}'`, "no Node but its own"},
		{`patch node node1 --type=merge -p '{"metadata": {"labels": {"role": "trusted"}}}'`, "nothing but annotations"},
		{`patch ipamblock ` + others + ` --type=merge -p '{"spec": {"affinity": "host:node1"}}'`,
			"cannot patch resource"},
		{`patch ipamblock ` + others +
			` --type=json -p '[{"op": "replace", "path": "/spec/attributes/0/secondary/node", "value": "node1"}]'`,
			"cannot patch resource"},
		{"delete ipamblock " + others, "may take the affinity of a block that has none"},
		{`delete blockaffinity node2-` + others, "no BlockAffinity but those of its own node"},
		{"-n calico-system get secrets", "cannot list resource"},
		{"get globalnetworkpolicies.projectcalico.org", "cannot list resource"},
		{"get pods -A", "cannot list resource"},
	} {
		output, err := sh(t.Context(), as+attempt.line)
		outcome := "allowed"
		if err != nil {
			outcome = "refused: " + strings.TrimSpace(output)
		}
		t.Logf("%s\n    %s", attempt.line, outcome)
		if attempt.refusal == "" && err != nil || attempt.refusal != "" &&
			(err == nil || !strings.Contains(output, attempt.refusal)) {
			t.Errorf("%s: %v %s; want %q", attempt.line, err, output, attempt.refusal)
		}
	}
	if err := reach(t.Context(), "token-node1", addresses["node2"][0]); err != nil {
		t.Errorf("after the attempts: %v", err)
	}
}
