package typha_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// start runs a Local over a store until the test ends.
func start(t *testing.T, store datastore.Store) *typha.Local {
	t.Helper()
	local := typha.NewLocal(typha.LocalOptions{Store: store})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- local.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, hub.ErrClosed) {
			t.Errorf("Local.Run: %v", err)
		}
	})
	return local
}

func create[T datastore.Object](t *testing.T, store datastore.Store, object T) T {
	t.Helper()
	kind, err := datastore.KindOf(object)
	if err != nil {
		t.Fatal(err)
	}
	created, err := store.Create(t.Context(), kind, object)
	if err != nil {
		t.Fatal(err)
	}
	return created.(T)
}

func remove(t *testing.T, store datastore.Store, kind datastore.Kind, ns, name string) {
	t.Helper()
	if err := store.Delete(t.Context(), kind, datastore.Key{Namespace: ns, Name: name},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
}

func newPod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "main", Image: "image", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
	}
}

// held is what a node has after the commits that it read.
type held map[wire.ID]wire.Object

// until reads commits until what is held satisfies done.
func (h held) until(t *testing.T, source hub.Source, done func() bool) {
	t.Helper()
	for !done() {
		c, err := source.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range c.Upserts {
			h[o.ID()] = o
		}
		for _, id := range c.Deletes {
			delete(h, id)
		}
	}
}

func (h held) sets() []*wire.IPSet {
	var sets []*wire.IPSet
	for _, o := range h {
		if s, ok := o.(*wire.IPSet); ok {
			sets = append(sets, s)
		}
	}
	return sets
}

func (h held) names() []string {
	var names []string
	for id := range h {
		if id.Kind != wire.KindIPSet {
			names = append(names, id.String())
		}
	}
	slices.Sort(names)
	return names
}

// TestFromTheDatastoreToANode brings up a small cluster in a store, with addresses from IPAM, and reads what
// a node is given; then the watches break and expire while things change.
func TestFromTheDatastoreToANode(t *testing.T) {
	store := memory.New()
	create(t, store, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for name, ip := range map[string]string{"n1": "172.30.0.11", "n2": "172.30.0.12"} {
		create(t, store, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name,
				Annotations: map[string]string{"projectcalico.org/IPv4Address": ip + "/24"}},
		})
	}
	pool := create(t, store, &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "pods"},
		Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16", VXLANMode: v3.VXLANModeCrossSubnet, NATOutgoing: true}})
	local := create(t, store, newPod("web", "n1"))
	remote := create(t, store, newPod("api", "n2"))
	addr := assign(t, store, pool, remote)
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	policy.Spec.PodSelector.MatchLabels = local.Labels
	policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: remote.Labels}}}}}
	create(t, store, policy)

	source, h := start(t, store).Source("n1"), held{}
	h.until(t, source, func() bool { return len(h) > 0 })
	block := netip.PrefixFrom(addr, 26).Masked()
	want := []string{"BGP/n1", "Endpoint/shop/web", "Host/n1", "Host/n2", "Node/n1", "Policy/knp.default/shop/web",
		"Policy/profile/kns.", "Pool/pods", "Route/" + block.String()}
	if diff := cmp.Diff(want, h.names()); diff != "" {
		t.Errorf("n1 holds (-want +got):\n%s", diff)
	}
	route := h[wire.ID{Kind: wire.KindRoute, Name: block.String()}].(*wire.Route)
	if *route != (wire.Route{Dst: block, Node: "n2", Pool: "pods"}) {
		t.Errorf("the route is %+v", *route)
	}
	if sets := h.sets(); len(sets) != 1 || !slices.Equal(sets[0].Nets, []netip.Prefix{netip.PrefixFrom(addr, 32)}) {
		t.Errorf("the sets are %+v, want one with %s", sets, addr)
	}

	store.Disconnect()
	create(t, store, newPod("late", "n1"))
	late := wire.ID{Kind: wire.KindEndpoint, Name: "shop/late"}
	h.until(t, source, func() bool { return h[late] != nil })

	// While the readers are away something is deleted, and the history is forgotten: only a new list shows it.
	store.Disconnect()
	remove(t, store, datastore.Pods, "shop", "late")
	remove(t, store, datastore.NetworkPolicies, "shop", "web")
	store.Compact()
	h.until(t, source, func() bool { return h[late] == nil && len(h.sets()) == 0 })
	if e := h[wire.ID{Kind: wire.KindEndpoint, Name: "shop/web"}].(*wire.Endpoint); e.Tiers != nil {
		t.Errorf("the policy is gone and the endpoint has %+v", e.Tiers)
	}
}

// assign takes an address for a pod as the CNI server does.
func assign(t *testing.T, store datastore.Store, from *v3.IPPool, p *corev1.Pod) netip.Addr {
	t.Helper()
	pool, err := ipam.PoolOf(from)
	if err != nil {
		t.Fatal(err)
	}
	results := ipam.New(store).Assign(t.Context(), ipam.Host{Name: p.Spec.NodeName}, []ipam.Pool{pool}, []ipam.Request{{
		Handle: "k8s-pod-network." + p.Name, Families: []ipam.Family{ipam.IPv4},
		Attributes: map[string]string{ipam.AttrNamespace: p.Namespace, ipam.AttrPod: p.Name,
			ipam.AttrUID: string(p.UID)},
	}})
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	return results[0].Addrs()[0]
}
