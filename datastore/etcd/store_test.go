package etcd_test

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/storetest"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestConformance runs the suite that the other backends pass, in each way in which etcd is set up.
func TestConformance(t *testing.T) {
	for name, options := range map[string]etcdserver.Options{
		"one member":                    {},
		"three members":                 {Members: 3},
		"mutual TLS":                    {TLS: true},
		"passwords":                     {Auth: true},
		"three, both TLS and passwords": {Members: 3, TLS: true, Auth: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := etcdserver.Start(t, options)
			storetest.Run(t, storetest.Backend{
				New:     func(t *testing.T) datastore.Store { return empty(t, server) },
				Compact: func(t *testing.T, _ datastore.Store) { server.Compact(t) },
				Corrupt: func(t *testing.T, kind datastore.Kind, key datastore.Key, spec string) {
					put(t, server, "/calico/resources/v3/projectcalico.org/"+kind.Plural+"/"+key.Name,
						fmt.Sprintf(`{"spec": %s}`, spec))
				},
				CalicoOnly: true,
			})
		})
	}
}

func open(t *testing.T, config etcd.Config) *etcd.Store {
	t.Helper()
	s, err := etcd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// empty gives a store of the server after everything in it is deleted.
func empty(t *testing.T, server *etcdserver.Cluster) *etcd.Store {
	t.Helper()
	if _, err := server.Admin().Delete(t.Context(), "/calico/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	return open(t, server.Config)
}

func put(t *testing.T, server *etcdserver.Cluster, key, value string) {
	t.Helper()
	if _, err := server.Admin().Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}
