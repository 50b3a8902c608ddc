package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	v3 "github.com/maneki-net/maneki/api/v3"
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
		Corrupt: func(t *testing.T, kind datastore.Kind, key datastore.Key, spec string) {
			server.Overwrite(t, kind.Group, kind.Plural, key.Name, fmt.Sprintf(
				`{"apiVersion": %q, "kind": %q, "metadata": {"name": %q}, "spec": %s}`, kind.GroupVersion(), kind,
				key.Name, spec))
		},
	})
	t.Run("the server's message is kept", func(t *testing.T) {
		bad := &v3.IPPool{Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/33"}}
		bad.Name = "bad"
		_, err := empty(t, server).Create(t.Context(), datastore.IPPools, bad)
		if !errors.Is(err, datastore.ErrInvalid) || !strings.Contains(err.Error(), "must be of type cidr") {
			t.Errorf("error is %v", err)
		}
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

// TestLostConnection ends the server under a watch and then starts again where it ended.
func TestLostConnection(t *testing.T) {
	server := apiserver.Start(t)
	ctx := t.Context()
	s := empty(t, server)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, datastore.IPPools, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	server.Restart(t)
	for err == nil {
		_, err = w.Next(ctx)
	}
	if !errors.Is(err, datastore.ErrUnavailable) {
		t.Errorf("the watch ended with %v, want ErrUnavailable", err)
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s, err := kubernetes.New(&rest.Config{Host: "http://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), datastore.IPPools, datastore.Key{Name: "p"}); !errors.Is(err,
		datastore.ErrUnavailable) {
		t.Errorf("get gives %v, want ErrUnavailable", err)
	}
	if _, err := s.List(t.Context(), datastore.IPPools, datastore.ListOptions{}); !errors.Is(err,
		datastore.ErrUnavailable) {
		t.Errorf("list gives %v, want ErrUnavailable", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(canceled, datastore.IPPools, datastore.Key{Name: "p"}); !errors.Is(err, context.Canceled) ||
		errors.Is(err, datastore.ErrUnavailable) {
		t.Errorf("get of a canceled caller gives %v, want context.Canceled", err)
	}
}
