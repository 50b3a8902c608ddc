package daemon

import (
	"strings"
	"testing"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/felix/config"
)

func TestDatastoreIsThatOfTheSettings(t *testing.T) {
	for name, tt := range map[string]struct {
		settings    config.Config
		environment map[string]string
		err         string
	}{
		"settings": {settings: config.Config{DatastoreType: "etcdv3",
			EtcdEndpoints: "http://127.0.0.1:2379"}},
		"environment": {settings: config.Config{DatastoreType: "kubernetes"},
			environment: map[string]string{"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "http://127.0.0.1:2379"}},
		"no endpoint": {settings: config.Config{DatastoreType: "etcdv3"}, err: "ETCD_ENDPOINTS"},
		"half a certificate": {settings: config.Config{DatastoreType: "etcdv3", EtcdEndpoints: "https://127.0.0.1:2379",
			EtcdKeyFile: "k"}, err: "ETCD_CERT_FILE"},
		"another": {environment: map[string]string{"DATASTORE_TYPE": "consul"}, err: "consul"},
	} {
		store, err := openDatastore(&tt.settings, func(name string) string { return tt.environment[name] })
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want an error with %s", name, err, tt.err)
			}
		case err != nil || store.Type != connect.Etcd || store.API != nil:
			t.Errorf("%s: %+v, %v", name, store, err)
		}
	}
}
