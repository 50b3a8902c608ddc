package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func pool(name, spec string) string {
	return fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

func peer(name, spec string) string {
	return fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

// TestBadInput gives what can't be used to kubectl and calicoctl alike: each refuses, naming the object, the field
// and what would be right, and nothing is changed.
func TestBadInput(t *testing.T) {
	install(t)
	cases := []struct {
		name, manifest string
		// what the message must contain
		want []string
	}{
		{"malformed CIDR", pool("bad", "{cidr: 10.300.0.0/16}"), []string{"bad", "cidr"}},
		{"host bits", pool("bad", "{cidr: 10.99.0.1/16}"), []string{"bad", "cidr"}},
		{"overlap", pool("bad", "{cidr: 10.244.128.0/17, vxlanMode: Always}"),
			[]string{"bad", "cidr", "overlap", "default-ipv4-ippool"}},
		{"smaller than a block", pool("bad", "{cidr: 10.99.0.0/28, blockSize: 26}"), []string{"bad", "blockSize"}},
		{"two encapsulations", pool("bad", "{cidr: 10.99.0.0/16, ipipMode: Always, vxlanMode: Always}"),
			[]string{"bad", "vxlanMode"}},
		{"bad selector", pool("bad", "{cidr: 10.99.0.0/16, nodeSelector: 'rack == '}"),
			[]string{"bad", "nodeSelector"}},
		{"unknown field", pool("bad", "{cidr: 10.99.0.0/16, natOutgoin: true}"), []string{"natOutgoin"}},
		{"peer without address or selector", peer("bad", "{asNumber: 64513}"),
			[]string{"bad", "peerIP", "peerSelector"}},
		{"peer with both", peer("bad", "{peerIP: 192.0.2.1, peerSelector: 'all()', asNumber: 64513}"),
			[]string{"bad", "peerIP", "peerSelector"}},
		{"peer with a malformed address", peer("bad", "{peerIP: 192.0.2.300, asNumber: 64513}"),
			[]string{"bad", "peerIP"}},
	}
	before := must(t, "kubectl get ippools,bgppeers -o yaml")
	for _, c := range cases {
		for _, tool := range []string{"kubectl", "calicoctl"} {
			t.Run(c.name+" with "+tool, func(t *testing.T) {
				output, err := sh(t.Context(), tool+" apply -f - <<'END_OF_INPUT'\n"+c.manifest+"END_OF_INPUT\n")
				if err == nil {
					t.Fatalf("accepted: %s", output)
				}
				for _, want := range c.want {
					if !strings.Contains(output, want) {
						t.Errorf("the message does not say %q:\n%s", want, output)
					}
				}
			})
		}
	}
	if after := must(t, "kubectl get ippools,bgppeers -o yaml"); after != before {
		t.Errorf("something was changed:\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// TestGoodInput is the control: what differs from the above in one thing only is accepted by both.
func TestGoodInput(t *testing.T) {
	install(t)
	for _, tool := range []string{"kubectl", "calicoctl"} {
		for _, m := range []string{pool("good", "{cidr: 10.99.0.0/16, blockSize: 26, natOutgoing: true}"),
			peer("good", "{peerIP: 192.0.2.1, asNumber: 64513, nodeSelector: \"name == 'nobody'\"}")} {
			input(t, tool+" apply -f -", m)
			input(t, tool+" delete -f -", m)
		}
	}
}

// TestNoPoolLeft fills a pool and sees the reason in the events of the pod that gets no address.
func TestNoPoolLeft(t *testing.T) {
	install(t)
	input(t, "calicoctl apply -f -",
		pool("tiny-pool", "{cidr: 10.95.0.0/30, blockSize: 30, assignmentMode: Manual, vxlanMode: Always}"))
	t.Cleanup(func() {
		_, _ = sh(context.WithoutCancel(t.Context()), "kubectl delete pod -l run=tiny --now; calicoctl delete "+
			"ippool tiny-pool")
	})
	for i := range 5 {
		must(t, fmt.Sprintf(`kubectl run tiny-%d --labels=run=tiny --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --annotations=cni.projectcalico.org/ipv4pools='["tiny-pool"]' --overrides='{"spec":{"terminationGracePeriodSeconds":0}}'`, i))
	}
	eventually(t, 60*time.Second, func(ctx context.Context) error {
		output, err := sh(ctx, "kubectl get events --field-selector reason=FailedCreatePodSandBox -o "+
			"jsonpath='{.items[*].message}'")
		if err == nil && !strings.Contains(output, "tiny-pool") {
			err = fmt.Errorf("no event names the pool: %s", output)
		}
		return err
	})
	// The four addresses are used: the reason is the pool, not the node.
	eventually(t, 60*time.Second, func(ctx context.Context) error {
		output, err := sh(ctx, "kubectl get pods -l run=tiny --field-selector status.phase=Running -o name | wc -l")
		if err == nil && strings.TrimSpace(output) != "4" {
			err = fmt.Errorf("%s pods run, want 4", strings.TrimSpace(output))
		}
		return err
	})
}
