package daemon

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/kube-controllers/certificates"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc/compile"
)

// Config is how the program is set up.
type Config struct {
	EnabledControllers string
	Kubeconfig         string
	PodNamespace       string
	LogLevel           string
	MetricsAddress     string
	LeaderElection     bool
	LeakGracePeriod    time.Duration
	NodeGracePeriod    time.Duration
	ReconcilerPeriod   time.Duration
	TyphaDeployment    string
	TyphaService       string
	TyphaNamespace     string
	TyphaTLS           auth.TLS
	TyphaTokenFile     string
	Authority          string
	AuthorityOverlap   time.Duration
	TyphaSecret        string
	NodeSecret         string
	OwnCertificateDir  string
	WebhookPort        int
	// Budget is Typha's budget for policies. Admission uses the limits that follow from an object alone.
	Budget               compile.Budget
	WebhookService       string
	WebhookSecret        string
	WebhookConfiguration string
	DatastoreType        string
	HealthEnabled        bool
	AutoHostEndpoints    string
	// Level is the least level that is logged, which follows the configuration. It may be nil.
	Level *slog.LevelVar

	given map[string]string // the settings that ParseConfig was given, by their variables; nil for none
}

// The controllers by the names that ENABLED_CONTROLLERS has for them. Calico's name for
// the one that releases addresses is node.
const (
	controllerNode         = "node"
	controllerIPPool       = "ippool"
	controllerClusterInfo  = "clusterinfo"
	controllerTier         = "tier"
	controllerDefaults     = "defaults"
	controllerHostEndpoint = "hostendpoint"
	controllerTyphaScale   = "typhascale"
	controllerStatus       = "status"
	controllerEffects      = "effects"
	controllerAdmission    = "admission"
)

var controllers = []string{controllerNode, controllerIPPool, controllerClusterInfo, controllerTier,
	controllerDefaults, controllerHostEndpoint, controllerTyphaScale, controllerStatus, controllerEffects,
	controllerAdmission}

// foreign are Calico's controllers that there are not. Naming them is no error, so that settings carry over.
var foreign = []string{"policy", "namespace", "profile", "serviceaccount", "workloadendpoint", "loadbalancer"}

// setting is one row of the table from which flags, environment variables and their help come.
type setting struct {
	env    string // the flag is the same in lower case with dashes
	target any    // *string, *int, *bool or *time.Duration; holds the default
	doc    string
}

func (s setting) flag() string { return strings.ToLower(strings.ReplaceAll(s.env, "_", "-")) }

func (c *Config) settings() []setting {
	return []setting{
		{"ENABLED_CONTROLLERS", &c.EnabledControllers, "what to run, with commas between"},
		{"KUBECONFIG", &c.Kubeconfig, "kubeconfig file; empty is the pod's own service account"},
		{"POD_NAMESPACE", &c.PodNamespace, "namespace of the program's Lease and Service, and of the Secrets"},
		{"LOG_LEVEL", &c.LogLevel,
			"debug, info, warning, error or none; empty is logSeverityScreen of the KubeControllersConfiguration"},
		{"METRICS_ADDRESS", &c.MetricsAddress,
			"where to serve /healthz, /readyz, and /metrics unless prometheusMetricsPort says another port"},
		{"HEALTH_ENABLED", &c.HealthEnabled, "false: probes are always told that all is well"},
		{"LEADER_ELECTION", &c.LeaderElection, "let one of several replicas run the controllers"},
		{"LEAK_GRACE_PERIOD", &c.LeakGracePeriod,
			"how long an address is seen without its pod before it is released; 0 releases none"},
		{"NODE_GRACE_PERIOD", &c.NodeGracePeriod, "how long a node is missing before its addresses are released"},
		{"RECONCILER_PERIOD", &c.ReconcilerPeriod, "longest time between two looks at all addresses"},
		{"AUTO_HOST_ENDPOINTS", &c.AutoHostEndpoints,
			"enabled or disabled: whether each node has a host endpoint for all interfaces; empty leaves it to the " +
				"KubeControllersConfiguration"},
		{"DATASTORE_TYPE", &c.DatastoreType, "kubernetes: there are no controllers for etcdv3"},
		{"TYPHA_DEPLOYMENT", &c.TyphaDeployment,
			"Deployment of Typha to scale with the number of nodes; empty scales none"},
		{"TYPHA_K8SSERVICENAME", &c.TyphaService,
			"Service of Typha's replicas, whose words status writes into the API; empty writes none"},
		{"TYPHA_K8SNAMESPACE", &c.TyphaNamespace, "namespace of that Service; empty is POD_NAMESPACE"},
		{"TYPHA_CAFILE", &c.TyphaTLS.CAFile, "PEM file of the authorities that sign Typha's certificate"},
		{"TYPHA_CERTFILE", &c.TyphaTLS.CertFile, "PEM file of our certificate for Typha"},
		{"TYPHA_KEYFILE", &c.TyphaTLS.KeyFile, "PEM file of our key for Typha"},
		{"TYPHA_CN", &c.TyphaTLS.PeerCN, "common name that Typha's certificate must have"},
		{"TYPHA_URISAN", &c.TyphaTLS.PeerURISAN,
			"URI that Typha's certificate must have, unless the common name agrees"},
		{"TYPHA_TOKENFILE", &c.TyphaTokenFile, "our service-account token for the audience typha; empty presents none"},
		{"AUTHORITY_SECRET", &c.Authority, "Secret to keep the installation's authority in; it exists"},
		{"AUTHORITY_OVERLAP", &c.AuthorityOverlap,
			"how long an authority is trusted before it signs, and after; at least 3m"},
		{"TYPHA_SECRET", &c.TyphaSecret, "Secret to keep Typha's certificate in; empty makes none"},
		{"NODE_SECRET", &c.NodeSecret, "Secret to keep the certificate in that nodes have for Typha; empty makes none"},
		{"OWN_CERTIFICATE_DIR", &c.OwnCertificateDir,
			"folder to write our own certificate for Typha into, as ca.crt and tls.pem; empty writes none"},
		{"TYPHA_POLICYMAXRULES", &c.Budget.PolicyRules,
			"Typha's setting of that name: admission warns of a policy that has more rules"},
		{"TYPHA_POLICYMAXSETS", &c.Budget.PolicySets, "likewise, of one whose rules name more"},
		{"WEBHOOK_PORT", &c.WebhookPort, "port of the admission webhook"},
		{"WEBHOOK_SERVICE", &c.WebhookService, "Service that routes port 443 to the webhook"},
		{"WEBHOOK_SECRET", &c.WebhookSecret, "Secret to keep the webhook's certificate in; it exists"},
		{"WEBHOOK_CONFIGURATION", &c.WebhookConfiguration,
			"ValidatingWebhookConfiguration and MutatingWebhookConfiguration whose caBundles to write; they exist"},
	}
}

// Defaults returns the settings that hold when none is given.
func Defaults() Config {
	return Config{
		EnabledControllers:   strings.Join(controllers, ","),
		PodNamespace:         "kube-system",
		HealthEnabled:        true,
		DatastoreType:        "kubernetes",
		MetricsAddress:       ":9094",
		LeaderElection:       true,
		LeakGracePeriod:      15 * time.Minute,
		NodeGracePeriod:      30 * time.Second,
		ReconcilerPeriod:     5 * time.Minute,
		Authority:            "maneki-ca",
		AuthorityOverlap:     24 * time.Hour,
		WebhookPort:          9443,
		Budget:               compile.DefaultBudget(),
		WebhookService:       "maneki-webhook",
		WebhookSecret:        "maneki-webhook-tls",
		WebhookConfiguration: "maneki",
	}
}

// ParseConfig reads the environment ("NAME=value" each) and the flags, which win. It
// returns flag.ErrHelp after -help.
func ParseConfig(environ, args []string) (Config, error) {
	c := Defaults()
	flags := flag.NewFlagSet("kube-controllers", flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	for _, s := range c.settings() {
		doc := fmt.Sprintf("%s (%s)", s.doc, s.env)
		switch target := s.target.(type) {
		case *string:
			flags.StringVar(target, s.flag(), *target, doc)
		case *int:
			flags.IntVar(target, s.flag(), *target, doc)
		case *bool:
			flags.BoolVar(target, s.flag(), *target, doc)
		case *time.Duration:
			flags.DurationVar(target, s.flag(), *target, doc)
		}
		if value, ok := lookup(environ, s.env); ok {
			if err := flags.Set(s.flag(), value); err != nil {
				return c, fmt.Errorf("environment variable %s=%q: %w", s.env, value, err)
			}
			c.give(s.env, value)
		}
	}
	before := map[string]string{}
	flags.VisitAll(func(f *flag.Flag) { before[f.Name] = f.Value.String() })
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("argument %q is not known", flags.Arg(0))
	}
	for _, s := range c.settings() {
		if value := flags.Lookup(s.flag()).Value.String(); value != before[s.flag()] {
			c.give(s.env, value)
		}
	}
	return c, c.validate()
}

// lookup takes a variable that is set and not empty.
func lookup(environ []string, name string) (string, bool) {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok && value != "" {
			return value, true
		}
	}
	return "", false
}

// give notes what a setting was given.
func (c *Config) give(variable, value string) {
	if c.given == nil {
		c.given = map[string]string{}
	}
	c.given[variable] = value
}

func (c *Config) validate() error {
	for _, name := range c.enabled() {
		if !slices.Contains(controllers, name) && !slices.Contains(foreign, name) {
			return fmt.Errorf("ENABLED_CONTROLLERS: there is no controller %q; there are %s", name,
				strings.Join(controllers, ", "))
		}
	}
	if c.AuthorityOverlap < certificates.MinOverlap {
		return fmt.Errorf("AUTHORITY_OVERLAP: %s is shorter than the %s that a Secret may take to its pods",
			c.AuthorityOverlap, certificates.MinOverlap)
	}
	if c.TyphaService != "" && c.TyphaTLS.PeerCN == "" && c.TyphaTLS.PeerURISAN == "" {
		return errors.New("TYPHA_CN or TYPHA_URISAN has to be set: any server with a certificate of the authorities " +
			"would pass for Typha")
	}
	if !slices.Contains([]string{"", "kubernetes", "kdd", "k8s"}, strings.ToLower(c.DatastoreType)) {
		return fmt.Errorf("DATASTORE_TYPE: %q: there are controllers for the datastore kubernetes only; on etcd, "+
			"leave this program out", c.DatastoreType)
	}
	for name, d := range map[string]time.Duration{"LEAK_GRACE_PERIOD": c.LeakGracePeriod,
		"RECONCILER_PERIOD": c.ReconcilerPeriod} {
		if d < 0 {
			return fmt.Errorf("%s: %s must not be negative, write for example 5m", name, d)
		}
	}
	switch strings.ToLower(c.AutoHostEndpoints) {
	case "", "enabled", "disabled":
	default:
		return fmt.Errorf("AUTO_HOST_ENDPOINTS: %q is neither enabled nor disabled", c.AutoHostEndpoints)
	}
	if _, known := runconfig.Level(c.LogLevel); c.LogLevel != "" && !known {
		return fmt.Errorf("LOG_LEVEL: %q is none of debug, info, warning, error, none", c.LogLevel)
	}
	return nil
}

// enabled lists the controllers to run. As Calico's, the node controller looks after host endpoints, too.
func (c *Config) enabled() []string {
	names := strings.FieldsFunc(c.EnabledControllers, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(names, controllerNode) && !slices.Contains(names, controllerHostEndpoint) {
		names = append(names, controllerHostEndpoint)
	}
	return names
}

// calicos are the variables that Calico's kube-controllers has, and LEAK_GRACE_PERIOD: those that decide over fields of
// the KubeControllersConfiguration.
var calicos = []string{"AUTO_HOST_ENDPOINTS", "DATASTORE_TYPE", "ENABLED_CONTROLLERS", "HEALTH_ENABLED",
	"LEAK_GRACE_PERIOD",
	"LOG_LEVEL", "RECONCILER_PERIOD"}

// environment returns what the settings say in place of the KubeControllersConfiguration. A setting says something if
// it was given, or if a program made it other than its default.
func (c *Config) environment() runconfig.Environment {
	defaults, env := Defaults(), runconfig.Environment{Given: map[string]string{}, LogSeverity: c.LogLevel}
	for _, name := range calicos {
		if value, ok := c.given[name]; ok {
			env.Given[name] = value
		}
	}
	says := func(name string, differs bool) bool { _, given := c.given[name]; return given || differs }
	if says("ENABLED_CONTROLLERS", c.EnabledControllers != defaults.EnabledControllers) {
		node := slices.Contains(c.enabled(), controllerHostEndpoint) // which comes with node
		env.Node = &node
	}
	if says("RECONCILER_PERIOD", c.ReconcilerPeriod != defaults.ReconcilerPeriod) {
		env.ReconcilerPeriod = &c.ReconcilerPeriod
	}
	if says("LEAK_GRACE_PERIOD", c.LeakGracePeriod != defaults.LeakGracePeriod) {
		env.LeakGracePeriod = &c.LeakGracePeriod
	}
	if says("HEALTH_ENABLED", c.HealthEnabled != defaults.HealthEnabled) {
		env.HealthChecks = &c.HealthEnabled
	}
	if c.AutoHostEndpoints != "" {
		create := strings.EqualFold(c.AutoHostEndpoints, "enabled")
		env.AutoHostEndpoints = &create
	}
	return env
}
