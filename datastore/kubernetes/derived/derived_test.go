package derived

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

func cluster(t *testing.T) *Store {
	t.Helper()
	s := New(memory.New())
	for kind, object := range map[datastore.Kind]datastore.Object{
		datastore.Namespaces: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		datastore.ServiceAccounts: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
			Name: "front"}},
		datastore.Nodes: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}},
		datastore.Pods:  pod("web-0", "n1"),
		datastore.IPPools: &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"},
			Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}},
	} {
		create(t, s, kind, object)
	}
	return s
}

func create(t *testing.T, s *Store, kind datastore.Kind, object datastore.Object) {
	t.Helper()
	if _, err := s.Create(t.Context(), kind, object); err != nil {
		t.Fatal(err)
	}
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.PodSpec{NodeName: node}}
}

func TestWhatIsListedCanBeRead(t *testing.T) {
	s := cluster(t)
	create(t, s, datastore.Pods, pod("pending", ""))
	for kind, want := range map[datastore.Kind][]string{
		datastore.CalicoNodes:       {"n1"},
		datastore.WorkloadEndpoints: {"shop/n1-k8s-web--0-eth0"},
		datastore.Profiles:          {"projectcalico-default-allow", "kns.shop", "ksa.shop.front"},
		datastore.IPPools:           {"p"},
	} {
		list, err := s.List(t.Context(), kind, datastore.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range list.Items {
			got = append(got, datastore.KeyOf(o).String())
			read, err := s.Get(t.Context(), kind, datastore.KeyOf(o))
			if err != nil {
				t.Error(err)
			} else if actual, err := datastore.KindOf(read); err != nil || actual != kind ||
				read.GetName() != o.GetName() {
				t.Errorf("%s %s reads as %v %s", kind, o.GetName(), actual, read.GetName())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	for kind, names := range map[datastore.Kind][]string{
		datastore.CalicoNodes:       {"n2"},
		datastore.WorkloadEndpoints: {"web-0", "n2-k8s-web--0-eth0", "n1-k8s-other-eth0"},
		datastore.Profiles:          {"mine", "kns.other", "ksa.shop.other"},
	} {
		for _, name := range names {
			key := datastore.Key{Name: name}
			if kind.Namespaced {
				key.Namespace = "shop"
			}
			_, err := s.Get(t.Context(), kind, key)
			if !errors.Is(err, datastore.ErrNotFound) || !strings.Contains(err.Error(),
				kind.String()+" "+key.String()) {
				t.Errorf("%s %s: error %v", kind, key, err)
			}
		}
	}
}

func TestNodesAreWrittenToTheirSource(t *testing.T) {
	s := cluster(t)
	key := datastore.Key{Name: "n1"}
	var stale datastore.Object
	_, err := datastore.Modify(t.Context(), s, datastore.CalicoNodes, key, func(n *v3.Node) error {
		stale = n.DeepCopy()
		n.Labels = map[string]string{"rack": "1"}
		n.Spec.BGP = &v3.NodeBGPSpec{RouteReflectorClusterID: "244.0.0.1"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := datastore.Get[*corev1.Node](t.Context(), s, datastore.Nodes, key)
	if err != nil || node.Labels["rack"] != "1" || node.Annotations[v3.NodeClusterID] != "244.0.0.1" {
		t.Errorf("the node of Kubernetes: %+v, %v", node, err)
	}
	if _, err := s.Update(t.Context(), datastore.CalicoNodes, stale); !errors.Is(err, datastore.ErrConflict) {
		t.Errorf("update of an older revision: %v", err)
	}
}

func TestOtherWritesAreRefused(t *testing.T) {
	s := cluster(t)
	for _, kind := range []datastore.Kind{datastore.CalicoNodes, datastore.WorkloadEndpoints, datastore.Profiles} {
		list, err := s.List(t.Context(), kind, datastore.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		object := list.Items[len(list.Items)-1]
		if _, err := s.Create(t.Context(), kind, object); !errors.Is(err, datastore.ErrExists) {
			t.Errorf("create %s: %v", kind, err)
		}
		if err := s.Delete(t.Context(), kind, datastore.KeyOf(object), datastore.Preconditions{}); !errors.Is(err,
			datastore.ErrInvalid) {
			t.Errorf("delete %s: %v", kind, err)
		}
		if _, err := s.Update(t.Context(), kind, object); kind != datastore.CalicoNodes &&
			!errors.Is(err, datastore.ErrInvalid) {
			t.Errorf("update %s: %v", kind, err)
		}
		object.SetName("other")
		if _, err := s.Create(t.Context(), kind, object); !errors.Is(err, datastore.ErrInvalid) ||
			!strings.Contains(err.Error(), "kubectl") {
			t.Errorf("create another %s: %v", kind, err)
		}
	}
}

func TestWatch(t *testing.T) {
	s := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	list, err := s.List(ctx, datastore.WorkloadEndpoints, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, datastore.WorkloadEndpoints, list.Revision, datastore.ListOptions{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	create(t, s, datastore.Pods, pod("pending", ""))
	create(t, s, datastore.Pods, pod("web-1", "n1"))
	event, err := w.Next(ctx)
	if err != nil || event.Type != datastore.Added || event.Object.GetName() != "n1-k8s-web--1-eth0" {
		t.Errorf("event %+v, %v", event, err)
	}
	byName := datastore.ListOptions{Field: "metadata.name=web-0"}
	if _, err := s.List(ctx, datastore.WorkloadEndpoints, byName); !errors.Is(err, datastore.ErrInvalid) {
		t.Errorf("list by a field of the pod: %v", err)
	}
	if _, err := s.Watch(ctx, datastore.WorkloadEndpoints, list.Revision, byName); !errors.Is(err,
		datastore.ErrInvalid) {
		t.Errorf("watch by a field of the pod: %v", err)
	}
	if _, err := s.Watch(ctx, datastore.Profiles, "", datastore.ListOptions{}); !errors.Is(err, datastore.ErrInvalid) {
		t.Errorf("watch of profiles: %v", err)
	}
}
