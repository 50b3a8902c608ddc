package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRepair deletes by hand what Felix made and sees it gone and back.
func TestRepair(t *testing.T) {
	install(t)
	addresses := runPods(t, "repair", "")
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		return reach(ctx, "repair-node1", addresses["node2"][0])
	})
	cases := []struct{ name, find, remove string }{
		{"route to a local pod", "ip route show " + addresses["node1"][0], "ip route del " + addresses["node1"][0]},
		{"route through the tunnel", "ip route show dev vxlan.calico proto 80", "ip route flush dev vxlan.calico"},
		{"rule of a chain", "iptables -w -S cali-FORWARD | grep -c -- -A | grep -v '^0$'",
			"iptables -w -F cali-FORWARD"},
		{"hook into FORWARD", "iptables -w -S FORWARD | grep cali-FORWARD",
			"iptables -w -S FORWARD | grep cali-FORWARD | sed 's/^-A/-D/' | xargs iptables -w"},
		{"set member", "ipset list -o save | grep '^add cali40' | head -1",
			`ipset list -o save | sed -n 's/^add \(cali40[^ ]* [^ ]*\).*/\1/p' | head -1 | xargs ipset del`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before, err := onNode(t.Context(), "node1", c.find)
			if err != nil || strings.TrimSpace(before) == "" {
				t.Fatalf("nothing to delete: %q, %v", before, err)
			}
			// Deleted and seen gone in one go: Felix may be quicker than a second command.
			if output, err := onNode(t.Context(), "node1", c.remove); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			start := time.Now()
			eventually(t, 10*time.Second, func(ctx context.Context) error {
				now, err := onNode(ctx, "node1", c.find)
				if err != nil {
					return err
				}
				if now != before {
					return fmt.Errorf("was %q, is %q", before, now)
				}
				return nil
			})
			t.Logf("back after %s", time.Since(start).Round(10*time.Millisecond))
		})
	}
	if err := reach(t.Context(), "repair-node1", addresses["node2"][0]); err != nil {
		t.Errorf("after the repairs: %v", err)
	}
}

// TestNodeAndPodAddressesAreReleased deletes a pod, and sees its address leave the block.
func TestPodAddressIsReleased(t *testing.T) {
	install(t)
	must(t, "kubectl run leaver --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 "+
		"--overrides='{\"spec\":{\"terminationGracePeriodSeconds\":0}}'")
	must(t, "kubectl wait pod leaver --for=condition=Ready --timeout=60s")
	find := `kubectl get ipamblocks -o json | grep -c '"pod": "leaver"' || true`
	if strings.TrimSpace(must(t, find)) == "0" {
		t.Fatal("no block names the pod")
	}
	must(t, "kubectl delete pod leaver --now")
	eventually(t, 60*time.Second, func(ctx context.Context) error {
		output, err := sh(ctx, find)
		if err == nil && strings.TrimSpace(output) != "0" {
			err = errors.New("a block still names the pod")
		}
		return err
	})
}
