package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maneki-net/maneki/test/long"
)

// kubeletTime bounds how long a Secret takes to the pods that mount it, on a busy machine.
const kubeletTime = 3 * time.Minute

// TestAuthorityIsReplaced sees every component go on with certificates of another authority: at once, as when its key
// was stolen, and in a long run step by step, with two that are trusted at a time.
func TestAuthorityIsReplaced(t *testing.T) {
	install(t)
	start := time.Now()
	must(t, "helm upgrade --install maneki charts/maneki -n calico-system --create-namespace -f test/demo/values.yaml"+
		" --set kubeControllers.env.AUTHORITY_OVERLAP=3m")
	for _, workload := range []string{"deployment/calico-kube-controllers", "deployment/calico-typha",
		"daemonset/calico-node"} {
		must(t, "kubectl rollout status -n calico-system "+workload+" --timeout=150s")
		t.Logf("%s is ready after %s", workload, time.Since(start).Round(time.Second))
	}
	addresses := runPods(t, "certificates", "")
	former := trusted(t)
	must(t, `kubectl -n calico-system patch secret maneki-ca --type=json -p '[{"op": "remove", "path": "/data"}]'`)
	eventually(t, time.Minute, func(context.Context) error {
		if now := trusted(t); len(now) != 1 || now[0] == former[0] {
			return fmt.Errorf("trusted are %q, and were %q", now, former)
		}
		return nil
	})
	everybodyConnects(t)
	if long.Or(1, 0) == 1 {
		step := trusted(t)
		must(t, "kubectl -n calico-system annotate secret maneki-ca maneki.net/rotate=")
		for _, want := range []int{2, 1} {
			eventually(t, 8*time.Minute, func(context.Context) error {
				if now := trusted(t); len(now) != want || want == 1 && now[0] == step[0] {
					return fmt.Errorf("%d are trusted, want %d", len(now), want)
				}
				return nil
			})
			everybodyConnects(t)
		}
	}
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		return reach(ctx, "certificates-node1", addresses["node2"][0])
	})
	// The webhooks are trusted, too.
	if output, err := sh(t.Context(), "kubectl create --dry-run=server -f - <<'END'\n"+
		"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: wrong}\nspec: {selector: "+
		"'role == '}\nEND"); err == nil ||
		!strings.Contains(output, "selector") {
		t.Errorf("a policy that cannot be used: %v, %s", err, output)
	}
}

// trusted gives the authorities that nodes are to trust.
func trusted(t *testing.T) []string {
	t.Helper()
	bundle := must(t, "kubectl -n calico-system get secret calico-node-tls -o jsonpath='{.data.ca\\.crt}' | base64 -d")
	return strings.SplitAfter(strings.TrimSpace(bundle), "-----END CERTIFICATE-----\n")
}

// everybodyConnects waits until the nodes have the files of the Secret, makes them connect anew, and sees them all
// there.
func everybodyConnects(t *testing.T) {
	t.Helper()
	want := strings.Join(trusted(t), "")
	for _, pod := range strings.Fields(must(t, "kubectl -n calico-system get pods -l k8s-app=calico-node -o name")) {
		eventually(t, kubeletTime, func(ctx context.Context) error {
			has, err := sh(ctx, "kubectl -n calico-system exec "+pod+" -c calico-node -- cat /certs/ca.crt")
			if err == nil && strings.TrimSpace(has) != want {
				err = fmt.Errorf("%s trusts\n%s, want\n%s", pod, has, want)
			}
			return err
		})
	}
	must(t, "kubectl -n calico-system rollout restart deployment/calico-typha")
	must(t, "kubectl -n calico-system rollout status deployment/calico-typha --timeout=150s")
	eventually(t, kubeletTime, func(ctx context.Context) error {
		nodes, err := sh(ctx, `for pod in $(kubectl -n calico-system get pods -l k8s-app=calico-typha -o name); do
			kubectl -n calico-system exec $pod -- /typha status || true; done | grep -oE '^node[0-9]' | sort -u | tr '\n' ' '`)
		if err == nil && nodes != "node1 node2 node3 " {
			err = fmt.Errorf("connected are %q", nodes)
		}
		return err
	})
}
