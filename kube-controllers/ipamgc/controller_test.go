package ipamgc

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
)

// releases records what a controller asks for.
type releases struct {
	released []string
	looked   int           // at so many blocks for addresses that have rested
	next     time.Duration // as FreeRested answers
}

func (r *releases) ReleaseAddrs(_ context.Context, leases ...block.Lease) ([]block.Lease, error) {
	for _, lease := range leases {
		r.released = append(r.released, lease.Handle)
	}
	return leases, nil
}

func (r *releases) ReleaseHost(ctx context.Context, node string,
	gone func(context.Context) (bool, error)) ([]block.Lease, error) {
	is, err := gone(ctx)
	if is {
		r.released = append(r.released, "node "+node)
	}
	return nil, err
}

func (r *releases) FreeRested(_ context.Context, blocks ...*v3.IPAMBlock) (time.Duration, error) {
	r.looked = len(blocks)
	return r.next, nil
}

func reader(t *testing.T, objects ...client.Object) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v3.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string {
			return []string{o.(*corev1.Pod).Spec.NodeName}
		}).Build()
}

// nodeThatIs makes node a with the condition Ready.
func nodeThatIs(ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
}

// TestConfirms: what the cache says is checked against the live API before anything is released.
func TestConfirms(t *testing.T) {
	blocks, addr := assigned(t, "a", map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web"})
	block := &blocks[0]
	block.ResourceVersion = ""
	node := nodeThatIs(corev1.ConditionTrue)
	silent := nodeThatIs(corev1.ConditionUnknown)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "a"}}
	pod.Status.PodIPs = []corev1.PodIP{{IP: addr.String()}}
	finishedPod := pod.DeepCopy()
	finishedPod.Status.Phase = corev1.PodSucceeded
	tests := map[string]struct {
		cached, live []client.Object
		want         []string
	}{
		"all is well": {[]client.Object{node, pod}, []client.Object{node, pod},
			nil},
		"no pod": {[]client.Object{node}, []client.Object{node},
			[]string{"k8s-pod-network.c1"}},
		"cache is late with the pod": {[]client.Object{node}, []client.Object{node, pod}, nil},
		"finished pod": {[]client.Object{node}, []client.Object{node, finishedPod},
			[]string{"k8s-pod-network.c1"}},
		"no node, no pod":                          {nil, nil, []string{"node a", "k8s-pod-network.c1"}},
		"cache is late with the node":              {nil, []client.Object{node, pod}, nil},
		"cache is late with node's pod":            {nil, []client.Object{pod}, nil},
		"node gone, its pod lives":                 {[]client.Object{pod}, []client.Object{pod}, nil},
		"no pod, and nothing is heard of the node": {[]client.Object{silent}, []client.Object{silent}, nil},
		"cache is late with the node's silence":    {[]client.Object{node}, []client.Object{silent}, nil},
		"nothing is heard of the node, its pod had ended": {[]client.Object{silent, finishedPod},
			[]client.Object{silent, finishedPod}, []string{"k8s-pod-network.c1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := &runconfig.Node{ReconcilerPeriod: time.Hour, LeakGracePeriod: time.Minute}
			got := releasedBy(t, config, reader(t, append(test.cached, block.DeepCopy())...), reader(t, test.live...))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("released (-want +got):\n%s", diff)
			}
		})
	}
}

// releasedBy returns what a controller releases in two looks at the same, between which all grace periods end.
func releasedBy(t *testing.T, config *runconfig.Node, cached, live client.Reader) []string {
	t.Helper()
	recorded := &releases{}
	c := New(cached, live, Options{IPAM: recorded, NodeGrace: time.Minute,
		Config: func() *runconfig.Node { return config },
		Log:    slog.New(slog.DiscardHandler)})
	now := time.Now()
	c.now = func() time.Time { return now }
	for range 2 {
		if _, err := c.Reconcile(t.Context(), reconcile.Request{}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	return recorded.released
}

// TestConfig: without a grace period no address is released, but those of a node that is gone; without a configuration
// none is.
func TestConfig(t *testing.T) {
	blocks, _ := assigned(t, "a", map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web"})
	blocks[0].ResourceVersion = ""
	node, leaked := nodeThatIs(corev1.ConditionTrue), "k8s-pod-network.c1"
	for name, test := range map[string]struct {
		config *runconfig.Node
		nodes  []client.Object
		want   []string
	}{
		"a grace period":    {&runconfig.Node{LeakGracePeriod: time.Minute}, []client.Object{node}, []string{leaked}},
		"0":                 {&runconfig.Node{}, []client.Object{node}, nil},
		"0, a node is gone": {&runconfig.Node{}, nil, []string{"node a"}},
		"does not run":      {nil, nil, nil},
	} {
		got := releasedBy(t, test.config, reader(t, append(test.nodes, blocks[0].DeepCopy())...),
			reader(t, test.nodes...))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: released (-want +got):\n%s", name, diff)
		}
	}
}

// TestAddressesThatRest: the controller looks at every block when the next address has rested.
func TestAddressesThatRest(t *testing.T) {
	blocks, _ := assigned(t, "a", nil)
	blocks[0].ResourceVersion = ""
	recorded := &releases{next: time.Minute}
	c := New(reader(t, nodeThatIs(corev1.ConditionTrue), blocks[0].DeepCopy()), reader(t), Options{
		IPAM: recorded, Log: slog.New(slog.DiscardHandler),
		Config: func() *runconfig.Node { return &runconfig.Node{ReconcilerPeriod: time.Hour} }})
	result, err := c.Reconcile(t.Context(), reconcile.Request{})
	if err != nil || recorded.looked != 1 || result.RequeueAfter != time.Minute {
		t.Errorf("looked at %d blocks, and again in %v; %v", recorded.looked, result.RequeueAfter, err)
	}
}
