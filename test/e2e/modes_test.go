package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runPods starts a pod on each node and gives their IPv4 and IPv6 addresses, by node.
func runPods(t *testing.T, name, annotations string) map[string][]string {
	t.Helper()
	nodes := []string{"node1", "node2", "node3"}
	var all []string
	for _, node := range nodes {
		pod := name + "-" + node
		must(t, fmt.Sprintf(`kubectl run %s --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --labels=run=%s %s --overrides='{"spec":{"nodeName":"%s","terminationGracePeriodSeconds":0}}' -- netexec --http-port=8080`,
			pod, name, annotations, node))
		all = append(all, pod)
	}
	t.Cleanup(func() {
		if output, err := sh(context.WithoutCancel(t.Context()),
			"kubectl delete pod --now "+strings.Join(all, " ")); err != nil {
			t.Errorf("remove pods: %v\n%s", err, output)
		}
	})
	must(t, "kubectl wait pod -l run="+name+" --for=condition=Ready --timeout=120s")
	addresses := map[string][]string{}
	for _, node := range nodes {
		output := must(t, fmt.Sprintf("kubectl get pod %s-%s -o jsonpath='{.status.podIPs[*].ip}'", name, node))
		addresses[node] = strings.Fields(output)
	}
	return addresses
}

// reach pings and connects by TCP from a pod to an address.
func reach(ctx context.Context, pod, address string) error {
	target := address + ":8080"
	if strings.Contains(address, ":") {
		target = "[" + address + "]:8080"
	}
	if _, err := sh(ctx, fmt.Sprintf("kubectl exec %s -- ping -c 2 -i 0.2 -W 2 %s", pod, address)); err != nil {
		return err
	}
	_, err := sh(ctx, fmt.Sprintf("kubectl exec %s -- /agnhost connect --timeout=3s '%s'", pod, target))
	return err
}

// tunnelPackets is how many packets a node has sent through its VXLAN device of a family.
func tunnelPackets(t *testing.T, node, device string) int {
	t.Helper()
	output, err := onNode(t.Context(), node, "cat /sys/class/net/"+device+"/statistics/tx_packets")
	if err != nil {
		t.Fatal(err)
	}
	count, err := strconv.Atoi(strings.TrimSpace(output))
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// TestPoolModes runs pods on every node and moves packets between all of them in each mode of a
// pool, and sees that the tunnel is used exactly where it should be. node1 and node3 share
// a subnet; node2 is in another.
func TestPoolModes(t *testing.T) {
	install(t)
	cases := []struct {
		pool, mode, annotations string
		// whether traffic from node1 to the other node is encapsulated
		sameSubnet, otherSubnet bool
		pairs                   [][2]string
	}{
		{"default", "Always", "", true, true, [][2]string{{"node1", "node2"}, {"node1", "node3"}, {"node2", "node3"}}},
		{"default", "CrossSubnet", "", false, true, [][2]string{{"node1", "node2"}, {"node1", "node3"},
			{"node2", "node3"}}},
		// The nodes know the way by BGP; the router between the subnets is told it.
		{"routed-pool", "Never", `--annotations=cni.projectcalico.org/ipv4pools='["routed-pool"]'`, false, false,
			[][2]string{{"node1", "node3"}, {"node1", "node2"}}},
	}
	for _, c := range cases {
		t.Run(c.mode, func(t *testing.T) {
			if c.pool == "default" {
				for _, pool := range []string{"default-ipv4-ippool", "default-ipv6-ippool"} {
					must(t, fmt.Sprintf(`kubectl patch ippool %s --type=merge -p '{"spec":{"vxlanMode":"%s"}}'`, pool,
						c.mode))
				}
			}
			addresses := runPods(t, "mode-"+strings.ToLower(c.mode), c.annotations)
			if c.pool != "default" {
				tellRouter(t, addresses)
			}
			for _, pair := range c.pairs {
				for i := range pair {
					from, to := pair[i], pair[1-i]
					encapsulated := c.otherSubnet
					if from != "node2" && to != "node2" {
						encapsulated = c.sameSubnet
					}
					for f, address := range addresses[to] {
						if c.pool != "default" && f > 0 {
							continue // the annotation chooses the IPv4 pool alone
						}
						checkPath(t, "mode-"+strings.ToLower(c.mode)+"-"+from, from, address, encapsulated)
					}
				}
			}
		})
	}
}

// tellRouter gives the router between the subnets the way to pods' IPv4 addresses, as a network's own routers have it
// from BGP.
func tellRouter(t *testing.T, addresses map[string][]string) {
	t.Helper()
	for node, pod := range addresses {
		gateway := must(t, `kubectl get node `+node+
			` -o jsonpath='{.metadata.annotations.projectcalico\.org/IPv4Address}'`)
		gateway, _, _ = strings.Cut(gateway, "/")
		router := suite.cluster.Router()
		if _, err := router.Exec(t.Context(), "ip", "route", "add", pod[0], "via", gateway); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := router.Exec(context.WithoutCancel(t.Context()), "ip", "route", "del", pod[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkPath(t *testing.T, pod, node, address string, encapsulated bool) {
	t.Helper()
	device := "vxlan.calico"
	if strings.Contains(address, ":") {
		device = "vxlan-v6.calico"
	}
	// The pool's mode may just have changed: wait for the path, then count.
	eventually(t, 30*time.Second, func(ctx context.Context) error { return reach(ctx, pod, address) })
	wanted := "direct"
	if encapsulated {
		wanted = "encapsulated"
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		before := tunnelPackets(t, node, device)
		if err := reach(ctx, pod, address); err != nil {
			return err
		}
		// Two pings and a connection: other traffic of the node is far less.
		if sent := tunnelPackets(t, node, device) - before; sent >= 4 != encapsulated {
			return fmt.Errorf("%s → %s: %d packets went through %s, want the path to be %s", pod, address, sent, device,
				wanted)
		}
		return nil
	})
}
