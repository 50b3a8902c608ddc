package connect_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
)

func TestFromEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		environment map[string]string
		want        connect.Config
		err         string
	}{
		"nothing": {nil, connect.Config{Type: connect.Kubernetes}, ""},
		"kubernetes": {map[string]string{"DATASTORE_TYPE": "Kubernetes", "KUBECONFIG": "/k"},
			connect.Config{Type: connect.Kubernetes, Kubeconfig: "/k"}, ""},
		"etcd": {map[string]string{"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "http://a:1"},
			connect.Config{Type: connect.Etcd, Etcd: etcd.Config{Endpoints: "http://a:1"}}, ""},
		"other prefix": {map[string]string{"CALICO_DATASTORE_TYPE": "etcdv3"}, connect.Config{Type: connect.Etcd}, ""},
		"unknown":      {map[string]string{"DATASTORE_TYPE": "consul"}, connect.Config{}, `"consul"`},
	} {
		got, err := connect.FromEnvironment(func(name string) string { return tt.environment[name] })
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.err == "") || err != nil &&
			!strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestOpen(t *testing.T) {
	store, err := connect.Open(connect.Config{Type: connect.Etcd, Etcd: etcd.Config{Endpoints: "http://127.0.0.1:1"}})
	if err != nil || store.Type != connect.Etcd || store.API != nil {
		t.Fatalf("%+v, %v", store, err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := connect.Open(connect.Config{Type: connect.Etcd}); err == nil ||
		!strings.Contains(err.Error(), "ETCD_ENDPOINTS") {
		t.Errorf("no endpoint gives %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := connect.Open(connect.Config{Type: connect.Kubernetes, Kubeconfig: missing}); err == nil ||
		!strings.Contains(err.Error(), missing) {
		t.Errorf("a missing kubeconfig gives %v", err)
	}
}
