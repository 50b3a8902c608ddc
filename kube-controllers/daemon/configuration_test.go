package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/process"
)

// configure merges fields into the spec of the KubeControllersConfiguration, which is there, or comes soon.
func (w *world) configure(t *testing.T, spec string) {
	t.Helper()
	config := &v3.KubeControllersConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	eventually(t, "a change of the KubeControllersConfiguration", func() error {
		return w.client.Patch(context.WithoutCancel(t.Context()), config,
			client.RawPatch(types.MergePatchType, []byte(`{"spec": `+spec+`}`)))
	})
}

// defaultConfigurations: what users' commands presuppose is there, and comes back.
func (w *world) defaultConfigurations(t *testing.T) {
	for _, o := range []client.Object{&v3.KubeControllersConfiguration{}, &v3.FelixConfiguration{},
		&v3.BGPConfiguration{}} {
		kind := reflect.TypeOf(o).Elem().Name()
		var first types.UID
		for _, when := range []string{"at the start", "after it was deleted"} {
			eventually(t, "a "+kind+" default "+when, func() error {
				if err := w.client.Get(t.Context(), client.ObjectKey{Name: "default"}, o); err != nil {
					return err
				}
				if o.GetUID() == first {
					return fmt.Errorf("the deleted one is there")
				}
				return nil
			})
			first = o.GetUID()
			if when == "at the start" {
				if err := w.client.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// As every tutorial does.
	if out, ok := w.kubectl(t, "patch", "felixconfiguration", "default", "--type=merge", "-p",
		`{"spec":{"logSeverityScreen":"Info"}}`); !ok {
		t.Errorf("kubectl patch: %s", out)
	}
	out, ok := w.calicoctl(t, "", "get", "felixconfig", "default", "-o", "yaml", "--export")
	if !ok || !strings.Contains(out, "logSeverityScreen: Info") || !strings.Contains(out, "name: default") {
		t.Errorf("calicoctl get: %s", out)
	}
}

// configuration: what the resource says counts without a restart, and its status says what the program runs with.
func (w *world) configuration(t *testing.T) {
	ports, err := process.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	metrics, profiles := ports[0], ports[1]
	serves := func(port int, path string, want bool) error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err == nil {
			_ = response.Body.Close()
		}
		if serves := err == nil && response.StatusCode == http.StatusOK; serves != want {
			return fmt.Errorf("port %d serves %s: %t, want %t", port, path, serves, want)
		}
		return nil
	}
	own := w.port(t)
	for _, step := range []struct {
		spec                      string
		level                     slog.Level
		here, elsewhere, profiles bool
	}{
		{`{}`, slog.LevelInfo, true, false, false},
		{fmt.Sprintf(`{"logSeverityScreen": "Debug", "prometheusMetricsPort": %d, "debugProfilePort": %d}`, metrics,
			profiles),
			slog.LevelDebug, false, true, true},
		{`{"logSeverityScreen": null, "prometheusMetricsPort": 0, "debugProfilePort": 0}`, slog.LevelInfo, false, false,
			false},
		{`{"prometheusMetricsPort": null, "debugProfilePort": null}`, slog.LevelInfo, true, false, false},
	} {
		w.configure(t, step.spec)
		eventually(t, "servers and level with "+step.spec, func() error {
			if got := w.config.Level.Level(); got != step.level {
				return fmt.Errorf("level %s, want %s", got, step.level)
			}
			return errors.Join(serves(own, "/metrics", step.here), serves(metrics, "/metrics", step.elsewhere),
				serves(profiles, "/debug/pprof/cmdline", step.profiles), serves(own, "/healthz", true))
		})
	}
	w.configure(t, `{"controllers": {"node": {"leakGracePeriod": "1h", "reconcilerPeriod": "2m"}}}`)
	w.expectRunning(t, `{healthChecks: Enabled, logSeverityScreen: Info, etcdV3CompactionPeriod: 0s, controllers: {node: {
		reconcilerPeriod: 2m, leakGracePeriod: 1s, syncLabels: Disabled,
		hostEndpoint: {autoCreate: Disabled, createDefaultHostEndpoint: Enabled}}}}`)
	w.configure(t, `{"controllers": {"node": null}}`)
	w.expectRunning(t, `{healthChecks: Enabled, logSeverityScreen: Info, etcdV3CompactionPeriod: 0s, controllers: {}}`)
	w.configure(t, `{"controllers": {"node": {}}}`)
}

// expectRunning waits for status.runningConfig.
func (w *world) expectRunning(t *testing.T, want string) {
	t.Helper()
	var running v3.KubeControllersConfigurationSpec
	if err := yaml.UnmarshalStrict([]byte(want), &running); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the running configuration", func() error {
		var config v3.KubeControllersConfiguration
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: "default"}, &config); err != nil {
			return err
		}
		if diff := cmp.Diff(&running, config.Status.RunningConfig); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"LEAK_GRACE_PERIOD": "1s"}, config.Status.EnvironmentVars); diff != "" {
			return fmt.Errorf("environmentVars (-want +got):\n%s", diff)
		}
		return nil
	})
}

// port returns where the program serves health.
func (w *world) port(t *testing.T) int {
	t.Helper()
	_, text, err := net.SplitHostPort(w.config.MetricsAddress)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
