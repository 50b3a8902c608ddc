package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostPort: on a host without the plugin portmap, Maneki brings it, and the hostPort of a pod is reached from
// another node. A port that no pod has is closed.
func TestHostPort(t *testing.T) {
	install(t)
	const portmap = "/opt/cni/bin/portmap"
	if output, err := onNode(t.Context(), "node2", "rm "+portmap); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	must(t, "kubectl -n calico-system delete pod -l k8s-app=calico-node --field-selector spec.nodeName=node2 --wait")
	must(t, "kubectl -n calico-system rollout status daemonset/calico-node --timeout=120s")
	for _, line := range []string{"test -x " + portmap, `grep '"portmap"' /etc/cni/net.d/10-calico.conflist`} {
		if output, err := onNode(t.Context(), "node2", line); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	}
	t.Cleanup(func() { cleanUp(t, "kubectl delete pod hostport --now --ignore-not-found") })
	input(t, "kubectl apply -f -", `
apiVersion: v1
kind: Pod
metadata: {name: hostport}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 0
  containers:
    - name: agnhost
      image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
      args: [netexec, --http-port=8080]
      ports: [{containerPort: 8080, hostPort: 18080}]`)
	must(t, "kubectl wait pod hostport --for=condition=Ready --timeout=60s")
	host := strings.TrimSpace(must(t, "kubectl get pod hostport -o jsonpath='{.status.hostIP}'"))
	get := func(ctx context.Context, port int) (string, error) {
		return onNode(ctx, "node1", fmt.Sprintf("curl -sS --max-time 3 http://%s:%d/hostname", host, port))
	}
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		output, err := get(ctx, 18080)
		if err == nil && output != "hostport" {
			err = fmt.Errorf("the hostPort answers %q", output)
		}
		return err
	})
	if output, err := get(t.Context(), 18081); err == nil {
		t.Errorf("a port that no pod has answers %q", output)
	}
}
