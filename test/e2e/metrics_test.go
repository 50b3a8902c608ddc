package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/test/dashboard"
)

// scrapes are what each program exposes, of all its pods.
type scrapes map[string][]dashboard.Sample

func (s scrapes) all() []dashboard.Sample {
	return slices.Concat(s["felix"], s["typha"], s["kube-controllers"])
}

func scrape(ctx context.Context) (scrapes, error) {
	found := scrapes{}
	for program, at := range map[string]struct {
		app  string
		port int
	}{
		"felix": {"calico-node", 9091}, "typha": {"calico-typha", 9093},
		"kube-controllers": {"calico-kube-controllers", 9094},
	} {
		pods, err := sh(ctx, `kubectl -n calico-system get pods -l k8s-app=`+at.app+
			` -o jsonpath='{range .items[*]}{.status.podIP}{"\n"}{end}'`)
		if err != nil {
			return nil, err
		}
		for _, address := range strings.Fields(pods) {
			text, err := onNode(ctx, "node1", fmt.Sprintf("curl -sf http://%s:%d/metrics", address, at.port))
			if err != nil {
				return nil, fmt.Errorf("scrape %s at %s: %w", program, address, err)
			}
			samples, err := dashboard.Parse(text)
			if err != nil {
				return nil, fmt.Errorf("scrape %s at %s: %w", program, address, err)
			}
			found[program] = append(found[program], samples...)
		}
	}
	return found, nil
}

// quiet are metrics that may have no sample, because nothing of the kind has happened yet. Tests of the packages that
// count make it happen.
var quiet = []string{"ipam_allocations_gc_candidates", "ipam_allocations_gc_reclamations",
	"ipam_allocations_borrowed", "ipam_allocations_borrowed_per_node",
	"felix_int_dataplane_driver_failures", "typha_resource_unusable", "kube_controllers_unusable_resources"}

// TestDashboardsAreFilled: each panel of Calico's dashboards that concerns what exists here has a sample with the
// labels that it selects; and the table of effects says of each of Calico's metrics what a scrape says.
func TestDashboardsAreFilled(t *testing.T) {
	install(t)
	eventually(t, 2*time.Minute, func(ctx context.Context) error {
		found, err := scrape(ctx)
		if err != nil {
			return err
		}
		return errors.Join(filled(found), tabled(found))
	})
}

// filled returns an error of the panels that are empty and should not be, and of those that are not and should be.
func filled(found scrapes) error {
	var errs []error
	for _, title := range []string{dashboard.Felix, dashboard.FelixOld, dashboard.Typha} {
		program := "felix"
		if title == dashboard.Typha {
			program = "typha"
		}
		for _, q := range dashboard.Queries(title) {
			name := dashboard.Metric(q.Series)
			row, known := effects.Lookup(effects.Metric, program, name)
			samples := found.all()
			if dashboard.OfTheProcess(name) {
				row.State, samples = effects.Works, found[program]
			} else if !known {
				errs = append(errs, fmt.Errorf("%s, %s: the table says nothing of %s", title, q.Panel, name))
			}
			if got := q.Answers(samples); (len(got) > 0) != (row.State == effects.Works) {
				errs = append(errs, fmt.Errorf("%s, %s: %d samples of %s %v, whose row is %q (%s)",
					title, q.Panel, len(got), q.Series, q.Matchers, row.State, row.Why))
			}
		}
	}
	// A panel adds these three, and Prometheus adds what has the same labels.
	sum := found["felix"]
	for i, name := range []string{"felix_ipset_errors", "felix_iptables_restore_errors", "felix_iptables_save_errors"} {
		next := dashboard.Query{Series: name}.Answers(found["felix"])
		if i == 0 {
			sum = next
		} else {
			sum = dashboard.Add(sum, next)
		}
	}
	if len(sum) == 0 {
		errs = append(errs, errors.New("the errors of subprocesses have no sum"))
	}
	return errors.Join(errs...)
}

// tabled returns an error of the rows of the table that a scrape contradicts.
func tabled(found scrapes) error {
	exposed := map[string]bool{}
	for program, samples := range found {
		for _, s := range samples {
			exposed[program+"/"+s.Series], exposed[program+"/"+dashboard.Metric(s.Series)] = true, true
		}
	}
	var errs []error
	for _, row := range effects.Rows(effects.Metric) {
		there := exposed[row.On+"/"+row.Name]
		if strings.HasPrefix(row.Name, "felix_calc_graph_") || strings.HasPrefix(row.Name, "felix_label_index_") {
			there = exposed["typha/"+row.Name] // which calculates
		}
		if there != (row.State == effects.Works) && !slices.Contains(quiet, row.Name) {
			errs = append(errs, fmt.Errorf("%s: the row is %q, and a scrape has it: %v", row.Name, row.State, there))
		}
	}
	return errors.Join(errs...)
}
