package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/typha/hub"
)

// recorder is a Sink that remembers the updates of namespaces and ClusterNetworkPolicies.
type recorder struct {
	mu      sync.Mutex
	updates []hub.Update
}

func (r *recorder) Update(_ context.Context, u hub.Update) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.Kind == "Namespace" || u.Kind == datastore.ClusterNetworkPolicies.ID() {
		r.updates = append(r.updates, u)
	}
	return nil
}

func (r *recorder) take() []hub.Update {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.updates
	r.updates = nil
	return u
}

// flaky fails lists while it is down.
type flaky struct {
	*memory.Store
	down atomic.Bool
}

func (f *flaky) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if f.down.Load() {
		return datastore.List{}, datastore.ErrUnavailable
	}
	return f.Store.List(ctx, kind, opts)
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// TestLoop follows one kind through failures. Everything runs in a bubble with a clock of its own.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sink := &flaky{Store: memory.New()}, &recorder{}
		store.down.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		l := loop{store: store, sink: sink, kind: datastore.Namespaces, log: slog.New(slog.DiscardHandler),
			known: map[datastore.Key]struct{}{}}
		go func() { ended <- l.run(ctx) }()
		// settle lets the loop use up its waits, and gives what it handed on.
		settle := func() []hub.Update {
			timer, stop := context.WithTimeout(t.Context(), 2*lastListed)
			defer stop()
			<-timer.Done()
			synctest.Wait()
			return sink.take()
		}
		create := func(name string) {
			if _, err := store.Create(t.Context(), datastore.Namespaces, namespace(name)); err != nil {
				t.Fatal(err)
			}
		}
		remove := func(name string) {
			if err := store.Delete(t.Context(), datastore.Namespaces, datastore.Key{Name: name},
				datastore.Preconditions{}); err != nil {
				t.Fatal(err)
			}
		}

		create("a")
		if got := settle(); got != nil {
			t.Errorf("while the datastore is away: %v", got)
		}
		store.down.Store(false)
		got := settle()
		if len(got) != 1 || !got[0].Listed || len(got[0].Upserts) != 1 || got[0].Seen == "" || got[0].Changed == "" {
			t.Fatalf("after the first list: %+v", got)
		}

		create("b")
		remove("a")
		got = settle()
		if len(got) != 2 || len(got[0].Upserts) != 1 || got[0].Listed ||
			!cmp.Equal(got[1].Deletes, []hub.Name{{Name: "a"}}) {
			t.Fatalf("events: %+v", got)
		}

		store.Bookmark()
		got = settle()
		if len(got) != 1 || got[0].Changed != "" || got[0].Seen == "" {
			t.Fatalf("bookmark: %+v", got)
		}

		store.Disconnect() // the watch goes on where it was; nothing is listed again
		create("c")
		got = settle()
		if len(got) != 1 || got[0].Listed {
			t.Fatalf("after a lost connection: %+v", got)
		}

		store.Disconnect()
		remove("b")
		create("d")
		store.Compact()
		got = settle()
		if len(got) != 1 || !got[0].Listed || len(got[0].Upserts) != 2 ||
			!cmp.Equal(got[0].Deletes, []hub.Name{{Name: "b"}}) {
			t.Fatalf("after the revision expired: %+v", got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// optional is a store of which ClusterNetworkPolicies have no CRD, or one that is not served.
type optional struct {
	*memory.Store
	state atomic.Value // string: "", absent, not served
}

func (o *optional) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	list, err := o.Store.List(ctx, kind, opts)
	switch o.state.Load() {
	case "absent":
		list.Items = nil
	case "not served":
		return datastore.List{}, datastore.ErrNoKind
	}
	return list, err
}

func (o *optional) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	if o.state.Load() != "" {
		return nil, datastore.ErrNoKind
	}
	return o.Store.Watch(ctx, kind, revision, opts)
}

// TestAbsentKind: a kind without a CRD is empty as of a revision, which gets newer; it is read once it has one; and an
// API server that does not serve it while there is a CRD changes nothing.
func TestAbsentKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := datastore.ClusterNetworkPolicies
		store, sink := &optional{Store: memory.New()}, &recorder{}
		store.state.Store("not served")
		ctx, cancel := context.WithCancel(t.Context())
		l := loop{store: store, sink: sink, kind: kind, log: slog.New(slog.DiscardHandler),
			known: map[datastore.Key]struct{}{}}
		ended := make(chan error, 1)
		go func() { ended <- l.run(ctx) }()
		// after sets the state, lets time pass and gives what was handed on since.
		after := func(state string, wait time.Duration) []hub.Update {
			store.state.Store(state)
			store.Disconnect()
			time.Sleep(wait)
			synctest.Wait()
			return sink.take()
		}
		change := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := after("not served", time.Minute); got != nil {
			t.Errorf("it is not known whether there are policies: %+v", got)
		}
		got := after("absent", 2*lastBackoff)
		if len(got) != 1 || !got[0].Listed || len(got[0].Upserts) > 0 || got[0].Seen == "" || got[0].Changed != "" {
			t.Errorf("without the CRD: %+v", got)
		}
		before := got[0].Seen
		_, err := store.Create(t.Context(), datastore.Namespaces, namespace("later"))
		change(err)
		got = after("absent", 2*absentBackoff)
		if len(got) == 0 || newer(before, got[len(got)-1].Seen) == before {
			t.Errorf("the absence was at %s and is now at: %+v", before, got)
		}
		policy := &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		_, err = store.Create(t.Context(), kind, policy)
		change(err)
		got = after("", 2*absentBackoff)
		if len(got) == 0 || len(got[len(got)-1].Upserts) != 1 {
			t.Errorf("with the CRD: %+v", got)
		}
		got = after("not served", time.Hour)
		if got != nil {
			t.Errorf("an API server does not serve what is there: %+v", got)
		}
		got = after("absent", 2*lastBackoff)
		if len(got) == 0 || !cmp.Equal(got[0].Deletes, []hub.Name{{Name: "p"}}) || got[0].Changed == "" ||
			got[0].Changed != got[0].Seen {
			t.Errorf("the CRD went while nobody watched: %+v", got)
		}
		cancel()
		<-ended
	})
}

// TestOutage: the log has a long outage once, and nodes need not wait long after it.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sink := &flaky{Store: memory.New()}, &recorder{}
		store.down.Store(true)
		if _, err := store.Create(t.Context(), datastore.Namespaces, namespace("shop")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		l := loop{store: store, sink: sink, kind: datastore.Namespaces, log: slog.New(slog.NewTextHandler(&log, nil)),
			known: map[datastore.Key]struct{}{}}
		ended := make(chan error, 1)
		go func() { ended <- l.run(ctx) }()
		time.Sleep(time.Hour)
		store.down.Store(false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(sink.take()) == 0 {
			t.Error("nothing was read 3 s after the datastore was back")
		}
		cancel()
		<-ended
		if n := bytes.Count(log.Bytes(), []byte("out of reach")); n != 1 {
			t.Errorf("an outage is logged %d times:\n%.500s", n, log.String())
		}
	})
}

// TestIdentity: the datastore is told by an object that is made once in its life; where that is another one, reading
// ends.
func TestIdentity(t *testing.T) {
	info := &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	other := &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	for kind, objects := range map[datastore.Kind][2]datastore.Object{
		datastore.Namespaces:          {namespace("kube-system"), namespace("default")},
		datastore.ClusterInformations: {info, other},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, told := memory.New(), make(chan hub.Update, 10)
				create := func(o datastore.Object) string {
					t.Helper()
					o, err := store.Create(t.Context(), kind, o)
					if err != nil {
						t.Fatal(err)
					}
					return string(o.GetUID())
				}
				handed := func() string {
					t.Helper()
					synctest.Wait()
					if len(told) != 1 {
						t.Fatalf("%d updates", len(told))
					}
					return (<-told).Datastore
				}
				create(objects[1])
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() {
					ended <- Run(ctx, store, []datastore.Kind{kind}, sinkFunc(func(u hub.Update) { told <- u }),
						slog.New(slog.DiscardHandler))
				}()
				if got := handed(); got != "" {
					t.Errorf("another object tells %q", got)
				}
				first := create(objects[0])
				if got := handed(); got != first || first == "" {
					t.Errorf("it tells %q, want %q", got, first)
				}
				if err := store.Delete(t.Context(), kind, datastore.KeyOf(objects[0]),
					datastore.Preconditions{}); err != nil {
					t.Fatal(err)
				}
				if got := handed(); got != "" || len(ended) > 0 {
					t.Errorf("when it is gone: %q", got)
				}
				create(objects[0])
				synctest.Wait()
				if len(ended) == 0 || len(told) > 0 {
					t.Fatalf("another datastore is read on, with %d updates", len(told))
				}
				if err := <-ended; !errors.Is(err, errAnother) {
					t.Error(err)
				}
			})
		})
	}
}

// sinkFunc is a Sink.
type sinkFunc func(hub.Update)

func (f sinkFunc) Update(_ context.Context, u hub.Update) error {
	f(u)
	return nil
}

func TestPodsAreTrimmed(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	full := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", ResourceVersion: "7",
			Labels:        map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}},
		Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{{Name: "v"}},
			Containers: []corev1.Container{{Name: "c", Image: "i",
				Ports: []corev1.ContainerPort{{ContainerPort: 80}}}, {Name: "without ports"}},
			InitContainers: []corev1.Container{{Name: "s", RestartPolicy: &always,
				Ports: []corev1.ContainerPort{{ContainerPort: 81}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady}}},
	}
	before := full.DeepCopy()
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", ResourceVersion: "7",
			Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{NodeName: "n1",
			Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}},
			InitContainers: []corev1.Container{{Name: "s", RestartPolicy: &always,
				Ports: []corev1.ContainerPort{{ContainerPort: 81}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
	if diff := cmp.Diff(metav1.Object(want), trim(full)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, full); diff != "" {
		t.Errorf("the original was changed: %s", diff)
	}
}

// TestAnnotationsOfNoUse: of what users write into annotations, up to 256 KiB an object, only that is kept which is
// read.
func TestAnnotationsOfNoUse(t *testing.T) {
	long := strings.Repeat("x", 250<<10)
	annotations := map[string]string{"note": long, "cni.projectcalico.org/note": long,
		"cni.projectcalico.org/ipv4pools": "[\"" + long + "\"]",
		"cni.projectcalico.org/ipAddrs":   "[\"10.0.0.1\"]", "kubernetes.io/config.mirror": "u",
		"projectcalico.org/ASNumber": "64512"}
	meta := metav1.ObjectMeta{Name: "o", Annotations: annotations}
	kept := map[string][]string{
		"*v1.Pod": {"cni.projectcalico.org/ipAddrs", "cni.projectcalico.org/ipv4pools",
			"kubernetes.io/config.mirror"},
		"*v1.Namespace":      {"cni.projectcalico.org/ipv4pools"},
		"*v1.Node":           {"projectcalico.org/ASNumber"},
		"*v1.ServiceAccount": nil,
		"*v1.EndpointSlice":  nil,
	}
	for _, o := range []datastore.Object{&corev1.Pod{ObjectMeta: meta}, &corev1.Namespace{ObjectMeta: meta},
		&corev1.Node{ObjectMeta: meta},
		&corev1.ServiceAccount{ObjectMeta: meta}, &discoveryv1.EndpointSlice{ObjectMeta: meta}} {
		got := trim(o).GetAnnotations()
		if diff := cmp.Diff(kept[fmt.Sprintf("%T", o)], slices.Sorted(maps.Keys(got)),
			cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%T keeps (-want +got):\n%s", o, diff)
		}
		for name, value := range got {
			if len(value) > maxAnnotation || !strings.HasPrefix(annotations[name], value) {
				t.Errorf("%T: %d octets of %s are kept", o, len(value), name)
			}
		}
	}
}
