package kubernetes_test

import (
	"testing"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/datastore/storetest"
	"github.com/maneki-net/maneki/test/apiserver"
)

func TestConformance(t *testing.T) {
	server := apiserver.Start(t)
	storetest.Run(t, storetest.Backend{
		New:     func(t *testing.T) datastore.Store { return empty(t, server) },
		Compact: func(t *testing.T, _ datastore.Store) { server.Restart(t) },
	})
}

// empty gives a store of the server after all pools in it are deleted.
func empty(t *testing.T, server *apiserver.Server) datastore.Store {
	t.Helper()
	s, err := kubernetes.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Items {
		if err := s.Delete(t.Context(), datastore.IPPools, datastore.KeyOf(o), datastore.Preconditions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
