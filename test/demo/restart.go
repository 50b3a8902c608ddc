package demo

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// pingSeconds is how long the pings run; Felix is killed inside that time.
const pingSeconds = 20

// restart kills Felix while pings run in a VXLAN pool and in one routed by BGP, and wants
// every packet to arrive.
func (d *Demo) restart(ctx context.Context) error {
	for _, line := range []string{"kubectl apply -f test/demo/pings.yaml",
		"kubectl wait -n pings pod --all --for=condition=Ready --timeout=120s"} {
		if _, err := d.shell.show(ctx, line); err != nil {
			return err
		}
	}
	targets, err := d.pingTargets(ctx)
	if err != nil {
		return err
	}
	if _, err := d.shell.show(ctx,
		d.onNode("node1", "ip route show proto bird; ip route show dev vxlan.calico")); err != nil {
		return err
	}
	before, err := d.felixRestarts(ctx)
	if err != nil {
		return err
	}
	group, pinging := errgroup.WithContext(ctx)
	for _, t := range targets {
		group.Go(func() error { return d.pingWithoutLoss(pinging, t) })
	}
	killed := d.killFelix(ctx, before)
	lost := group.Wait()
	if err := d.check("Felix was killed and came back Ready", killed); err != nil {
		return errors.Join(err, lost)
	}
	if err := d.check(fmt.Sprintf("no ping was lost in %d s, by tunnel and by BGP route, both ways", pingSeconds),
		lost); err != nil {
		return err
	}
	_, err = d.shell.show(ctx, "calicoctl node status --node node1")
	return d.check("node1 is in sync", err)
}

type ping struct{ from, to, address string }

// pingTargets pairs the pods up, both ways, once the first packet of each pair got through.
func (d *Demo) pingTargets(ctx context.Context) ([]ping, error) {
	pods, err := d.pods(ctx, "-n pings")
	if err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, p := range pods {
		if len(p.addresses) > 0 {
			addresses[p.name] = p.addresses[0]
		}
	}
	var targets []ping
	for _, pair := range [][2]string{{"tunnel-a", "tunnel-b"}, {"routed-a", "routed-b"}} {
		for i := range pair {
			t := ping{from: pair[i], to: pair[1-i], address: addresses[pair[1-i]]}
			line := fmt.Sprintf("kubectl exec -n pings %s -- ping -c 1 -W 1 %s", t.from, t.address)
			if _, err := d.shell.until(ctx, 60*time.Second, line, contains(" 0% packet loss")); err != nil {
				return nil, fmt.Errorf("ping %s → %s before the fault: %w", t.from, t.to, err)
			}
			targets = append(targets, t)
		}
	}
	return targets, nil
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

func (d *Demo) pingWithoutLoss(ctx context.Context, t ping) error {
	// Ping ends by itself after pingSeconds, which is when the exit code is for the packets.
	output, err := d.shell.run(ctx, fmt.Sprintf("kubectl exec -n pings %s -- ping -q -i 0.05 -w %d %s", t.from,
		pingSeconds, t.address), "")
	counts := pingSummary.FindStringSubmatch(output)
	if counts == nil {
		return fmt.Errorf("ping %s → %s printed no summary: %w", t.from, t.to, err)
	}
	sent, _ := strconv.Atoi(counts[1])
	received, _ := strconv.Atoi(counts[2])
	// The packet sent as the time ran out may be on its way still.
	if sent < pingSeconds*10 || sent-received > 1 {
		return fmt.Errorf("ping %s → %s: %d of %d packets came back", t.from, t.to, received, sent)
	}
	return nil
}

// killFelix ends Felix on node1 by SIGKILL, sees that it is gone, and waits until it is Ready again.
func (d *Demo) killFelix(ctx context.Context, before int) error {
	kill := "for p in $(ip netns pids " + d.cluster.NodeNamespace("node1") +
		"); do grep -qx felix /proc/$p/comm && kill -9 $p && echo killed $p; done"
	output, err := d.shell.show(ctx, kill+"; true")
	if err != nil {
		return err
	}
	if !strings.Contains(output, "killed") {
		return errors.New("no felix process was found on node1")
	}
	_, err = d.shell.until(ctx, 60*time.Second, felixStatus, func(output string) error {
		restarts, ready, err := parseFelixStatus(output)
		if err != nil {
			return err
		}
		if restarts <= before || !ready {
			return fmt.Errorf("calico-node on node1: %d restarts (was %d), ready %t", restarts, before, ready)
		}
		return nil
	})
	return err
}

const felixStatus = `kubectl get pods -n calico-system -l k8s-app=calico-node --field-selector spec.nodeName=node1 -o jsonpath='{.items[0].status.containerStatuses[0].restartCount} {.items[0].status.containerStatuses[0].ready}'`

func (d *Demo) felixRestarts(ctx context.Context) (int, error) {
	output, err := d.shell.run(ctx, felixStatus, "")
	if err != nil {
		return 0, err
	}
	restarts, _, err := parseFelixStatus(output)
	return restarts, err
}

func parseFelixStatus(output string) (restarts int, ready bool, err error) {
	if _, err := fmt.Sscanf(output, "%d %t", &restarts, &ready); err != nil {
		return 0, false, fmt.Errorf("read status of calico-node on node1 from %q: %w", output, err)
	}
	return restarts, ready, nil
}

// onNode is a command line that runs in a node's network namespace.
func (d *Demo) onNode(node, line string) string {
	return fmt.Sprintf("ip netns exec %s sh -c %q", d.cluster.NodeNamespace(node), line)
}
