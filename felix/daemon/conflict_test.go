package daemon

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// TestSecondPodOfAnAddress: a pod that comes with the address of one that runs is refused, and the traffic of the one
// that runs goes on to it.
func TestSecondPodOfAnAddress(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	a, b := n1.addPod(t, "a"), n1.addPod(t, "b")
	awaitMatrix(t, []*pod{a, b}, anyPair)
	n1.create(t, datastore.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c", UID: "uid-c"},
		Spec: corev1.PodSpec{NodeName: "n1"}})
	object, err := n1.store.Get(t.Context(), datastore.Pods, datastore.Key{Namespace: "shop", Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w := cniserver.Workload{Namespace: "shop", Pod: "c", UID: string(object.GetUID()), ContainerID: "c",
		HostIface: derive.HostInterface("shop", "c"), Addrs: a.addrs}
	if _, err := n1.agent.Endpoint(ctx, w.Namespace, w.Pod, w.UID); err != nil {
		t.Fatal(err)
	}
	ns := kerneltest.New(t)
	n1.do(t, func() {
		if _, err := veth.Open().Create(ctx, veth.Pair{Host: w.HostIface, Netns: ns, Pod: "eth0",
			Addrs: w.Addrs}); err != nil {
			t.Error(err)
		}
	})
	if err := n1.agent.Add(ctx, w); err == nil || !strings.Contains(err.Error(), "is that of pod shop/a") {
		t.Errorf("the second pod is added: %v", err)
	}
	if _, err := n1.agent.Status(ctx); err != nil { // the loop has done what the refusal left
		t.Fatal(err)
	}
	awaitMatrix(t, []*pod{a, b}, anyPair)
	n1.do(t, func() {
		route := kerneltest.Run(t, "ip route get "+a.addrs[0].String())
		if !strings.Contains(route, derive.HostInterface("shop", "a")) {
			t.Errorf("the address of a goes to\n%s", route)
		}
		if rules := kerneltest.Run(t, "iptables-save"); strings.Contains(rules, w.HostIface) {
			t.Errorf("there are rules for the pod that was refused:\n%s", rules)
		}
	})
}
