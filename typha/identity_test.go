package typha_test

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/test/etcdserver"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/wire"
)

// accepts says whether a node that has applied this is served.
func accepts(t *testing.T, replica *typha.Local, identity string, applied map[string]string) bool {
	t.Helper()
	s, err := replica.Hub().Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names(),
		Applied: applied, Datastore: identity})
	switch {
	case err == nil:
		s.Close()
	case !errors.Is(err, hub.ErrBehind):
		t.Fatal(err)
	}
	return err == nil
}

// identityOf gives what the replica says of its datastore, from when it can.
func identityOf(t *testing.T, replica *typha.Local) (identity string, versions map[string]string) {
	t.Helper()
	waitFor(t, "the datastore's identity", func() bool {
		s, err := replica.Hub().Connect(t.Context(), hub.Hello{Node: "n2", Features: wire.AllFeatures.Names()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		commit, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		identity, versions = commit.Datastore, commit.Versions
		return identity != ""
	})
	return identity, versions
}

// TestNodeOfAnotherCluster: the UID of the namespace kube-system tells clusters apart.
func TestNodeOfAnotherCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	store, err := kubernetes.New(apiserver.Start(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	replica := start(t, store)
	identity, _ := identityOf(t, replica)
	namespace, err := store.Get(t.Context(), datastore.Namespaces, datastore.Key{Name: metav1.NamespaceSystem})
	if err != nil || string(namespace.GetUID()) != identity {
		t.Errorf("the datastore is %q, and kube-system %v: %v", identity, namespace, err)
	}
	ahead := map[string]string{datastore.Tiers.ID(): "1000000"}
	if !accepts(t, replica, "another", ahead) {
		t.Error("a node of another cluster is refused")
	}
	if accepts(t, replica, identity, ahead) || accepts(t, replica, "", ahead) {
		t.Error("a node of this cluster that has applied more is accepted")
	}
}

// TestEtcdMadeAnew: an etcd is lost and made anew at the same address.
func TestEtcdMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an etcd")
	}
	server := etcdserver.Start(t, etcdserver.Options{})
	began := func(tiers ...string) (replica *typha.Local, end func()) {
		store, err := etcd.New(server.Config)
		if err != nil {
			t.Fatal(err)
		}
		create(t, store, &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		for _, name := range tiers {
			create(t, store, &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
		replica = typha.NewLocal(typha.LocalOptions{Store: store, View: sync.NewView(sync.EtcdKinds())})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			_ = replica.Run(ctx)
			close(ended)
		}()
		return replica, func() {
			cancel()
			<-ended
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	replica, end := began("a", "b", "c", "d")
	old, applied := identityOf(t, replica)
	if !accepts(t, replica, old, applied) {
		t.Error("a node that has applied what there is is refused")
	}
	end()
	server.Wipe(t)
	replica, end = began("a")
	defer end()
	if identity, _ := identityOf(t, replica); identity == old {
		t.Error("the etcd is taken for the one before")
	}
	if !accepts(t, replica, old, applied) {
		t.Errorf("a node that has applied %v of the etcd before is refused", applied)
	}
	if accepts(t, replica, "", applied) {
		t.Error("a node that does not say of which datastore it speaks is accepted too: this proves nothing")
	}
}
