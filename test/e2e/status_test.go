package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// expectOutput repeats a command line until its output has a text.
func expectOutput(t *testing.T, timeout time.Duration, line, want string) {
	t.Helper()
	eventually(t, timeout, func(ctx context.Context) error {
		output, err := sh(ctx, line)
		if err == nil && !strings.Contains(output, want) {
			err = fmt.Errorf("%s: %q, want %q", line, output, want)
		}
		return err
	})
}

// programmed waits for the condition of all nodes, "status reason" each.
func programmed(t *testing.T, want ...string) {
	t.Helper()
	const line = `kubectl get nodes -o jsonpath='{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="maneki.net/NetworkProgrammed")].status} ` +
		`{.status.conditions[?(@.type=="maneki.net/NetworkProgrammed")].reason};{end}'`
	all := ""
	for i, w := range want {
		all += fmt.Sprintf("node%d %s;", i+1, w)
	}
	defer func() {
		if t.Failed() {
			t.Log(must(t, "kubectl describe nodes | grep NetworkProgrammed"))
		}
	}()
	expectOutput(t, 2*time.Minute, line, all)
}

// notOnNode3 takes the agent from one node and leaves the other pods alone, everywhere brings it back.
const (
	patchAgents = "kubectl -n calico-system patch daemonset calico-node --type=merge -p "
	notOnNode3  = patchAgents + `'{"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}, "template": {"spec": {"affinity": {"nodeAffinity": ` +
		`{"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [` +
		`{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node3"]}]}]}}}}}}}'`
	everywhere = patchAgents + `'{"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}, "template": {"spec": {"affinity": null}}}}'` +
		" && kubectl -n calico-system rollout status daemonset/calico-node --timeout=120s"
)

// TestNodesSayWhetherTheyAreProgrammed: one that can't do something, one that is not connected, and the others, which
// stay as they are.
func TestNodesSayWhetherTheyAreProgrammed(t *testing.T) {
	install(t)
	const fine = "True Programmed"
	programmed(t, fine, fine, fine)
	const written = `kubectl get node node1 -o jsonpath='{.status.conditions[?(@.type=="maneki.net/NetworkProgrammed")].lastHeartbeatTime}'`
	before := must(t, written)

	input(t, "kubectl apply -f -",
		"apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: nowhere}\nspec: {node: node2, "+
			"expectedIPs: [192.0.2.99]}")
	t.Cleanup(func() { cleanUp(t, "kubectl delete hostendpoints.projectcalico.org nowhere --ignore-not-found") })
	programmed(t, fine, "False Failing", fine)
	if output := must(t, "kubectl describe node node2"); !strings.Contains(output, "host endpoint nowhere") {
		t.Errorf("the node does not say why:\n%s", output)
	}
	must(t, "kubectl delete hostendpoints.projectcalico.org nowhere")
	programmed(t, fine, fine, fine)

	t.Cleanup(func() { cleanUp(t, everywhere) })
	must(t, notOnNode3)
	programmed(t, fine, fine, "Unknown NotConnected")
	must(t, everywhere)
	programmed(t, fine, fine, fine)
	if after := must(t, written); after != before {
		t.Errorf("node1 was well all the time, and its condition was written at %s and %s", before, after)
	}
}

const clusterPolicies = `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: by-name}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: nobody}}}
  egress:
  - {action: Accept, to: [{domainNames: [example.org]}]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: by-network}
spec:
  tier: Admin
  priority: 20
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: nobody}}}
  egress:
  - {action: Accept, to: [{networks: [192.0.2.0/24]}]}
`

// TestClusterNetworkPolicySaysWhetherItIsUsed, whose CRD comes when all runs already.
func TestClusterNetworkPolicySaysWhetherItIsUsed(t *testing.T) {
	install(t)
	// Not with must, whose HOME has no modules.
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"sigs.k8s.io/network-policy-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	crd := filepath.Join(strings.TrimSpace(string(module)),
		"config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml")
	must(t, "kubectl apply --server-side -f "+crd+" && kubectl wait --for=condition=Established --timeout=60s -f "+crd)
	t.Cleanup(func() { cleanUp(t, "kubectl delete -f "+crd) })
	input(t, "kubectl apply -f -", clusterPolicies)
	t.Cleanup(func() { cleanUp(t, "kubectl delete clusternetworkpolicies --all") })
	const condition = `kubectl get clusternetworkpolicy %s -o jsonpath='{range .status.conditions[?(@.type=="Accepted")]}{.status} {.observedGeneration} {.message}{end}'`
	expectOutput(t, 2*time.Minute, fmt.Sprintf(condition, "by-name"), "False 1 ")
	if output := must(t, fmt.Sprintf(condition, "by-name")); !strings.Contains(output, "domainNames") {
		t.Errorf("the condition does not say what is wrong: %s", output)
	}
	expectOutput(t, time.Minute, fmt.Sprintf(condition, "by-network"), "True 1 ")

	must(t, `kubectl patch clusternetworkpolicy by-name --type=merge -p '{"spec":{"egress":[{"action":"Accept","to":[{"networks":["192.0.2.0/24"]}]}]}}'`)
	expectOutput(t, time.Minute, fmt.Sprintf(condition, "by-name"), "True 2 ")
}

// TestUnusablePolicyHasAnEvent: one that got in while nobody judged has it when kube-controllers is back, and another
// when it is mended.
func TestUnusablePolicyHasAnEvent(t *testing.T) {
	install(t)
	const controllers = "kubectl -n calico-system scale deploy/calico-kube-controllers --replicas=%d && " +
		"kubectl -n calico-system rollout status deploy/calico-kube-controllers --timeout=120s"
	policy := func(selector string) string {
		return "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: unjudged}\nspec: " +
			"{selector: \"role == 'nobody'\", types: [Ingress], " +
			"ingress: [{action: Allow, source: {selector: \"" + selector + "\"}}]}"
	}
	must(t, fmt.Sprintf(controllers, 0)+
		" && kubectl -n calico-system wait --for=delete pod -l k8s-app=calico-kube-controllers --timeout=60s")
	t.Cleanup(func() { cleanUp(t, fmt.Sprintf(controllers, 1)) })
	input(t, "kubectl apply -f -", policy("role == "))
	t.Cleanup(func() { cleanUp(t, "kubectl delete globalnetworkpolicies.projectcalico.org unjudged") })
	must(t, fmt.Sprintf(controllers, 1))

	const describe = "kubectl describe globalnetworkpolicies.projectcalico.org unjudged"
	expectOutput(t, 90*time.Second, describe, "Unusable")
	if output := must(t, describe); !strings.Contains(output, "selector") || strings.Contains(output, "Usable ") {
		t.Errorf("the event does not say what is wrong:\n%s", output)
	}
	input(t, "kubectl apply -f -", policy("role == 'friend'"))
	expectOutput(t, time.Minute, describe, "can be used again")
}
