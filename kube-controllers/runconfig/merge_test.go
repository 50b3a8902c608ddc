package runconfig

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func pointer[T any](v T) *T { return &v }

// TestMerge: the environment goes before the resource, and the status says what came of it, written as Calico does.
func TestMerge(t *testing.T) {
	const defaults = `{healthChecks: Enabled, logSeverityScreen: Info, etcdV3CompactionPeriod: 0s, controllers: {node: {
		reconcilerPeriod: 5m, leakGracePeriod: 15m, syncLabels: Disabled,
		hostEndpoint: {autoCreate: Disabled, createDefaultHostEndpoint: Enabled}}}}`
	for name, test := range map[string]struct {
		env           Environment
		spec, running string
		check         func(Config) bool
	}{
		"first": {Environment{}, `{controllers: {node: {}}}`, defaults, func(c Config) bool {
			return c.Level == slog.LevelInfo && c.HealthChecks && c.MetricsPort == nil && c.ProfilePort == 0 &&
				c.Node.LeakGracePeriod == 15*time.Minute && c.Node.HostEndpoint.AutoCreate == "Disabled"
		}},
		"no node controller": {Environment{}, `{controllers: {}}`,
			`{healthChecks: Enabled, logSeverityScreen: Info, etcdV3CompactionPeriod: 0s, controllers: {}}`,
			func(c Config) bool { return c.Node == nil }},
		"one named by the environment": {Environment{Node: pointer(true)}, `{controllers: {}}`, defaults,
			func(c Config) bool { return c.Node != nil }},
		"another named by the environment": {Environment{Node: pointer(false)}, `{controllers: {node: {}}}`,
			`{healthChecks: Enabled, logSeverityScreen: Info, etcdV3CompactionPeriod: 0s, controllers: {}}`,
			func(c Config) bool { return c.Node == nil }},
		"resource": {Environment{},
			`{logSeverityScreen: Warning, healthChecks: Disabled, prometheusMetricsPort: 0, debugProfilePort: 6060,
			controllers: {policy: {}, node: {leakGracePeriod: 0s, reconcilerPeriod: 1m, syncLabels: Enabled,
			hostEndpoint: {autoCreate: Enabled, createDefaultHostEndpoint: Disabled, templates: [{generateName: a, interfaceCIDRs: [10.0.0.0/8]}]}}}}`,
			`{logSeverityScreen: Warning, healthChecks: Disabled, prometheusMetricsPort: 0, debugProfilePort: 6060, etcdV3CompactionPeriod: 0s,
			controllers: {node: {leakGracePeriod: 0s, reconcilerPeriod: 1m, syncLabels: Disabled,
			hostEndpoint: {autoCreate: Enabled, createDefaultHostEndpoint: Disabled, templates: [{generateName: a, interfaceCIDRs: [10.0.0.0/8]}]}}}}`,
			func(c Config) bool {
				return c.Level == slog.LevelWarn && !c.HealthChecks && *c.MetricsPort == 0 && c.ProfilePort == 6060 &&
					c.Node.LeakGracePeriod == 0 && c.Node.ReconcilerPeriod == time.Minute &&
					len(c.Node.HostEndpoint.Templates) == 1
			}},
		"environment": {Environment{LogSeverity: "warn", HealthChecks: pointer(false), AutoHostEndpoints: pointer(true),
			LeakGracePeriod: pointer(time.Duration(0)), ReconcilerPeriod: pointer(time.Hour),
			Given: map[string]string{"LOG_LEVEL": "warn"}},
			`{logSeverityScreen: Debug, controllers: {node: {leakGracePeriod: 1m, reconcilerPeriod: 2m, hostEndpoint: {autoCreate: Disabled,
			createDefaultHostEndpoint: Disabled, templates: [{generateName: a, interfaceCIDRs: [10.0.0.0/8]}]}}}}`,
			`{logSeverityScreen: Warning, healthChecks: Disabled, etcdV3CompactionPeriod: 0s, controllers: {node: {leakGracePeriod: 0s,
			reconcilerPeriod: 1h, syncLabels: Disabled, hostEndpoint: {autoCreate: Enabled, createDefaultHostEndpoint: Enabled}}}}`,
			func(c Config) bool {
				return c.Level == slog.LevelWarn && !c.HealthChecks && c.Node.LeakGracePeriod == 0
			}},
		"nothing is logged": {Environment{LogSeverity: "None"}, `{controllers: {node: {}}}`, "",
			func(c Config) bool { return c.Level > slog.LevelError }},
	} {
		t.Run(name, func(t *testing.T) {
			var spec, running v3.KubeControllersConfigurationSpec
			if err := yaml.UnmarshalStrict([]byte(test.spec), &spec); err != nil {
				t.Fatal(err)
			}
			config, status := Merge(test.env, &spec)
			if !test.check(config) {
				t.Errorf("got %+v, node %+v", config, config.Node)
			}
			if diff := cmp.Diff(test.env.Given, status.EnvironmentVars); diff != "" {
				t.Errorf("environmentVars (-want +got):\n%s", diff)
			}
			if test.running == "" {
				return
			}
			if err := yaml.UnmarshalStrict([]byte(test.running), &running); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&running, status.RunningConfig); diff != "" {
				t.Errorf("runningConfig (-want +got):\n%s", diff)
			}
		})
	}
}
