package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDatastoreNotReady: while the ClusterInformation says datastoreReady: false, policy stays as it is, new pods are
// refused with the reason, a pod can be deleted, and the nodes and kube-controllers say why. When it is true again,
// everything of that time is done.
func TestDatastoreNotReady(t *testing.T) {
	install(t)
	addresses := runPods(t, "ready", "")
	target := addresses["node2"][0]
	reached := func(ctx context.Context) error { return reach(ctx, "ready-node1", target) }
	eventually(t, 30*time.Second, reached)
	must(t, `kubectl run leaving --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --overrides='{"spec":{"nodeName":"node3","terminationGracePeriodSeconds":0}}'`)
	must(t, "kubectl wait pod leaving --for=condition=Ready --timeout=60s")
	const set = `kubectl patch clusterinformations.projectcalico.org default --type=merge -p '{"spec": {"datastoreReady": %v}}'`
	t.Cleanup(func() {
		cleanUp(t, fmt.Sprintf(set, true)+"; kubectl delete pod late --now --ignore-not-found; kubectl delete "+
			"globalnetworkpolicies.projectcalico.org closed --ignore-not-found")
	})
	must(t, fmt.Sprintf(set, false))
	expectOutput(t, time.Minute, "kubectl describe node node2", "datastoreReady: false")

	input(t, "kubectl apply -f -",
		"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: closed}\n"+
			"spec: {selector: \"run == 'ready'\", types: [Ingress]}")
	must(t, `kubectl run late --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --overrides='{"spec":{"nodeName":"node2","terminationGracePeriodSeconds":0}}'`)
	expectOutput(t, time.Minute,
		"kubectl get events --field-selector reason=FailedCreatePodSandBox,involvedObject.name=late -o "+
			"jsonpath='{.items[*].message}'",
		"datastoreReady: false")
	expectOutput(t, time.Minute, "kubectl -n calico-system logs deployment/calico-kube-controllers", "paused")
	must(t, "kubectl delete pod leaving --now") // DEL works
	if err := reached(t.Context()); err != nil {
		t.Errorf("while the datastore is not ready: %v", err)
	}

	must(t, fmt.Sprintf(set, true))
	must(t, "kubectl wait pod late --for=condition=Ready --timeout=120s")
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		if reached(ctx) == nil {
			return fmt.Errorf("the policy is not applied")
		}
		return nil
	})
	eventually(t, time.Minute, func(ctx context.Context) error {
		output, err := sh(ctx, "kubectl describe node node2")
		if err == nil && strings.Contains(output, "datastoreReady: false") {
			err = fmt.Errorf("node2 still says that the datastore is not ready")
		}
		return err
	})
}
