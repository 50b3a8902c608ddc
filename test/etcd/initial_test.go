package etcd_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/initial"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestFirstNodes: of several nodes that start at once, each resource is made by one, and all of them succeed.
func TestFirstNodes(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	var mu sync.Mutex
	var made []string
	var nodes sync.WaitGroup
	for range 8 {
		store := open(t, server.Config)
		nodes.Go(func() {
			names, err := initial.Ensure(t.Context(), store, "v1.2.3")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, names...)
		})
	}
	nodes.Wait()
	slices.Sort(made)
	want := []string{"BGPConfiguration default", "ClusterInformation default", "FelixConfiguration default",
		"KubeControllersConfiguration default", "Tier default",
		"Tier kube-admin", "Tier kube-baseline"}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	info := get[*v3.ClusterInformation](t, open(t, server.Config), datastore.ClusterInformations)
	if info.UID == "" || len(info.Spec.ClusterGUID) != 32 || info.Spec.CalicoVersion != "v1.2.3" ||
		!*info.Spec.DatastoreReady {
		t.Errorf("the ClusterInformation is %+v", info)
	}
}

// TestNothingIsChanged: what users wrote stays, also what they left out; the version alone is the program's.
func TestNothingIsChanged(t *testing.T) {
	store := open(t, etcdserver.Start(t, etcdserver.Options{}).Config)
	debug, no, meta := "Debug", false, metav1.ObjectMeta{Name: "default"}
	create(t, store, datastore.FelixConfigurations, &v3.FelixConfiguration{ObjectMeta: meta,
		Spec: v3.FelixConfigurationSpec{LogSeverityScreen: &debug}})
	create(t, store, datastore.ClusterInformations, &v3.ClusterInformation{ObjectMeta: meta,
		Spec: v3.ClusterInformationSpec{ClusterGUID: "mine", DatastoreReady: &no, CalicoVersion: "v1"}})
	uid := get[*v3.ClusterInformation](t, store, datastore.ClusterInformations).UID
	for range 2 {
		if _, err := initial.Ensure(t.Context(), store, "v2"); err != nil {
			t.Fatal(err)
		}
	}
	felix := get[*v3.FelixConfiguration](t, store, datastore.FelixConfigurations).Spec
	if diff := cmp.Diff(v3.FelixConfigurationSpec{LogSeverityScreen: &debug}, felix); diff != "" {
		t.Errorf("FelixConfiguration (-want +got):\n%s", diff)
	}
	info := get[*v3.ClusterInformation](t, store, datastore.ClusterInformations)
	want := v3.ClusterInformationSpec{ClusterGUID: "mine", DatastoreReady: &no, CalicoVersion: "v2"}
	if diff := cmp.Diff(want, info.Spec); diff != "" || info.UID != uid {
		t.Errorf("ClusterInformation %s, was %s (-want +got):\n%s", info.UID, uid, diff)
	}
}

// TestNothingIsAskedFor: no resource has a value but those that its CRD fills in.
func TestNothingIsAskedFor(t *testing.T) {
	if diff := cmp.Diff(v3.FelixConfigurationSpec{}, initial.FelixConfiguration().Spec); diff != "" {
		t.Errorf("FelixConfiguration:\n%s", diff)
	}
	if diff := cmp.Diff(v3.BGPConfigurationSpec{}, initial.BGPConfiguration().Spec); diff != "" {
		t.Errorf("BGPConfiguration:\n%s", diff)
	}
}

func create(t *testing.T, store datastore.Store, kind datastore.Kind, o datastore.Object) {
	t.Helper()
	if _, err := store.Create(t.Context(), kind, o); err != nil {
		t.Fatal(err)
	}
}

func get[T datastore.Object](t *testing.T, store datastore.Store, kind datastore.Kind) T {
	t.Helper()
	o, err := datastore.Get[T](t.Context(), store, kind, datastore.Key{Name: "default"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}
