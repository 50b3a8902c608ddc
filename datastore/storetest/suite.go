// Package storetest is the conformance suite of datastore.Store: every backend passes it, the
// memory one in process and the others against the real server.
//
// A test calls Run with a way to make an empty store; the suite makes its own objects and
// relies on nothing else.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// deadline bounds everything a test waits for.
const deadline = 30 * time.Second

// Backend is what the suite needs to know of a backend.
type Backend struct {
	// New gives a store without any IPPool in it.
	New func(t *testing.T) datastore.Store
	// Compact makes the store forget the changes up to now; nil if it can't be made to.
	Compact func(t *testing.T, s datastore.Store)
	// Corrupt overwrites the spec of a stored object with any JSON, unjudged; nil if nothing can.
	Corrupt func(t *testing.T, kind datastore.Kind, key datastore.Key, spec string)
	// CalicoOnly says that the backend has no kinds of Kubernetes' own.
	CalicoOnly bool
}

// Run runs the suite as subtests.
func Run(t *testing.T, b Backend) {
	tests := map[string]func(*testing.T, Backend){
		"create and get":               testCreateGet,
		"names exist once":             testExists,
		"missing objects":              testMissing,
		"update compares and swaps":    testUpdate,
		"status is written apart":      testStatus,
		"delete with preconditions":    testDelete,
		"list is complete when paged":  testList,
		"list is of one revision":      testListAtOnce,
		"namespaces are apart":         testNamespaces,
		"status of new objects":        testStatusRules,
		"nothing missed or doubled":    testNothingMissedOrDoubled,
		"watch from a list":            testWatch,
		"watch of an expired revision": testExpired,
		"watch ends with its context":  testWatchEnds,
		"results belong to the caller": testCopies,
		"modify retries conflicts":     testModify,
		"one of many updates succeeds": testRace,
		"bad objects are refused":      testInvalid,
		"finalizers hold a deletion":   testFinalizers,
		"no change makes no event":     testNoChange,
	}
	if b.CalicoOnly {
		tests["kinds of others are refused"] = testForeignKinds
	} else {
		tests["pods of one node"] = testFieldSelector
		tests["nodes keep what others wrote"] = testNode
	}
	if b.Corrupt != nil {
		tests["unusable objects are apart"] = testUnusable
		tests["unusable policies are repaired"] = testRepaired
		tests["unreadable policies deny"] = testUnreadablePolicy
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

func pool(i int) *v3.IPPool {
	return &v3.IPPool{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pool-%03d", i),
			Labels: map[string]string{"index": fmt.Sprint(i)}},
		Spec: v3.IPPoolSpec{CIDR: fmt.Sprintf("10.%d.0.0/16", i), BlockSize: 26, VXLANMode: v3.VXLANModeAlways,
			NodeSelector: "all()"},
	}
}

func key(i int) datastore.Key { return datastore.Key{Name: pool(i).Name} }

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, s datastore.Store, i int) *v3.IPPool {
	t.Helper()
	o, err := s.Create(bounded(t), datastore.IPPools, pool(i))
	if err != nil {
		t.Fatal(err)
	}
	return o.(*v3.IPPool)
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want one that is %q", got, want)
	}
}

func testCreateGet(t *testing.T, b Backend) {
	s := b.New(t)
	made := create(t, s, 1)
	if made.ResourceVersion == "" || made.UID == "" || made.CreationTimestamp.IsZero() {
		t.Errorf("created without version, UID or time: %+v", made.ObjectMeta)
	}
	o, err := s.Get(bounded(t), datastore.IPPools, key(1))
	if err != nil {
		t.Fatal(err)
	}
	got := o.(*v3.IPPool)
	if got.ResourceVersion != made.ResourceVersion || got.Spec.CIDR != "10.1.0.0/16" || got.Labels["index"] != "1" {
		t.Errorf("got %+v, created %+v", got, made)
	}
	if len(got.ManagedFields) > 0 {
		t.Errorf("managed fields are handed out: %v", got.ManagedFields)
	}
	if kind := got.GetObjectKind().GroupVersionKind(); kind != datastore.IPPools.GroupVersionKind {
		t.Errorf("kind of what was read is %v", kind)
	}
}

func testExists(t *testing.T, b Backend) {
	s := b.New(t)
	create(t, s, 1)
	_, err := s.Create(bounded(t), datastore.IPPools, pool(1))
	wantError(t, err, datastore.ErrExists)
}

func testMissing(t *testing.T, b Backend) {
	s := b.New(t)
	_, err := s.Get(bounded(t), datastore.IPPools, key(1))
	wantError(t, err, datastore.ErrNotFound)
	wantError(t, s.Delete(bounded(t), datastore.IPPools, key(1), datastore.Preconditions{}), datastore.ErrNotFound)
	gone := create(t, s, 1)
	if err := s.Delete(bounded(t), datastore.IPPools, key(1), datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(bounded(t), datastore.IPPools, gone)
	wantError(t, err, datastore.ErrNotFound)
}

func testUpdate(t *testing.T, b Backend) {
	s := b.New(t)
	first := create(t, s, 1)
	second := first.DeepCopy()
	second.Spec.NATOutgoing = true
	o, err := s.Update(bounded(t), datastore.IPPools, second)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetResourceVersion() == first.ResourceVersion || !o.(*v3.IPPool).Spec.NATOutgoing {
		t.Errorf("update returned %+v", o)
	}
	first.Spec.Disabled = true
	_, err = s.Update(bounded(t), datastore.IPPools, first)
	wantError(t, err, datastore.ErrConflict)
	first.ResourceVersion = ""
	_, err = s.Update(bounded(t), datastore.IPPools, first)
	wantError(t, err, datastore.ErrInvalid)
}

func testStatus(t *testing.T, b Backend) {
	s := b.New(t)
	p := create(t, s, 1)
	condition := metav1.Condition{Type: "Allocatable", Status: metav1.ConditionTrue, Reason: "Ready", Message: "m",
		LastTransitionTime: metav1.Now().Rfc3339Copy()}
	p.Status.Conditions = []metav1.Condition{condition}
	p.Spec.NATOutgoing = true
	o, err := s.UpdateStatus(bounded(t), datastore.IPPools, p)
	if err != nil {
		t.Fatal(err)
	}
	p = o.(*v3.IPPool)
	if len(p.Status.Conditions) != 1 || p.Spec.NATOutgoing {
		t.Errorf("a status update wrote %+v", p)
	}
	p.Status.Conditions = nil
	p.Spec.NATOutgoing = true
	o, err = s.Update(bounded(t), datastore.IPPools, p)
	if err != nil {
		t.Fatal(err)
	}
	p = o.(*v3.IPPool)
	if len(p.Status.Conditions) != 1 || !p.Spec.NATOutgoing {
		t.Errorf("an update wrote %+v", p)
	}
}

func testDelete(t *testing.T, b Backend) {
	s := b.New(t)
	p := create(t, s, 1)
	wantError(t, s.Delete(bounded(t), datastore.IPPools, key(1), datastore.Preconditions{UID: "other"}),
		datastore.ErrConflict)
	changed := p.DeepCopy()
	changed.Spec.NATOutgoing = true
	if _, err := s.Update(bounded(t), datastore.IPPools, changed); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Delete(bounded(t), datastore.IPPools, key(1), datastore.Preconditions{Revision: p.ResourceVersion}),
		datastore.ErrConflict)
	if err := s.Delete(bounded(t), datastore.IPPools, key(1), datastore.Preconditions{UID: p.UID}); err != nil {
		t.Error(err)
	}
}

func testList(t *testing.T, b Backend) {
	s := b.New(t)
	const n = 25
	for i := range n {
		create(t, s, i)
	}
	for _, opts := range []datastore.ListOptions{{}, {PageSize: 4}} {
		list, err := s.List(bounded(t), datastore.IPPools, opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != n || list.Revision == "" {
			t.Errorf("%+v: %d items at %q, want %d", opts, len(list.Items), list.Revision, n)
		}
		for i, o := range list.Items {
			if o.GetName() != pool(i).Name ||
				o.GetObjectKind().GroupVersionKind() != datastore.IPPools.GroupVersionKind {
				t.Errorf("%+v: item %d is %s %s", opts, i, o.GetObjectKind().GroupVersionKind(), o.GetName())
			}
		}
	}
	list, err := s.List(bounded(t), datastore.IPPools, datastore.ListOptions{Field: "metadata.name=pool-003"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("by name: %d items, %v", len(list.Items), err)
	}
}

func testCopies(t *testing.T, b Backend) {
	s := b.New(t)
	in := pool(1)
	made, err := s.Create(bounded(t), datastore.IPPools, in)
	if err != nil {
		t.Fatal(err)
	}
	in.Labels["index"], made.GetLabels()["index"] = "changed", "changed"
	got, err := s.Get(bounded(t), datastore.IPPools, key(1))
	if err != nil || got.GetLabels()["index"] != "1" {
		t.Errorf("the stored object changed with the caller's: %v, %v", got.GetLabels(), err)
	}
}

func testInvalid(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	_, err := s.Create(ctx, datastore.IPPools, &v3.IPPool{Spec: pool(1).Spec})
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.Create(ctx, datastore.BGPPeers, pool(1))
	wantError(t, err, datastore.ErrInvalid)
	misplaced := pool(1)
	misplaced.Namespace = "default"
	_, err = s.Create(ctx, datastore.IPPools, misplaced)
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.UpdateStatus(ctx, datastore.IPAMBlocks, &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: "b",
		ResourceVersion: "1"}})
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.List(ctx, datastore.IPPools, datastore.ListOptions{Field: "spec.cidr=10.0.0.0/8"})
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.Watch(ctx, datastore.IPPools, "", datastore.ListOptions{})
	wantError(t, err, datastore.ErrInvalid)
}
