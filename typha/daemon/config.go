package daemon

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/discovery"
)

// Config is how a Typha process is set up. Each field has a flag and an environment variable
// TYPHA_<NAME>, named as in the table of settings; the flag wins. Names and defaults are Calico's where Calico has the
// setting.
type Config struct {
	// Unknown are the variables that begin with TYPHA_ and are no settings. They have no effect.
	Unknown       []string
	DatastoreType string
	Kubeconfig    string
	// Etcd is read from Calico's ETCD_ variables, too.
	Etcd                     etcd.Config
	ServerHost               string
	ServerPort               int
	CAFile                   string
	ServerCertFile           string
	ServerKeyFile            string
	ClientCN                 string
	ClientURISAN             string
	ClientIdentity           string
	ClientServiceAccounts    string
	ObserverServiceAccounts  string
	HealthEnabled            bool
	HealthHost               string
	HealthPort               int
	PrometheusMetricsEnabled bool
	PrometheusMetricsHost    string
	PrometheusMetricsPort    int
	LogSeverityScreen        string

	// The rest is about the nodes' streams. Times are given in seconds.
	ServerHandshakeTimeout               time.Duration
	ServerPingInterval                   time.Duration
	ServerMaxFallBehind                  time.Duration
	ServerNewClientFallBehindGracePeriod time.Duration
	ConnectionRebalancingMode            string
	ConnectionDropInterval               time.Duration
	MaxConnectionsUpperLimit             int
	MaxConnectionsLowerLimit             int
	K8sServicePollInterval               time.Duration
	K8sNamespace                         string
	K8sServiceName                       string
	K8sPortName                          string
	K8sPodName                           string
	ShutdownTimeout                      time.Duration
	ShutdownConnectionDropIntervalMax    time.Duration

	// Budget limits what policies may use.
	Budget compile.Budget
}

// The ways to rebalance; see Config.ConnectionRebalancingMode.
const (
	RebalanceNone       = "none"
	RebalanceKubernetes = "kubernetes"
)

// The ways in which a node or an observer proves its name; see Config.ClientIdentity.
const (
	IdentityToken       = "Token"
	IdentityCertificate = "Certificate"
)

// setting is one row of the table from which flags, environment variables and their help come.
type setting struct {
	name   string
	target any // *string, *int, *bool or *time.Duration; holds the default
	doc    string
}

func (c *Config) settings() []setting {
	return []setting{
		{"DatastoreType", &c.DatastoreType, "datastore to read: kubernetes or etcdv3"},
		{"EtcdEndpoints", &c.Etcd.Endpoints, "URLs of etcd, with commas between"},
		{"EtcdCAFile", &c.Etcd.CAFile, "PEM file of the authorities that sign etcd's certificates"},
		{"EtcdCertFile", &c.Etcd.CertFile, "PEM file of our certificate for etcd"},
		{"EtcdKeyFile", &c.Etcd.KeyFile, "PEM file of our key for etcd"},
		{"Kubeconfig", &c.Kubeconfig, "kubeconfig file; empty is the pod's own service account"},
		{"ServerHost", &c.ServerHost, "address to accept nodes on; empty is every address"},
		{"ServerPort", &c.ServerPort, "port to accept nodes on"},
		{"CAFile", &c.CAFile, "PEM file of the authorities that sign the nodes' certificates"},
		{"ServerCertFile", &c.ServerCertFile, "PEM file of our certificate"},
		{"ServerKeyFile", &c.ServerKeyFile, "PEM file of our key"},
		{"ClientCN", &c.ClientCN, "common name that the nodes' certificates must have"},
		{"ClientURISAN", &c.ClientURISAN, "URI that the nodes' certificates must have, unless the common name agrees"},
		{"ClientIdentity", &c.ClientIdentity,
			"how a peer proves its name: Token (a service-account token, that of a node bound to it; the default on " +
				"kubernetes) or Certificate (common name node:<name> or observer:<name>; all that etcdv3 has)"},
		{"ClientServiceAccounts", &c.ClientServiceAccounts,
			"service accounts of nodes, <namespace>:<name>, with commas between; in a pod the default is " +
				"calico-node of its namespace, elsewhere any"},
		{"ObserverServiceAccounts", &c.ObserverServiceAccounts,
			"service accounts that may follow what the nodes report, in the same form; in a pod the default is " +
				"calico-kube-controllers of its namespace, elsewhere none"},
		{"HealthEnabled", &c.HealthEnabled, "serve /liveness, /readiness, /nodes and /datastore"},
		{"HealthHost", &c.HealthHost, "address to serve health on"},
		{"HealthPort", &c.HealthPort, "port to serve health on"},
		{"PrometheusMetricsEnabled", &c.PrometheusMetricsEnabled, "serve /metrics"},
		{"PrometheusMetricsHost", &c.PrometheusMetricsHost, "address to serve metrics on; empty is every address"},
		{"PrometheusMetricsPort", &c.PrometheusMetricsPort, "port to serve metrics on"},
		{"LogSeverityScreen", &c.LogSeverityScreen, "Debug, Info, Warning or Error"},
		{"ServerHandshakeTimeoutSecs", &c.ServerHandshakeTimeout,
			"how long a client may take to say who it is and what it wants"},
		{"ServerPingIntervalSecs", &c.ServerPingInterval, "how often a node is pinged"},
		{"ServerMaxFallBehindSecs", &c.ServerMaxFallBehind,
			"how long a node may leave changes unread before its stream is ended"},
		{"ServerNewClientFallBehindGracePeriod", &c.ServerNewClientFallBehindGracePeriod,
			"how long a node that has just connected may leave changes unread"},
		{"ConnectionRebalancingMode", &c.ConnectionRebalancingMode,
			"none, or kubernetes: nodes beyond this replica's share, with a fifth on top, are handed over to the " +
				"other ones"},
		{"ConnectionDropIntervalSecs", &c.ConnectionDropInterval, "time between two nodes that are handed over"},
		{"MaxConnectionsUpperLimit", &c.MaxConnectionsUpperLimit, "the most that the share may be"},
		{"MaxConnectionsLowerLimit", &c.MaxConnectionsLowerLimit, "the least that the share may be"},
		{"K8sServicePollIntervalSecs", &c.K8sServicePollInterval,
			"how often the share is worked out, besides when replicas come and go"},
		{"K8sNamespace", &c.K8sNamespace, "namespace of the Service of all replicas"},
		{"K8sServiceName", &c.K8sServiceName, "name of the Service of all replicas"},
		{"K8sPortName", &c.K8sPortName, "name of the Service's port for nodes"},
		{"K8sPodName", &c.K8sPodName, "name of this pod, by which it knows the other replicas from itself"},
		{"ShutdownTimeoutSecs", &c.ShutdownTimeout,
			"over how long nodes are handed over to the other replicas when this one ends; not longer than its " +
				"terminationGracePeriodSeconds"},
		{"ShutdownConnectionDropIntervalMaxSecs", &c.ShutdownConnectionDropIntervalMax,
			"the most time between two nodes that are then handed over"},
		{"PolicyMaxRules", &c.Budget.PolicyRules,
			"rules that a policy may have, counted once for each peer with each port; see policy.md"},
		{"PolicyMaxSets", &c.Budget.PolicySets,
			"different selectors, Services and names of ports that the rules of a policy may name"},
		{"PolicyMaxMembers", &c.Budget.PolicyMembers, "addresses and networks that these may stand for"},
		{"NamespaceMaxRules", &c.Budget.NamespaceRules, "rules that the policies of a namespace may have together"},
		{"NamespaceMaxSets", &c.Budget.NamespaceSets,
			"different selectors, Services and names of ports that the policies of a namespace may name together"},
		{"NamespaceMaxMembers", &c.Budget.NamespaceMembers, "addresses and networks that these may stand for"},
	}
}

// lookup returns a function like os.Getenv.
func lookup(environ []string) func(string) string {
	return func(name string) string {
		for _, pair := range environ {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// ParseConfig reads the environment ("NAME=value" each) and the flags. It returns flag.ErrHelp
// after -help.
func ParseConfig(environ, args []string) (Config, error) {
	c, err := parse(environ, args)
	if err != nil {
		return c, err
	}
	return c, c.complete()
}

// parse is ParseConfig without the judgement.
func parse(environ, args []string) (Config, error) {
	getenv := lookup(environ)
	c := Config{
		DatastoreType: cmp.Or(getenv("DATASTORE_TYPE"), string(connect.Kubernetes)),
		Etcd:          etcd.Config{}.FromEnvironment(getenv),
		ServerPort:    5473, HealthHost: "localhost", HealthPort: 9098, PrometheusMetricsPort: 9093,
		LogSeverityScreen:      "Info",
		ServerHandshakeTimeout: 10 * time.Second, ServerPingInterval: 10 * time.Second,
		ServerMaxFallBehind: 5 * time.Minute, ServerNewClientFallBehindGracePeriod: 5 * time.Minute,
		ConnectionRebalancingMode: RebalanceNone, ConnectionDropInterval: time.Second,
		MaxConnectionsUpperLimit: 10000, MaxConnectionsLowerLimit: 400, K8sServicePollInterval: 30 * time.Second,
		K8sNamespace: "kube-system", K8sServiceName: "calico-typha", K8sPortName: discovery.PortName,
		ShutdownTimeout: 5 * time.Minute, ShutdownConnectionDropIntervalMax: time.Second,
		Budget: compile.DefaultBudget(),
	}
	flags := flag.NewFlagSet("typha", flag.ContinueOnError)
	flags.Usage = func() {
		_, _ = io.WriteString(flags.Output(), usage)
		flags.PrintDefaults()
	}
	for _, s := range c.settings() {
		name, doc := strings.ToLower(s.name), fmt.Sprintf("%s (%s)", s.doc, s.environment())
		switch target := s.target.(type) {
		case *string:
			flags.StringVar(target, name, *target, doc)
		case *int:
			flags.IntVar(target, name, *target, doc)
		case *bool:
			flags.BoolVar(target, name, *target, doc)
		case *time.Duration:
			flags.Var((*seconds)(target), name, doc)
		}
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		name, ours := strings.CutPrefix(strings.ToLower(name), "typha_")
		if !ours {
			continue
		}
		if flags.Lookup(name) == nil {
			c.Unknown = append(c.Unknown, "TYPHA_"+strings.ToUpper(name))
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return c, fmt.Errorf("TYPHA_%s: %q: %w", strings.ToUpper(name), value, err)
		}
	}
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("argument %q is not understood: there are only flags, see -help", flags.Arg(0))
	}
	return c, nil
}

// complete fills in the defaults that follow from others, and judges all.
func (c *Config) complete() error {
	kind, err := connect.ParseType(c.DatastoreType)
	if err != nil {
		return fmt.Errorf("DatastoreType: %w", err)
	}
	c.DatastoreType = string(kind)
	if c.ClientIdentity == "" {
		c.ClientIdentity = IdentityToken
		if kind == connect.Etcd {
			c.ClientIdentity = IdentityCertificate
		}
	}
	switch {
	case c.ClientIdentity != IdentityToken && c.ClientIdentity != IdentityCertificate:
		return fmt.Errorf("ClientIdentity: %q is neither %s nor %s", c.ClientIdentity, IdentityToken,
			IdentityCertificate)
	case c.ClientIdentity == IdentityToken && kind == connect.Etcd:
		return fmt.Errorf("ClientIdentity: tokens are Kubernetes', and the datastore is %s: use %s", kind,
			IdentityCertificate)
	}
	for name, value := range map[string]string{"CAFile": c.CAFile, "ServerCertFile": c.ServerCertFile,
		"ServerKeyFile": c.ServerKeyFile} {
		if value == "" {
			return fmt.Errorf("%s has to be set: nodes are served over mutual TLS only", name)
		}
	}
	for name, port := range map[string]int{"ServerPort": c.ServerPort, "HealthPort": c.HealthPort,
		"PrometheusMetricsPort": c.PrometheusMetricsPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("%s: %d is not a port", name, port)
		}
	}
	if err := c.Budget.Validate(); err != nil {
		return err
	}
	if err := c.completeRebalancing(); err != nil {
		return err
	}
	_, err = c.level()
	return err
}

func (c *Config) completeRebalancing() error {
	c.ConnectionRebalancingMode = strings.ToLower(c.ConnectionRebalancingMode)
	switch {
	case c.ConnectionRebalancingMode != RebalanceNone && c.ConnectionRebalancingMode != RebalanceKubernetes:
		return fmt.Errorf("ConnectionRebalancingMode: %q is neither %s nor %s", c.ConnectionRebalancingMode,
			RebalanceNone, RebalanceKubernetes)
	case c.ConnectionRebalancingMode == RebalanceKubernetes && c.DatastoreType != string(connect.Kubernetes):
		return fmt.Errorf("ConnectionRebalancingMode: %s needs the datastore %s", RebalanceKubernetes,
			connect.Kubernetes)
	case c.MaxConnectionsLowerLimit < 1 || c.MaxConnectionsUpperLimit < c.MaxConnectionsLowerLimit:
		return fmt.Errorf("MaxConnectionsLowerLimit: %d is not between 1 and MaxConnectionsUpperLimit, %d",
			c.MaxConnectionsLowerLimit, c.MaxConnectionsUpperLimit)
	}
	return nil
}

// seconds is a time that is written as a number of seconds, with or without a fraction.
type seconds time.Duration

// String implements flag.Value.
func (s *seconds) String() string {
	return strconv.FormatFloat(time.Duration(*s).Seconds(), 'g', -1, 64)
}

// Set implements flag.Value.
func (s *seconds) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n < 1e9) {
		return errors.New("not a number of seconds")
	}
	*s = seconds(n * float64(time.Second))
	return nil
}

func (c *Config) level() (slog.Level, error) {
	switch strings.ToLower(c.LogSeverityScreen) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warning":
		return slog.LevelWarn, nil
	case "error", "fatal":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("LogSeverityScreen: %q is none of Debug, Info, Warning, Error", c.LogSeverityScreen)
}

// subjects returns the service accounts of nodes and of observers in the form of a token's subject. own is the
// namespace of the pod that this process runs in; empty if it runs in none.
func (c *Config) subjects(own string) (nodes, observers []string, err error) {
	node, observer := c.ClientServiceAccounts, c.ObserverServiceAccounts
	if own != "" {
		node, observer = cmp.Or(node, own+":calico-node"), cmp.Or(observer, own+":calico-kube-controllers")
	}
	nodes, err = accounts(node)
	if err != nil {
		return nil, nil, fmt.Errorf("ClientServiceAccounts: %w", err)
	}
	observers, err = accounts(observer)
	if err != nil {
		return nil, nil, fmt.Errorf("ObserverServiceAccounts: %w", err)
	}
	return nodes, observers, nil
}

func accounts(list string) ([]string, error) {
	var subjects []string
	for _, account := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		namespace, name, ok := strings.Cut(account, ":")
		if !ok || namespace == "" || name == "" {
			return nil, fmt.Errorf("%q is not <namespace>:<name>", account)
		}
		subjects = append(subjects, "system:serviceaccount:"+account)
	}
	return subjects, nil
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
