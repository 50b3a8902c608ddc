package ipamgc

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam"
)

// assigned makes blocks in which one address is assigned, and gives them with it.
func assigned(t *testing.T, node string, attributes map[string]string) ([]v3.IPAMBlock, netip.Addr) {
	t.Helper()
	store := memory.New()
	pool := ipam.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/26")}
	result := ipam.New(store).Assign(t.Context(), ipam.Host{Name: node}, []ipam.Pool{pool},
		[]ipam.Request{{Handle: "k8s-pod-network.c1", Families: []ipam.Family{ipam.IPv4}, Attributes: attributes}})[0]
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	list, err := store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var blocks []v3.IPAMBlock
	for _, item := range list.Items {
		blocks = append(blocks, *item.(*v3.IPAMBlock))
	}
	return blocks, result.Leases[0].Addr
}

func TestLeaked(t *testing.T) {
	attributes := map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web", ipam.AttrUID: "u1"}
	blocks, addr := assigned(t, "a", attributes)
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"}}
		p.Spec.NodeName = "a"
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIPs = []corev1.PodIP{{IP: "fd00::1"}, {IP: addr.String()}}
		change(p)
		return p
	}
	tests := map[string]struct {
		pod    *corev1.Pod
		leaked bool
	}{
		"its pod runs":             {pod(func(*corev1.Pod) {}), false},
		"its pod has no status":    {pod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }), false},
		"its pod is terminating":   {pod(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), false},
		"no pod":                   {nil, true},
		"succeeded":                {pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), true},
		"failed":                   {pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), true},
		"another pod of that name": {pod(func(p *corev1.Pod) { p.UID = "u2" }), true},
		"static pod's mirror": {pod(func(p *corev1.Pod) {
			p.UID, p.Annotations = "u2", map[string]string{corev1.MirrorPodAnnotationKey: "u1"}
		}), false},
		"on another node":    {pod(func(p *corev1.Pod) { p.Spec.NodeName = "b" }), true},
		"an older sandbox's": {pod(func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.9.9.9"}} }), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &snapshot{blocks: blocks, nodes: map[string]bool{"a": true, "b": true}, pods: podsOf(test.pod)}
			v := newCollector(0, 0).judge(s, time.Now())
			if leaked := len(v.leases) == 1; leaked != test.leaked || len(v.nodes) > 0 {
				t.Errorf("verdict %+v, want leaked %v", v, test.leaked)
			}
		})
	}
}

// TestNodeThatIsNotHeardOf: its pods may run also when the API has forgotten them, or has others of their names.
func TestNodeThatIsNotHeardOf(t *testing.T) {
	attributes := map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web", ipam.AttrUID: "u1"}
	blocks, _ := assigned(t, "a", attributes)
	running := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"},
		Spec: corev1.PodSpec{NodeName: "a"}}
	elsewhere, newSandbox, ended := running.DeepCopy(), running.DeepCopy(), running.DeepCopy()
	elsewhere.UID, elsewhere.Spec.NodeName = "u2", "b"
	newSandbox.Status.PodIPs = []corev1.PodIP{{IP: "10.9.9.9"}}
	ended.Status.Phase = corev1.PodFailed
	off := nodeThatIs(corev1.ConditionUnknown)
	off.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
	nodes := map[string]*corev1.Node{"ready": nodeThatIs(corev1.ConditionTrue),
		"not ready": nodeThatIs(corev1.ConditionFalse),
		"unknown":   nodeThatIs(corev1.ConditionUnknown), "never reported": {}, "out of service": off}
	tests := []struct {
		name    string
		pod     *corev1.Pod
		heardOf bool // leaked if the node is heard of
		silent  bool // leaked if it is not
	}{
		{"runs", running, false, false},
		{"no pod", nil, true, false},
		{"another pod of that name on another node", elsewhere, true, false},
		{"its kubelet said that it has another sandbox", newSandbox, true, true},
		{"its kubelet said that it has ended", ended, true, true},
	}
	for state, node := range nodes {
		for _, test := range tests {
			want := test.silent
			if state != "unknown" && state != "never reported" {
				want = test.heardOf
			}
			s := &snapshot{blocks: blocks, nodes: map[string]bool{"a": heardOf(node), "b": true},
				pods: podsOf(test.pod)}
			if v := newCollector(0, 0).judge(s, time.Now()); (len(v.leases) == 1) != want || len(v.nodes) > 0 {
				t.Errorf("node %s, %s: verdict %+v, want leaked %t", state, test.name, v, want)
			}
		}
	}
}

func podsOf(pod *corev1.Pod) map[types.NamespacedName]*corev1.Pod {
	if pod == nil {
		return nil
	}
	return map[types.NamespacedName]*corev1.Pod{{Namespace: pod.Namespace, Name: pod.Name}: pod}
}

func TestTunnelAddressLivesWithItsNode(t *testing.T) {
	blocks, _ := assigned(t, "a", map[string]string{ipam.AttrType: "vxlanTunnelAddress"})
	c := newCollector(0, 0)
	if v := c.judge(&snapshot{blocks: blocks, nodes: map[string]bool{"a": true}}, time.Now()); len(v.leases)+
		len(v.nodes) > 0 {
		t.Errorf("verdict %+v on a tunnel address of a node that exists", v)
	}
	if v := c.judge(&snapshot{blocks: blocks}, time.Now()); len(v.leases) > 0 || len(v.nodes) != 1 {
		t.Errorf("verdict %+v, want the node's release", v)
	}
}

// TestGrace plays what a collector sees over time, at minutes.
func TestGrace(t *testing.T) {
	blocks, _ := assigned(t, "a", map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web"})
	running := podsOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "a"}})
	node := map[string]bool{"a": true}
	type look struct {
		minute int
		s      snapshot
		want   string // nodes, leases, minutes until next
	}
	tests := map[string][]look{
		"pod goes": {
			{0, snapshot{nodes: node, pods: running}, "[] 0 0s"},
			{1, snapshot{nodes: node}, "[] 0 15m0s"},
			{10, snapshot{nodes: node}, "[] 0 6m0s"},
			{16, snapshot{nodes: node}, "[] 1 0s"},
		},
		"pod comes back in time": {
			{0, snapshot{nodes: node}, "[] 0 15m0s"},
			{10, snapshot{nodes: node, pods: running}, "[] 0 0s"},
			{15, snapshot{nodes: node}, "[] 0 15m0s"},
		},
		"node goes, then its pods": {
			{0, snapshot{pods: running}, "[] 0 0s"},
			{5, snapshot{}, "[] 0 2m0s"},
			{6, snapshot{}, "[] 0 1m0s"},
			{7, snapshot{}, "[a] 0 13m0s"},
		},
		"node comes back in time": {
			{0, snapshot{}, "[] 0 2m0s"},
			{1, snapshot{nodes: node, pods: running}, "[] 0 0s"},
			{2, snapshot{}, "[] 0 2m0s"},
		},
	}
	start := time.Now()
	for name, looks := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCollector(15*time.Minute, 2*time.Minute)
			for _, look := range looks {
				look.s.blocks = blocks
				v := c.judge(&look.s, start.Add(time.Duration(look.minute)*time.Minute))
				if got := fmt.Sprint(v.nodes, len(v.leases), v.next); got != look.want {
					t.Errorf("minute %d: %s, want %s", look.minute, got, look.want)
				}
			}
		})
	}
}

func TestAffinityWithoutNode(t *testing.T) {
	s := &snapshot{affinities: []v3.BlockAffinity{
		{Spec: v3.BlockAffinitySpec{Node: "gone", CIDR: "10.0.0.0/26"}},
		{Spec: v3.BlockAffinitySpec{Node: "lb", CIDR: "10.0.1.0/26", Type: "virtual"}},
	}}
	v := newCollector(0, 0).judge(s, time.Now())
	if diff := cmp.Diff([]string{"gone"}, v.nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}
