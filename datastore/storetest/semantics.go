package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// startWatch watches a kind from now on.
func startWatch(ctx context.Context, t *testing.T, s datastore.Store, kind datastore.Kind,
	opts datastore.ListOptions) datastore.Watcher {
	t.Helper()
	list, err := s.List(ctx, kind, opts)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, kind, list.Revision, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func testFinalizers(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	held := pool(1)
	held.Finalizers = []string{"projectcalico.org/test"}
	if _, err := s.Create(ctx, datastore.IPPools, held); err != nil {
		t.Fatal(err)
	}
	w := startWatch(ctx, t, s, datastore.IPPools, datastore.ListOptions{})
	if err := s.Delete(ctx, datastore.IPPools, key(1), datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	if e := next(ctx, t, w); e.Type != datastore.Modified || e.Object.GetDeletionTimestamp() == nil {
		t.Errorf("a deletion that is held shows as %+v, want Modified with a deletionTimestamp", e)
	}
	if _, err := datastore.Modify(ctx, s, datastore.IPPools, key(1), func(p *v3.IPPool) error {
		p.Finalizers = nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if e := next(ctx, t, w); e.Type != datastore.Deleted {
		t.Errorf("after the last finalizer came %+v, want Deleted", e)
	}
	_, err := s.Get(ctx, datastore.IPPools, key(1))
	wantError(t, err, datastore.ErrNotFound)
}

func testNoChange(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	made := create(t, s, 1)
	w := startWatch(ctx, t, s, datastore.IPPools, datastore.ListOptions{})
	same, err := s.Update(ctx, datastore.IPPools, made)
	if err != nil {
		t.Fatal(err)
	}
	if same.GetResourceVersion() != made.ResourceVersion {
		t.Errorf("an update without a change moved the revision from %s to %s", made.ResourceVersion,
			same.GetResourceVersion())
	}
	made.Spec.NATOutgoing = true
	changed, err := s.Update(ctx, datastore.IPPools, made)
	if err != nil {
		t.Fatal(err)
	}
	if changed.GetGeneration() != made.Generation+1 {
		t.Errorf("a change of the spec moved the generation from %d to %d", made.Generation, changed.GetGeneration())
	}
	if e := next(ctx, t, w); e.Revision != changed.GetResourceVersion() {
		t.Errorf("the first event is of revision %s, want %s", e.Revision, changed.GetResourceVersion())
	}
}

func testFieldSelector(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	const namespace = "storetest"
	_, err := s.Create(ctx, datastore.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if err != nil && !errors.Is(err, datastore.ErrExists) {
		t.Fatal(err)
	}
	opts := datastore.ListOptions{Namespace: namespace, Field: "spec.nodeName=mine"}
	w := startWatch(ctx, t, s, datastore.Pods, opts)
	for name, node := range map[string]string{"a": "other", "b": "mine", "c": ""} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}
		if _, err := s.Create(ctx, datastore.Pods, pod); err != nil {
			t.Fatal(err)
		}
	}
	if e := next(ctx, t, w); e.Type != datastore.Added || e.Object.GetName() != "b" {
		t.Errorf("the watch gives %+v, want pod b", e)
	}
	list, err := s.List(ctx, datastore.Pods, opts)
	if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "b" {
		t.Errorf("the list is %v, %v, want pod b", list.Items, err)
	}
	_, err = s.Get(ctx, datastore.Pods, datastore.Key{Namespace: "elsewhere", Name: "b"})
	wantError(t, err, datastore.ErrNotFound)
}

func testNode(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{"rack": "a"},
			Annotations: map[string]string{"old": "1", "kept": "1"}},
		Spec: corev1.NodeSpec{Unschedulable: true},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP,
			Address: "192.0.2.1"}}},
	}
	made, err := s.Create(ctx, datastore.Nodes, node)
	if err != nil {
		t.Fatal(err)
	}
	where := datastore.KeyOf(node)
	changed, err := datastore.Modify(ctx, s, datastore.Nodes, where, func(n *corev1.Node) error {
		delete(n.Annotations, "old")
		n.Annotations["projectcalico.org/IPv4Address"] = "192.0.2.1/24"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"kept": "1", "projectcalico.org/IPv4Address": "192.0.2.1/24"}
	if diff := cmp.Diff(want, changed.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if changed.Labels["rack"] != "a" || !changed.Spec.Unschedulable || len(changed.Status.Addresses) != 1 {
		t.Errorf("the change of an annotation also changed %+v", changed)
	}
	made.SetLabels(nil)
	_, err = s.Update(ctx, datastore.Nodes, made)
	wantError(t, err, datastore.ErrConflict)

	changed.Status.Conditions = append(changed.Status.Conditions, corev1.NodeCondition{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "CalicoIsUp"})
	o, err := s.UpdateStatus(ctx, datastore.Nodes, changed)
	if err != nil {
		t.Fatal(err)
	}
	got := o.(*corev1.Node)
	if n := len(got.Status.Conditions); got.Status.Conditions[n-1].Reason != "CalicoIsUp" ||
		len(got.Status.Addresses) != 1 {
		t.Errorf("status is %+v", got.Status)
	}
	race(t, s, datastore.Nodes, o)
}
