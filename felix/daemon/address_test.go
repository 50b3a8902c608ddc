package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestAddressOfUser: the address that a user wrote for a node is the next hop of the other nodes and the end of its
// tunnels, in place of the InternalIP, and it stays written. Without it the InternalIP is used again.
func TestAddressOfUser(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n2 := l.addNode(t, "n2", "lan0", "172.30.0.12", "fd00:30::12")
	n3 := l.addNode(t, "n3", "lan1", "172.31.0.13", "fd00:31::13")
	pods := []*pod{n1.addPod(t, "a"), n2.addPod(t, "b"), n3.addPod(t, "c")}
	awaitMatrix(t, pods, anyPair)
	n1.do(t, func() { kerneltest.Run(t, "ip addr add 172.30.0.111/24 dev eth0") })
	annotate := func(value string) {
		t.Helper()
		_, err := datastore.Modify(t.Context(), l.store, datastore.Nodes, datastore.Key{Name: "n1"},
			func(n *corev1.Node) error {
				metav1.SetMetaDataAnnotation(&n.ObjectMeta, v3.NodeIPv4Address, value)
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	// used returns an error until the nodes use an address of n1 and the Node has it.
	used := func(addr string) error {
		var route, peers, tunnel string
		n2.do(t, func() { route = kerneltest.Run(t, "ip route get "+pods[0].addrs[0].String()) })
		n3.do(t, func() { peers = kerneltest.Run(t, "bridge fdb show") })
		n1.do(t, func() { tunnel = kerneltest.Run(t, "ip -d link show type vxlan") })
		var wrong []error
		for want, text := range map[string]string{"via ": route, "dst ": peers, "local ": tunnel} {
			if !strings.Contains(text, want+addr+" ") {
				wrong = append(wrong, fmt.Errorf("want %s%s: %s", want, addr, text))
			}
		}
		n, err := datastore.Get[*corev1.Node](t.Context(), l.store, datastore.Nodes, datastore.Key{Name: "n1"})
		if err == nil && n.Annotations[v3.NodeIPv4Address] != addr+"/24" {
			err = fmt.Errorf("the Node has %s", n.Annotations[v3.NodeIPv4Address])
		}
		return errors.Join(append(wrong, err)...)
	}
	eventually(t, func() error { return used("172.30.0.11") })
	annotate("172.30.0.111/24")
	eventually(t, func() error { return used("172.30.0.111") })
	awaitMatrix(t, pods, anyPair)
	n1.stop()
	n1.start(t)
	eventually(t, func() error { return used("172.30.0.111") })
	awaitMatrix(t, pods, anyPair)

	annotate("172.30.0.300/24")
	eventually(t, func() error { return used("172.30.0.11") })
	status, err := n1.agent.Status(t.Context())
	if err != nil || !strings.Contains(strings.Join(status.Notices, "\n"), `"172.30.0.300/24" is not an IPv4 address`) {
		t.Errorf("of an address that cannot be read: %v, %v", status.Notices, err)
	}
	awaitMatrix(t, pods, anyPair)
}
