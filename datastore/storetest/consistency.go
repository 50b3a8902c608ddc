package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// label is what count writes.
const label = "count"

// count gives a pool's label the numbers from first to last, one update each.
func count(ctx context.Context, s datastore.Store, pool, first, last int) error {
	for n := first; n <= last; n++ {
		if _, err := datastore.Modify(ctx, s, datastore.IPPools, key(pool), func(p *v3.IPPool) error {
			p.Labels[label] = strconv.Itoa(n)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func counted(o datastore.Object) int {
	n, _ := strconv.Atoi(o.GetLabels()[label]) // 0 before the first
	return n
}

// testListAtOnce reads pages while one writer counts in the last object first and in the first one then: what is read
// at one revision never has the last one ahead by more than 1, nor behind.
func testListAtOnce(t *testing.T, b Backend) {
	s := b.New(t)
	const pools, lists = 9, 20
	for i := range pools {
		create(t, s, i)
	}
	ctx, stop := context.WithCancel(bounded(t))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for n := 1; ; n++ {
			for _, i := range []int{pools - 1, 0} {
				if err := count(ctx, s, i, n, n); err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return err
				}
			}
		}
	})
	group.Go(func() error {
		defer stop()
		moved := 0
		for n := 0; n < lists || moved < 2; n++ {
			list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{PageSize: 2})
			if err != nil {
				return err
			}
			if len(list.Items) != pools {
				return fmt.Errorf("%d of %d items", len(list.Items), pools)
			}
			first, last := counted(list.Items[0]), counted(list.Items[pools-1])
			if last-first != 0 && last-first != 1 {
				return fmt.Errorf("the list has the first object at %d and the last at %d: these never were together",
					first, last)
			}
			moved = last
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// testNothingMissedOrDoubled has several writers count, each in its own object, and follows by a watch that is started
// again every few events at the revision of the last one.
func testNothingMissedOrDoubled(t *testing.T, b Backend) {
	s := b.New(t)
	const writers, numbers, restartAfter = 4, 25, 7
	for i := range writers {
		create(t, s, i)
	}
	list, err := s.List(bounded(t), datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(bounded(t))
	for i := range writers {
		group.Go(func() error { return count(ctx, s, i, 1, numbers) })
	}
	group.Go(func() error {
		seen, revision := map[string]int{}, list.Revision
		for total := 0; total < writers*numbers; {
			w, err := s.Watch(ctx, datastore.IPPools, revision, datastore.ListOptions{})
			if err != nil {
				return err
			}
			for range restartAfter {
				if total == writers*numbers {
					break
				}
				e, err := w.Next(ctx)
				if err != nil {
					w.Stop()
					return err
				}
				revision = e.Revision
				if e.Type == datastore.Bookmark {
					continue
				}
				name := e.Object.GetName()
				if n := counted(e.Object); n != seen[name]+1 {
					w.Stop()
					return fmt.Errorf("%s: after number %d the watch gives %d", name, seen[name], n)
				}
				seen[name]++
				total++
			}
			w.Stop()
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func networkSet(namespace, name, net string) *v3.NetworkSet {
	return &v3.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v3.NetworkSetSpec{Nets: []string{net}}}
}

// testNamespaces uses two namespaces that every cluster has.
func testNamespaces(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	const here, there = "default", "kube-public"
	w := startWatch(ctx, t, s, datastore.NetworkSets, datastore.ListOptions{Namespace: there})
	for i, in := range []datastore.Key{{Namespace: here, Name: "a"}, {Namespace: there, Name: "a"},
		{Namespace: there, Name: "b"}} {
		if _, err := s.Create(ctx, datastore.NetworkSets, networkSet(in.Namespace, in.Name,
			fmt.Sprintf("192.0.2.%d/32", i))); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			err := s.Delete(context.WithoutCancel(ctx), datastore.NetworkSets, in, datastore.Preconditions{})
			if err != nil && !errors.Is(err, datastore.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	for opts, want := range map[datastore.ListOptions][]string{
		{}:                                    {"default/a", "kube-public/a", "kube-public/b"},
		{Namespace: there}:                    {"kube-public/a", "kube-public/b"},
		{Namespace: here}:                     {"default/a"},
		{Namespace: "kube"}:                   nil,
		{Field: "metadata.namespace=default"}: {"default/a"},
		{Field: "metadata.name=a"}:            {"default/a", "kube-public/a"},
		{Field: "metadata.name!=a"}:           {"kube-public/b"},
		{Namespace: there, Field: "metadata.name=a"}: {"kube-public/a"},
	} {
		list, err := s.List(ctx, datastore.NetworkSets, opts)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range list.Items {
			got = append(got, datastore.KeyOf(o).String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", opts, diff)
		}
	}
	got, err := datastore.Get[*v3.NetworkSet](ctx, s, datastore.NetworkSets, datastore.Key{Namespace: there, Name: "a"})
	if err != nil || got.Spec.Nets[0] != "192.0.2.1/32" {
		t.Errorf("get gives %+v, %v", got, err)
	}
	if err := s.Delete(ctx, datastore.NetworkSets, datastore.Key{Namespace: there, Name: "a"},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	var events []string
	for range 3 {
		e := next(ctx, t, w)
		events = append(events, fmt.Sprintf("%d %s %s", e.Type, datastore.KeyOf(e.Object),
			e.Object.(*v3.NetworkSet).Spec.Nets))
	}
	if diff := cmp.Diff([]string{"1 kube-public/a [192.0.2.1/32]", "1 kube-public/b [192.0.2.2/32]",
		"3 kube-public/a [192.0.2.1/32]"}, events); diff != "" {
		t.Errorf("events of one namespace (-want +got):\n%s", diff)
	}
	_, err = s.List(ctx, datastore.IPPools, datastore.ListOptions{Field: "metadata.namespace=default"})
	if err != nil && !errors.Is(err, datastore.ErrInvalid) {
		t.Error(err)
	}
}

// testStatusRules are those that testStatus has not: new objects, stale copies, generations, events.
func testStatusRules(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	w := startWatch(ctx, t, s, datastore.IPPools, datastore.ListOptions{})
	condition := metav1.Condition{Type: "Allocatable", Status: metav1.ConditionTrue, Reason: "Ready", Message: "m",
		LastTransitionTime: metav1.Now().Rfc3339Copy()}
	with := pool(1)
	with.Status.Conditions = []metav1.Condition{condition}
	o, err := s.Create(ctx, datastore.IPPools, with)
	if err != nil {
		t.Fatal(err)
	}
	made := o.(*v3.IPPool)
	if len(made.Status.Conditions) > 0 || made.Generation != 1 {
		t.Errorf("created with status %+v and generation %d", made.Status, made.Generation)
	}
	stale := made.DeepCopy()
	made.Status.Conditions = with.Status.Conditions
	o, err = s.UpdateStatus(ctx, datastore.IPPools, made)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetGeneration() != 1 {
		t.Errorf("a status moved the generation to %d", o.GetGeneration())
	}
	stale.Status.Conditions = with.Status.Conditions
	_, err = s.UpdateStatus(ctx, datastore.IPPools, stale)
	wantError(t, err, datastore.ErrConflict)
	again, err := s.UpdateStatus(ctx, datastore.IPPools, o)
	if err != nil || again.GetResourceVersion() != o.GetResourceVersion() {
		t.Errorf("the same status again: %v, %v", again, err)
	}
	if e := next(ctx, t, w); e.Type != datastore.Added || len(e.Object.(*v3.IPPool).Status.Conditions) != 0 {
		t.Errorf("first event %+v", e)
	}
	if e := next(ctx, t, w); e.Type != datastore.Modified || len(e.Object.(*v3.IPPool).Status.Conditions) != 1 ||
		e.Revision != o.GetResourceVersion() {
		t.Errorf("second event %+v, want the status at %s", e, o.GetResourceVersion())
	}
}

// testUnusable has one object of a kind overwritten with what no version of the kind is.
func testUnusable(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	create(t, s, 1)
	create(t, s, 2)
	w := startWatch(ctx, t, s, datastore.IPPools, datastore.ListOptions{})
	b.Corrupt(t, datastore.IPPools, key(1), `"what?"`)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].GetName() != pool(2).Name {
		t.Errorf("the list has %v, want the other object alone", list.Items)
	}
	if len(list.Unusable) != 1 || list.Unusable[0].Key != key(1) ||
		!errors.Is(list.Unusable[0].Err, datastore.ErrUnusable) {
		t.Errorf("unusable are %+v", list.Unusable)
	}
	if e := next(ctx, t, w); e.Type != datastore.Deleted || e.Object.GetName() != pool(1).Name ||
		!errors.Is(e.Err, datastore.ErrUnusable) {
		t.Errorf("the watch gives %+v, want Deleted with an error", e)
	}
	_, err = s.Get(ctx, datastore.IPPools, key(1))
	wantError(t, err, datastore.ErrUnusable)
	create(t, s, 3)
	if e := next(ctx, t, w); e.Object.GetName() != pool(3).Name || e.Err != nil {
		t.Errorf("after it comes %+v", e)
	}
	if err := s.Delete(ctx, datastore.IPPools, key(1), datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	if e := next(ctx, t, w); e.Type != datastore.Deleted || e.Object.GetName() != pool(1).Name {
		t.Errorf("its deletion shows as %+v", e)
	}
	create(t, s, 1)
}

// testRepaired: a policy is not left out, since it may deny something. Its reader finds what it can't use.
func testRepaired(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	key := datastore.Key{Name: "p"}
	if _, err := s.Create(ctx, datastore.GlobalNetworkPolicies,
		&v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}); err != nil {
		t.Fatal(err)
	}
	w := startWatch(ctx, t, s, datastore.GlobalNetworkPolicies, datastore.ListOptions{})
	b.Corrupt(t, datastore.GlobalNetworkPolicies, key, `{"ingress": [{"action": "Deny", "protocol": {}}]}`)
	list, err := s.List(ctx, datastore.GlobalNetworkPolicies, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	denies := func(o datastore.Object) bool {
		p, ok := o.(*v3.GlobalNetworkPolicy)
		return ok && len(p.Spec.Ingress) == 1 && p.Spec.Ingress[0].Action == v3.Deny
	}
	if len(list.Items) != 1 || len(list.Unusable) > 0 || !denies(list.Items[0]) {
		t.Errorf("the list has %+v and %+v, want the policy with its rule", list.Items, list.Unusable)
	}
	if e := next(ctx, t, w); !denies(e.Object) || e.Type != datastore.Modified || e.Err != nil {
		t.Errorf("the watch gives %+v, want the policy, modified", e)
	}
	if err := s.Delete(ctx, datastore.GlobalNetworkPolicies, key, datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
}

// testUnreadablePolicy: of a policy of which nothing can be read remains that it denies everything.
func testUnreadablePolicy(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	readable, broken := datastore.Key{Name: "readable"}, datastore.Key{Name: "broken"}
	for _, key := range []datastore.Key{readable, broken} {
		if _, err := s.Create(ctx, datastore.GlobalNetworkPolicies,
			&v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}); err != nil {
			t.Fatal(err)
		}
	}
	w := startWatch(ctx, t, s, datastore.GlobalNetworkPolicies, datastore.ListOptions{})
	b.Corrupt(t, datastore.GlobalNetworkPolicies, broken, `"what?"`)
	closed := func(o datastore.Object) bool {
		p, ok := o.(*v3.GlobalNetworkPolicy)
		return ok && p.Name == broken.Name && len(p.Spec.Types) == 2 && len(p.Spec.Ingress) == 1 &&
			len(p.Spec.Egress) == 1 &&
			p.Spec.Ingress[0].Action != v3.Allow && p.Spec.Egress[0].Action != v3.Allow
	}
	list, err := s.List(ctx, datastore.GlobalNetworkPolicies, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || len(list.Unusable) > 0 || !slices.ContainsFunc(list.Items, closed) {
		t.Errorf("the list has %+v and %+v, want both policies, and that one of them denies", list.Items, list.Unusable)
	}
	if e := next(ctx, t, w); !closed(e.Object) || e.Type != datastore.Modified || e.Err != nil {
		t.Errorf("the watch gives %+v, want the policy, modified", e)
	}
	for _, key := range []datastore.Key{readable, broken} {
		if err := s.Delete(ctx, datastore.GlobalNetworkPolicies, key, datastore.Preconditions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// testForeignKinds: a backend without Kubernetes says so.
func testForeignKinds(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	_, err := s.Get(ctx, datastore.Pods, datastore.Key{Namespace: "n", Name: "p"})
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.List(ctx, datastore.NetworkPolicies, datastore.ListOptions{})
	wantError(t, err, datastore.ErrInvalid)
	_, err = s.Watch(ctx, datastore.Nodes, "1", datastore.ListOptions{})
	wantError(t, err, datastore.ErrInvalid)
	wantError(t, s.Delete(ctx, datastore.Namespaces, datastore.Key{Name: "n"}, datastore.Preconditions{}),
		datastore.ErrInvalid)
}
