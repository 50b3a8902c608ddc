package calicoctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const defaultConfigFile = "/etc/calico/calicoctl.cfg"

// Connection says how to reach the cluster.
type Connection struct {
	// Kubeconfig is a file; empty is as kubectl finds it.
	Kubeconfig string
	// Context of the kubeconfig; empty is its current one.
	Context string
	// ConfigFile is a CalicoAPIConfig file; the default one need not exist.
	ConfigFile string
}

// apiConfig is the part of Calico's CalicoAPIConfig that applies to the Kubernetes datastore.
type apiConfig struct {
	Spec struct {
		DatastoreType string `json:"datastoreType"`
		Kubeconfig    string `json:"kubeconfig"`
	} `json:"spec"`
}

// complete fills in what flags left open: from the environment, then from the file.
func (c Connection) complete(getenv func(string) string) (Connection, error) {
	var file apiConfig
	data, err := os.ReadFile(c.ConfigFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.ConfigFile == defaultConfigFile:
	case err != nil:
		return c, fmt.Errorf("read connection settings: %w", err)
	default:
		if err := yaml.Unmarshal(data, &file); err != nil {
			return c, fmt.Errorf("read connection settings %s: %w", c.ConfigFile, err)
		}
	}
	kind := cmp.Or(getenv("DATASTORE_TYPE"), getenv("CALICO_DATASTORE_TYPE"), file.Spec.DatastoreType, "kubernetes")
	if kind != "kubernetes" {
		return c, fmt.Errorf("datastore type %q is not supported (DATASTORE_TYPE, or spec.datastoreType in %s): use kubernetes", kind, c.ConfigFile)
	}
	if c.Kubeconfig == "" {
		c.Kubeconfig = getenv("CALICO_KUBECONFIG")
	}
	// KUBECONFIG, which may be a list of files, is left to the loader; it goes before the file.
	if c.Kubeconfig == "" && getenv("KUBECONFIG") == "" {
		c.Kubeconfig = file.Spec.Kubeconfig
	}
	return c, nil
}

// REST gives the settings of a Kubernetes client: of the kubeconfig, or without one those of the
// pod that the program runs in.
func (c Connection) REST() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster (--kubeconfig, KUBECONFIG): %w", err)
	}
	// A person waits: no reason to be slower than the server wants.
	config.QPS, config.Burst = 200, 400
	return config, nil
}
