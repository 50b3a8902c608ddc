package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// policyFlow is an attempt of a pod to reach an address, and what is to become of it. Port 0 is a ping.
type policyFlow struct {
	from, to string // client, other or server; to may be the server's node, too
	port     int
	allowed  bool
}

// policyCases are applied one after the other. Every one that denies has a flow beside it that it allows.
var policyCases = []struct {
	name, tool, manifest string
	flows                []policyFlow
}{
	{"a GlobalNetworkPolicy that allows by label", "kubectl", `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: server-for-clients}
spec:
  selector: role == 'server'
  ingress:
  - {action: Allow, source: {selector: role == 'client'}}
`, []policyFlow{{"client", "server", 8080, true}, {"client", "server", 0, true}, {"other", "server", 8080, false},
		{"other", "client", 8080, true}}},

	{"a tier that passes what the default tier then judges", "calicoctl", `
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: security.pass-tcp}
spec:
  tier: security
  order: 1
  selector: role == 'server'
  types: [Ingress]
  ingress:
  - {action: Pass, protocol: TCP}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: clients-8080, namespace: default}
spec:
  selector: role == 'server'
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: role == 'client'}, destination: {ports: ['8000:8080']}}
`, []policyFlow{{"client", "server", 8080, true}, {"client", "server", 0, false}, {"other", "server", 8080, false},
		{"client", "other", 0, true}}},

	{"a GlobalNetworkSet", "kubectl", `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: partners, labels: {partner: "yes"}}
spec: {nets: [CLIENT_ADDRESS]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: from-partners}
spec:
  selector: role == 'server'
  ingress:
  - {action: Allow, source: {selector: partner == 'yes'}}
`, []policyFlow{{"client", "server", 8080, true}, {"other", "server", 8080, false}}},

	{"a rule that names a Service", "kubectl", `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: to-service, namespace: default}
spec:
  selector: role == 'client'
  types: [Egress]
  egress:
  - {action: Allow, destination: {services: {name: server, namespace: default}}}
`, []policyFlow{{"client", "server", 8080, true}, {"client", "other", 8080, false}, {"other", "server", 8080, true}}},

	{"a message type of ICMP", "calicoctl", `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: no-pings}
spec:
  selector: role == 'server'
  types: [Ingress]
  ingress:
  - {action: Deny, protocol: ICMP, icmp: {type: 8}}
  - {action: Allow}
`, []policyFlow{{"client", "server", 8080, true}, {"client", "server", 0, false}, {"client", "other", 0, true}}},

	{"a staged policy, which is not enforced", "kubectl", `
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: nothing-at-all}
spec:
  selector: all()
  types: [Ingress, Egress]
`, []policyFlow{{"client", "server", 8080, true}, {"other", "server", 0, true}}},

	{"a HostEndpoint", "calicoctl", `
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: node3-eth0, labels: {host: guarded}}
spec: {node: node3, interfaceName: eth0}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: guarded-hosts}
spec:
  selector: host == 'guarded'
  types: [Ingress, Egress]
  ingress:
  - {action: Deny, protocol: TCP, destination: {ports: [9999]}}
  - {action: Allow}
  egress:
  - {action: Allow}
`, []policyFlow{{"client", "node", 9998, true}, {"client", "node", 9999, false}, {"client", "server", 8080, true}}},
}

// TestCalicoPolicies enforces policies of projectcalico.org/v3 between pods on three nodes, and on a node.
func TestCalicoPolicies(t *testing.T) {
	install(t)
	addresses := runPods(t, "policy", "")
	pods := map[string]string{"client": "policy-node1", "other": "policy-node2", "server": "policy-node3"}
	targets := map[string]string{"client": addresses["node1"][0], "other": addresses["node2"][0],
		"server": addresses["node3"][0]}
	for role, pod := range pods {
		must(t, fmt.Sprintf("kubectl label pod %s role=%s", pod, role))
	}
	targets["node"] = strings.TrimSpace(must(t,
		`kubectl get node node3 -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}' | cut -d' ' -f1`))
	runOnHost(t, "node3", 9998, 9999)
	must(t, "kubectl create service clusterip server --tcp=8080 && kubectl set selector service server role=server")
	t.Cleanup(func() { cleanUp(t, "kubectl delete service server") })

	for _, c := range policyCases {
		t.Run(c.name, func(t *testing.T) {
			// What is denied below must have been possible before.
			for _, f := range c.flows {
				eventually(t, 30*time.Second, func(ctx context.Context) error {
					return attempt(ctx, pods[f.from],
						targets[f.to], f.port)
				})
			}
			manifest := strings.ReplaceAll(c.manifest, "CLIENT_ADDRESS", targets["client"])
			input(t, c.tool+" apply -f -", manifest)
			t.Cleanup(func() {
				documents := strings.Split(manifest, "---") // a tier goes after its policies
				slices.Reverse(documents)
				cleanUp(t, c.tool+" delete -f - <<'END_OF_INPUT'\n"+strings.Join(documents, "---")+"\nEND_OF_INPUT\n")
			})
			for _, f := range c.flows {
				eventually(t, 30*time.Second, func(ctx context.Context) error {
					err := attempt(ctx, pods[f.from], targets[f.to], f.port)
					if f.allowed || err != nil {
						if f.allowed {
							return err
						}
						return nil
					}
					return fmt.Errorf("%s reaches %s on port %d, which the policy denies", f.from, f.to, f.port)
				})
			}
		})
	}
}

// runOnHost runs servers in the network of a node, one for each port.
func runOnHost(t *testing.T, node string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		name := fmt.Sprintf("host-%d", port)
		must(t, fmt.Sprintf(`kubectl run %s --labels=run=on-host --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --overrides='{"spec":{"hostNetwork":true,"nodeName":"%s","terminationGracePeriodSeconds":0}}' -- netexec --http-port=%d --udp-port=%d`,
			name, node, port, port))
	}
	t.Cleanup(func() { cleanUp(t, "kubectl delete pod --now -l run=on-host") })
	must(t, "kubectl wait pod -l run=on-host --for=condition=Ready --timeout=120s")
}

// attempt pings an address from a pod, or connects to a port by TCP.
func attempt(ctx context.Context, pod, address string, port int) error {
	line := fmt.Sprintf("kubectl exec %s -- ping -c 1 -W 2 %s", pod, address)
	if port != 0 {
		line = fmt.Sprintf("kubectl exec %s -- /agnhost connect --timeout=2s '%s'", pod,
			net.JoinHostPort(address, fmt.Sprint(port)))
	}
	_, err := sh(ctx, line)
	return err
}

func cleanUp(t *testing.T, line string) {
	if output, err := sh(context.WithoutCancel(t.Context()), line); err != nil {
		t.Errorf("clean up: %v\n%s", err, output)
	}
}
