package calicoctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
)

const defaultConfigFile = "/etc/calico/calicoctl.cfg"

// Connection says how to reach the datastore.
type Connection struct {
	Type connect.Type
	// Kubeconfig is a file, or several joined as in KUBECONFIG; empty is as kubectl finds it. KubeconfigInline is the
	// content of one and goes before it. Context is one of its contexts; empty is its current one.
	Kubeconfig, KubeconfigInline, Context string
	// K8sEndpoint is the URL of an API server to reach without a kubeconfig, with what it takes.
	K8sEndpoint, K8sCertFile, K8sKeyFile, K8sCAFile, K8sToken, K8sInsecure string
	Etcd                                                                   etcd.Config
	// Warnings takes what the API server warns of; nil is client-go's log.
	Warnings rest.WarningHandler

	datastoreType string // as it was written
}

// setting is a value of a Connection and the names it has. An empty env means that it is in files alone.
type setting struct {
	env, file, doc string
	of             func(*Connection) *string
	// group is of settings that are alternatives: where one is set, others that are further away do not count.
	group string
}

// settings are Calico's. The flag of a setting is the name of the variable in lower case with dashes; a secret has
// none, since others on the host see the arguments of a program.
var settings = []setting{
	{"DATASTORE_TYPE", "datastoreType", "kubernetes or etcdv3 (default: what other settings are for)",
		func(c *Connection) *string { return &c.datastoreType }, ""},
	{"KUBECONFIG", "kubeconfig", "kubeconfig file (default ~/.kube/config)",
		func(c *Connection) *string { return &c.Kubeconfig }, "cluster"},
	{"", "kubeconfigInline", "", func(c *Connection) *string { return &c.KubeconfigInline }, "cluster"},
	{"K8S_CURRENT_CONTEXT", "k8sCurrentContext", "context of the kubeconfig file",
		func(c *Connection) *string { return &c.Context }, ""},
	{"K8S_API_ENDPOINT", "k8sAPIEndpoint", "URL of the API server, without a kubeconfig",
		func(c *Connection) *string { return &c.K8sEndpoint }, "cluster"},
	{"K8S_CERT_FILE", "k8sCertFile", "file with the client certificate for it",
		func(c *Connection) *string { return &c.K8sCertFile }, ""},
	{"K8S_KEY_FILE", "k8sKeyFile", "file with the key of the certificate",
		func(c *Connection) *string { return &c.K8sKeyFile }, ""},
	{"K8S_CA_FILE", "k8sCAFile", "file with its authority's certificates",
		func(c *Connection) *string { return &c.K8sCAFile }, ""},
	{"K8S_API_TOKEN", "k8sAPIToken", "bearer token for the API server",
		func(c *Connection) *string { return &c.K8sToken }, ""},
	{"K8S_INSECURE_SKIP_TLS_VERIFY", "k8sInsecureSkipTLSVerify", "true: any certificate will do",
		func(c *Connection) *string { return &c.K8sInsecure }, ""},
	{"ETCD_ENDPOINTS", "etcdEndpoints", "URLs of etcd, joined by commas",
		func(c *Connection) *string { return &c.Etcd.Endpoints }, "etcd"},
	{"ETCD_DISCOVERY_SRV", "etcdDiscoverySrv", "domain whose SRV records name them",
		func(c *Connection) *string { return &c.Etcd.DiscoverySRV }, "etcd"},
	{"ETCD_USERNAME", "etcdUsername", "user of etcd", func(c *Connection) *string { return &c.Etcd.Username }, ""},
	{"ETCD_PASSWORD", "etcdPassword", "password of the user of etcd",
		func(c *Connection) *string { return &c.Etcd.Password }, ""},
	{"ETCD_CERT_FILE", "etcdCertFile", "file with the client certificate for etcd",
		func(c *Connection) *string { return &c.Etcd.CertFile }, "cert"},
	{"ETCD_KEY_FILE", "etcdKeyFile", "file with the key of the certificate",
		func(c *Connection) *string { return &c.Etcd.KeyFile }, "key"},
	{"ETCD_CA_CERT_FILE", "etcdCACertFile", "file with the certificates of etcd's authority",
		func(c *Connection) *string { return &c.Etcd.CAFile }, "ca"},
	{"ETCD_CERT", "etcdCert", "the certificate itself, as PEM", func(c *Connection) *string { return &c.Etcd.Cert },
		"cert"},
	{"ETCD_KEY", "etcdKey", "the key itself, as PEM", func(c *Connection) *string { return &c.Etcd.Key }, "key"},
	{"ETCD_CA_CERT", "etcdCACert", "the authority's certificates themselves, as PEM",
		func(c *Connection) *string { return &c.Etcd.CA }, "ca"},
}

// ignoredSettings are settings in Calico's files that mean nothing here.
var ignoredSettings = []string{"k8sDisableNodePoll", "usePodCIDR", "k8sClientQPS", "calicoAPIGroup", "alphaFeatures"}

var secrets = []string{"K8S_API_TOKEN", "ETCD_PASSWORD", "ETCD_KEY"}

func (s setting) flag() string {
	if s.env == "K8S_CURRENT_CONTEXT" {
		return "context"
	}
	return strings.ReplaceAll(strings.ToLower(s.env), "_", "-")
}

// connectionFlags adds a flag for each setting that has a variable; most are left out of the help.
func (t *tool) connectionFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVarP(&t.configFile, "config", "c", defaultConfigFile, "file with connection settings (CalicoAPIConfig)")
	for _, s := range settings {
		if s.env == "" || slices.Contains(secrets, s.env) {
			continue
		}
		flags.StringVar(s.of(&t.connection), s.flag(), "", s.doc+" ($"+s.env+")")
		if strings.HasPrefix(s.flag(), "k8s-") || strings.HasPrefix(s.flag(), "etcd-") && s.flag() != "etcd-endpoints" {
			_ = flags.MarkHidden(s.flag()) // it is there
		}
	}
}

// complete fills in what flags left open: from the environment, where CALICO_ in front goes before without, then from a
// file, which need not exist if it is the default one.
func (c Connection) complete(getenv func(string) string, file string) (Connection, error) {
	inFile, err := readSettings(file)
	if err != nil {
		return c, err
	}
	decided := map[string]bool{} // groups
	for _, s := range settings {
		decided[s.group] = decided[s.group] || s.group != "" && *s.of(&c) != ""
	}
	implied := c.implies()
	for _, level := range []func(setting) string{
		func(s setting) string {
			if s.env == "" {
				return ""
			}
			return cmp.Or(getenv("CALICO_"+s.env), getenv(s.env))
		},
		func(s setting) string { return inFile[s.file] },
	} {
		nearer := maps.Clone(decided)
		for _, s := range settings {
			if value := s.of(&c); *value == "" && !nearer[s.group] {
				*value = level(s)
				decided[s.group] = decided[s.group] || s.group != "" && *value != ""
			}
		}
		implied = cmp.Or(implied, c.implies())
	}
	c.Type, err = connect.ParseType(cmp.Or(c.datastoreType, string(implied)))
	if err != nil {
		return c, fmt.Errorf("--datastore-type, or spec.datastoreType in %s: %w", file, err)
	}
	return c, nil
}

// implies is the type of datastore that other settings are for; empty when there are none.
func (c Connection) implies() connect.Type {
	switch {
	case c.Etcd.Endpoints != "" || c.Etcd.DiscoverySRV != "":
		return connect.Etcd
	case c.Kubeconfig != "" || c.KubeconfigInline != "" || c.K8sEndpoint != "":
		return connect.Kubernetes
	}
	return ""
}

// readSettings returns the settings of a CalicoAPIConfig file by their names.
func readSettings(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && file == defaultConfigFile {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read connection settings: %w", err)
	}
	var config struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   any            `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return nil, fmt.Errorf("read connection settings %s: %w", file, err)
	}
	if config.Kind != "CalicoAPIConfig" || config.APIVersion != "projectcalico.org/v3" {
		return nil, fmt.Errorf("connection settings %s: must be apiVersion: projectcalico.org/v3, "+
			"kind: CalicoAPIConfig", file)
	}
	known := append([]string(nil), ignoredSettings...)
	for _, s := range settings {
		known = append(known, s.file)
	}
	values := map[string]string{}
	for name, value := range config.Spec {
		if !slices.Contains(known, name) {
			message := fmt.Sprintf("connection settings %s: spec.%s: unknown field", file, name)
			if near := manifest.Meant(name, known); near != "" {
				message += "; did you mean " + near + "?"
			}
			return nil, errors.New(message)
		}
		if value != nil {
			values[name] = fmt.Sprint(value)
		}
	}
	return values, nil
}

// REST returns the settings of a client of the API server: of its endpoint, else of the kubeconfig, else those of the
// pod that the program runs in.
func (c Connection) REST() (*rest.Config, error) {
	config, err := c.rest()
	if err != nil {
		return nil, fmt.Errorf("find the cluster (--kubeconfig, KUBECONFIG): %w", err)
	}
	// A person waits: no reason to be slower than the server wants.
	config.QPS, config.Burst = 200, 400
	config.WarningHandler = c.Warnings
	return config, nil
}

func (c Connection) rest() (*rest.Config, error) {
	overrides := &clientcmd.ConfigOverrides{CurrentContext: c.Context}
	switch {
	case c.KubeconfigInline != "":
		inline, err := clientcmd.Load([]byte(c.KubeconfigInline))
		if err != nil {
			return nil, err
		}
		return clientcmd.NewDefaultClientConfig(*inline, overrides).ClientConfig()
	case c.Kubeconfig == "" && c.K8sEndpoint != "":
		return &rest.Config{Host: c.K8sEndpoint, BearerToken: c.K8sToken, TLSClientConfig: rest.TLSClientConfig{
				CertFile: c.K8sCertFile, KeyFile: c.K8sKeyFile, CAFile: c.K8sCAFile,
				Insecure: c.K8sInsecure == "true"}},
			nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if files := filepath.SplitList(c.Kubeconfig); len(files) > 1 {
		rules.Precedence = files
	} else {
		rules.ExplicitPath = c.Kubeconfig
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
}
