package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
)

// probeTimeout is how long a connection may take before it counts as denied.
const probeTimeout = "2s"

// parallelProbes bounds how many probes run at once.
const parallelProbes = 8

// pod is what the matrix needs of a pod.
type pod struct {
	namespace, name, app, node string
	addresses                  []string
}

// pods lists the running pods that a kubectl selection names, ordered by namespace and name.
func (d *Demo) pods(ctx context.Context, selection string) ([]pod, error) {
	output, err := d.shell.run(ctx, "kubectl get pods -o json "+selection, "")
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		return nil, fmt.Errorf("decode pods: %w", err)
	}
	var pods []pod
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
			continue
		}
		found := pod{namespace: p.Namespace, name: p.Name, app: p.Labels["app"], node: p.Spec.NodeName}
		for _, ip := range p.Status.PodIPs {
			found.addresses = append(found.addresses, ip.IP)
		}
		pods = append(pods, found)
	}
	slices.SortFunc(pods, func(a, b pod) int { return strings.Compare(a.namespace+"/"+a.name, b.namespace+"/"+b.name) })
	return pods, nil
}

// matrix holds for each pair of pods whether a TCP connection to port 8080 opened, in every
// family of the destination.
type matrix struct {
	pods []pod
	open map[[2]int]bool
}

// measure connects every pod with every other, in both directions.
func (d *Demo) measure(ctx context.Context, pods []pod) (matrix, error) {
	m := matrix{pods: pods, open: map[[2]int]bool{}}
	var mu sync.Mutex // guards m.open
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelProbes)
	for from := range pods {
		for to := range pods {
			if from == to {
				continue
			}
			group.Go(func() error {
				open, err := d.reaches(ctx, pods[from], pods[to])
				mu.Lock()
				defer mu.Unlock()
				m.open[[2]int{from, to}] = open
				return err
			})
		}
	}
	return m, group.Wait()
}

// reaches reports whether all of the destination's addresses answer, and fails when they
// disagree: a policy does not tell families apart.
func (d *Demo) reaches(ctx context.Context, from, to pod) (bool, error) {
	answers := 0
	for _, address := range to.addresses {
		target := address + ":8080"
		if strings.Contains(address, ":") {
			target = "[" + address + "]:8080"
		}
		output, err := d.shell.run(ctx, fmt.Sprintf("kubectl exec -n %s %s -- /agnhost connect --timeout=%s '%s'",
			from.namespace, from.name, probeTimeout, target), "")
		switch {
		case err == nil:
			answers++
		case ctx.Err() != nil:
			return false, ctx.Err()
		case !strings.Contains(output, "TIMEOUT") && !strings.Contains(output, "REFUSED"):
			return false, fmt.Errorf("probe %s → %s: %w", from.name, target, err)
		}
	}
	if answers != 0 && answers != len(to.addresses) {
		return false, fmt.Errorf("probe %s → %s: %d of the addresses %v answer", from.name, to.name, answers,
			to.addresses)
	}
	return answers > 0, nil
}

// draw writes the matrix as a table: rows connect to columns.
func (m matrix) draw(w io.Writer) {
	width := 0
	for _, p := range m.pods {
		width = max(width, len(p.label()))
	}
	fmt.Fprintf(w, "    %-*s", width+4, "from \\ to")
	for i := range m.pods {
		fmt.Fprintf(w, "%3d", i+1)
	}
	fmt.Fprintln(w)
	for from, p := range m.pods {
		fmt.Fprintf(w, "    %2d %-*s ", from+1, width, p.label())
		for to := range m.pods {
			mark := "✗"
			switch {
			case from == to:
				mark = "·"
			case m.open[[2]int{from, to}]:
				mark = "✓"
			}
			fmt.Fprintf(w, "  %s", mark)
		}
		fmt.Fprintln(w)
	}
}

func (p pod) label() string {
	return fmt.Sprintf("%s/%s on %s", p.namespace, p.name, p.node)
}

// expect compares the matrix with what is allowed between apps and names each difference.
func (m matrix) expect(allowed func(from, to string) bool) error {
	var wrong []string
	for from, f := range m.pods {
		for to, t := range m.pods {
			if from == to {
				continue
			}
			if got, want := m.open[[2]int{from, to}], allowed(f.app, t.app); got != want {
				wrong = append(wrong, fmt.Sprintf("%s → %s: connected %t, want %t", f.label(), t.label(), got, want))
			}
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d flows differ:\n    %s", len(wrong), strings.Join(wrong, "\n    "))
	}
	return nil
}
