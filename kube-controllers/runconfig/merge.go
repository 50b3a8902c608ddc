// Package runconfig says what kube-controllers runs with: what its environment says, then the
// KubeControllersConfiguration named default, then the defaults.
//
// Every replica reads the resource whenever it changes, and the parts of the program follow without a restart. The
// leader writes what it runs with into the resource's status. While the resource can't be read, everything stays as it
// is. Merge is pure; a Running may be used by any number of goroutines.
package runconfig

import (
	"cmp"
	"log/slog"
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// The values of the fields that switch something.
const (
	enabled  = "Enabled"
	disabled = "Disabled"
)

// Environment is what the environment or the flags say. The zero value says nothing.
type Environment struct {
	// Given are the variables that say something, for the status.
	Given map[string]string
	// LogSeverity is one that Level knows.
	LogSeverity string
	// Node says whether the node controller runs; nil leaves it to the resource.
	Node *bool
	// ReconcilerPeriod and LeakGracePeriod are those of the node controller.
	ReconcilerPeriod, LeakGracePeriod *time.Duration
	// HealthChecks says whether health is looked at.
	HealthChecks *bool
	// AutoHostEndpoints says whether each node has a host endpoint for all of its interfaces. The resource's templates
	// do not count then.
	AutoHostEndpoints *bool
}

// Config is what the program runs with.
type Config struct {
	Level        slog.Level
	HealthChecks bool
	// MetricsPort is nil where the resource does not say it; 0 serves none.
	MetricsPort *int
	// ProfilePort is where profiles are served; 0 serves none.
	ProfilePort int
	// Node is nil if the node controller does not run.
	Node *Node
}

// Node is what the node controller runs with.
type Node struct {
	ReconcilerPeriod time.Duration
	// LeakGracePeriod is how long an address is seen without its pod before it is released; with 0 none is.
	LeakGracePeriod time.Duration
	// HostEndpoint says which host endpoints nodes have. Its AutoCreate is Enabled or Disabled.
	HostEndpoint v3.AutoHostEndpointConfig
}

// silent is above every level that is logged at.
const silent = slog.LevelError + 4

// Level returns the least level that is logged for one of Calico's severities in any case, and whether there is such a
// one. Nothing is logged at Fatal and Panic.
func Level(severity string) (slog.Level, bool) {
	switch strings.ToLower(severity) {
	case "trace", "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warning", "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	case "fatal", "panic", "none":
		return silent, true
	}
	return 0, false
}

// Merge returns what the program runs with, and the status that says so.
func Merge(env Environment, spec *v3.KubeControllersConfigurationSpec) (Config, v3.KubeControllersConfigurationStatus) {
	health := spec.HealthChecks != disabled
	if env.HealthChecks != nil {
		health = *env.HealthChecks
	}
	severity := title(cmp.Or(env.LogSeverity, spec.LogSeverityScreen, "Info"))
	level, known := Level(severity)
	if !known { // by a resource that nobody validated
		severity, level = "Info", slog.LevelInfo
	}
	config := Config{Level: level, HealthChecks: health, MetricsPort: spec.PrometheusMetricsPort}
	running := &v3.KubeControllersConfigurationSpec{LogSeverityScreen: severity, HealthChecks: mode(health),
		PrometheusMetricsPort: spec.PrometheusMetricsPort, EtcdV3CompactionPeriod: &metav1.Duration{}}
	if spec.DebugProfilePort != nil {
		config.ProfilePort = int(*spec.DebugProfilePort)
		running.DebugProfilePort = spec.DebugProfilePort
	}
	runs := spec.Controllers.Node != nil
	if env.Node != nil {
		runs = *env.Node
	}
	if runs {
		config.Node = mergeNode(env, spec.Controllers.Node)
		running.Controllers.Node = &v3.NodeControllerConfig{
			ReconcilerPeriod: &metav1.Duration{Duration: config.Node.ReconcilerPeriod},
			LeakGracePeriod:  &metav1.Duration{Duration: config.Node.LeakGracePeriod},
			SyncLabels:       disabled, // labels are those of the Node of Kubernetes
			HostEndpoint:     config.Node.HostEndpoint.DeepCopy(),
		}
	}
	return config, v3.KubeControllersConfigurationStatus{RunningConfig: running, EnvironmentVars: maps.Clone(env.Given)}
}

// The defaults of the node controller.
const (
	defaultReconcilerPeriod = 5 * time.Minute
	defaultLeakGracePeriod  = 15 * time.Minute
)

// mergeNode returns what the node controller runs with. The resource may say nothing of it.
func mergeNode(env Environment, spec *v3.NodeControllerConfig) *Node {
	if spec == nil {
		spec = &v3.NodeControllerConfig{}
	}
	node := &Node{
		ReconcilerPeriod: first(defaultReconcilerPeriod, env.ReconcilerPeriod, durationOf(spec.ReconcilerPeriod)),
		LeakGracePeriod:  first(defaultLeakGracePeriod, env.LeakGracePeriod, durationOf(spec.LeakGracePeriod)),
	}
	if spec.HostEndpoint != nil {
		spec.HostEndpoint.DeepCopyInto(&node.HostEndpoint)
	}
	if env.AutoHostEndpoints != nil {
		node.HostEndpoint = v3.AutoHostEndpointConfig{AutoCreate: mode(*env.AutoHostEndpoints)}
	}
	node.HostEndpoint.AutoCreate = cmp.Or(node.HostEndpoint.AutoCreate, disabled)
	node.HostEndpoint.CreateDefaultHostEndpoint = cmp.Or(node.HostEndpoint.CreateDefaultHostEndpoint,
		v3.DefaultHostEndpointsEnabled)
	return node
}

// first returns the first duration that is given, or the default.
func first(otherwise time.Duration, given ...*time.Duration) time.Duration {
	for _, d := range given {
		if d != nil {
			return *d
		}
	}
	return otherwise
}

func durationOf(d *metav1.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return &d.Duration
}

func mode(on bool) string {
	if on {
		return enabled
	}
	return disabled
}

// title returns a severity as the resource writes it.
func title(severity string) string {
	severity = strings.ToLower(severity)
	switch severity {
	case "warn":
		return "Warning"
	case "trace":
		return "Debug"
	case "":
		return ""
	}
	return strings.ToUpper(severity[:1]) + severity[1:]
}
