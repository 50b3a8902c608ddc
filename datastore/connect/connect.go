// Package connect opens the datastore that a process is configured for: the Kubernetes API server, or etcd.
//
// It is the one place that knows both. Typha, Felix and calicoctl call it once, when they start. It keeps nothing.
package connect

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/kubernetes"
)

// Type is a kind of datastore, by Calico's names.
type Type string

// The types.
const (
	Kubernetes Type = "kubernetes"
	Etcd       Type = "etcdv3"
)

// ParseType reads the value of a setting; empty is Kubernetes, which "kdd" and "k8s" mean too.
func ParseType(s string) (Type, error) {
	switch strings.ToLower(s) {
	case "", "kubernetes", "kdd", "k8s":
		return Kubernetes, nil
	case "etcdv3", "etcd":
		return Etcd, nil
	}
	return "", fmt.Errorf("datastore type %q is not known (DATASTORE_TYPE): use %s or %s", s, Kubernetes, Etcd)
}

// Config says which datastore there is, and how to reach it.
type Config struct {
	Type Type
	// Kubeconfig is a file; empty is as a pod's service account does.
	Kubeconfig string
	Etcd       etcd.Config
}

// FromEnvironment reads Calico's environment variables by a function like os.Getenv. What is not
// there stays empty.
func FromEnvironment(getenv func(string) string) (Config, error) {
	kind, err := ParseType(cmp.Or(getenv("DATASTORE_TYPE"), getenv("CALICO_DATASTORE_TYPE")))
	if err != nil {
		return Config{}, err
	}
	return Config{Type: kind, Kubeconfig: getenv("KUBECONFIG"), Etcd: etcd.Config{}.FromEnvironment(getenv)}, nil
}

// Datastore is an open one.
type Datastore struct {
	datastore.Store
	Type Type
	// API says how to reach the Kubernetes API server; nil where it is not the datastore.
	API *rest.Config
	// Close ends the connections, and with them all watches.
	Close func() error
}

// Open opens the datastore. It does not connect: errors are of the configuration, and one that cannot be reached shows
// as ErrUnavailable at the first use.
func Open(c Config) (*Datastore, error) {
	if c.Type == Etcd {
		store, err := etcd.New(c.Etcd)
		if err != nil {
			return nil, err
		}
		return &Datastore{Store: store, Type: Etcd, Close: store.Close}, nil
	}
	api, err := kubernetes.Config(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	store, err := kubernetes.New(api)
	if err != nil {
		return nil, fmt.Errorf("datastore kubernetes: %w", err)
	}
	return &Datastore{Store: store, Type: Kubernetes, API: api, Close: func() error { return nil }}, nil
}
