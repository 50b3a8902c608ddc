package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// rolloutTimeout bounds how long workloads may take to become ready on a busy machine.
const rolloutTimeout = 3 * time.Minute

// Install installs Maneki with Helm, or upgrades it, and waits until every node is Ready.
func (d *Demo) Install(ctx context.Context) error {
	const helm = "helm upgrade --install maneki charts/maneki -n calico-system --create-namespace -f " +
		"test/demo/values.yaml"
	if _, err := d.shell.show(ctx, helm); err != nil {
		return err
	}
	for _, workload := range []string{"deployment/calico-typha", "daemonset/calico-node",
		"deployment/calico-kube-controllers"} {
		if _, err := d.shell.show(ctx, "kubectl rollout status -n calico-system "+workload+
			" --timeout=150s | tail -1"); err != nil {
			return err
		}
	}
	_, err := d.shell.show(ctx, "kubectl wait node --all --for=condition=Ready --timeout=60s")
	return d.check("every node is Ready", err)
}

func (d *Demo) shop(ctx context.Context) error {
	for _, line := range []string{"calicoctl get ippools -o wide", "kubectl get nodes -o wide",
		"kubectl apply -f docs/examples/shop.yaml"} {
		if _, err := d.shell.show(ctx, line); err != nil {
			return err
		}
	}
	// A demo run before may have left policies.
	if _, err := d.shell.run(ctx, "kubectl delete --ignore-not-found -f docs/examples/shop-policies.yaml",
		""); err != nil {
		return err
	}
	for _, line := range []string{
		"kubectl rollout status -n shop deployment/web deployment/api --timeout=150s",
		"kubectl rollout status -n data deployment/db --timeout=150s",
		"kubectl get pods -A -l 'app in (web,api,db)' -o wide",
	} {
		if _, err := d.shell.show(ctx, line); err != nil {
			return err
		}
	}
	pods, err := d.shopPods(ctx)
	if err != nil {
		return err
	}
	return d.check("all pods run with addresses from the pools", addressesFromPools(pods))
}

func (d *Demo) shopPods(ctx context.Context) ([]pod, error) {
	var pods []pod
	_, err := d.shell.until(ctx, rolloutTimeout, "true", func(string) error {
		var err error
		pods, err = d.pods(ctx, "-A -l 'app in (web,api,db)'")
		if err != nil {
			return err
		}
		if len(pods) != 6 {
			return fmt.Errorf("%d pods of the shop run, want 6", len(pods))
		}
		return nil
	})
	return pods, err
}

func addressesFromPools(pods []pod) error {
	for _, p := range pods {
		if len(p.addresses) == 0 {
			return fmt.Errorf("pod %s has no address", p.label())
		}
		for _, a := range p.addresses {
			if !strings.HasPrefix(a, "10.244.") && !strings.HasPrefix(a, "fd00:10:244:") {
				return fmt.Errorf("pod %s has address %s, which is in no pool", p.label(), a)
			}
		}
	}
	return nil
}

// shopAllows is what docs/examples/shop-policies.yaml says, from app to app.
func shopAllows(from, to string) bool {
	if from == "db" {
		return false // isolated for egress
	}
	switch to {
	case "api":
		return from == "web"
	case "db":
		return from == "api"
	}
	return true // web takes all
}

func (d *Demo) policy(ctx context.Context) error {
	pods, err := d.shopPods(ctx)
	if err != nil {
		return err
	}
	if err := d.matrixBecomes(ctx, pods, func(string, string) bool { return true },
		"before: all pods reach all"); err != nil {
		return err
	}
	if _, err := d.shell.show(ctx, "kubectl apply -f docs/examples/shop-policies.yaml"); err != nil {
		return err
	}
	return d.matrixBecomes(ctx, pods, shopAllows, "after: web → api → db, and all but db → web; nothing else")
}

// matrixBecomes measures until the matrix is as wanted or three measurements were not, and
// draws the last.
func (d *Demo) matrixBecomes(ctx context.Context, pods []pod, allowed func(from, to string) bool, what string) error {
	var m matrix
	var difference error
	for range 3 {
		var err error
		m, err = d.measure(ctx, pods)
		if err != nil {
			return err
		}
		difference = m.expect(allowed)
		if difference == nil {
			break
		}
	}
	m.draw(d.out)
	return d.check(what, difference)
}

func (d *Demo) metrics(ctx context.Context) error {
	node := d.cluster.Plan().Nodes[0]
	url := fmt.Sprintf("http://%s:9091/metrics", hostPort(node.Addrs[0].Addr()))
	const names = "active_local|cluster_num|ipsets_calico|iptables_chains|resync_state|int_dataplane_failures"
	if _, err := d.shell.show(ctx, "curl -s "+url+" | grep -E '^felix_("+names+")'"); err != nil {
		return err
	}
	output, err := d.shell.run(ctx, "curl -s "+url, "")
	if err != nil {
		return err
	}
	return d.check("Felix counts its endpoints and policies", errors.Join(
		positive(output, "felix_active_local_endpoints"), positive(output, "felix_active_local_policies")))
}

// positive checks that a gauge without labels is exposed and above 0.
func positive(exposition, name string) error {
	for line := range strings.Lines(exposition) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if strings.TrimSpace(value) == "0" {
				return fmt.Errorf("metric %s is 0", name)
			}
			return nil
		}
	}
	return fmt.Errorf("metric %s is not exposed", name)
}
