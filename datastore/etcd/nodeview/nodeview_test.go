package nodeview_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd/nodeview"
	"github.com/maneki-net/maneki/datastore/memory"
)

func TestView(t *testing.T) {
	s := memory.New()
	asn := uint32(64512)
	node := &v3.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"rack": "a"},
			Annotations: map[string]string{"kept": "1"}},
		Spec: v3.NodeSpec{
			BGP: &v3.NodeBGPSpec{ASNumber: &asn, IPv4Address: "192.0.2.1/24",
				RouteReflectorClusterID: "10.0.0.1"},
			Addresses: []v3.NodeAddress{{Address: "2001:db8::1/64", Type: "InternalIP"},
				{Address: "203.0.113.1", Type: "ExternalIP"}},
			OrchRefs:  []v3.OrchRef{{NodeName: "vm-7", Orchestrator: "openstack"}},
			Wireguard: &v3.NodeWireguardSpec{InterfaceIPv4Address: "10.9.0.1"},
		},
		Status: v3.NodeStatus{WireguardPublicKey: "key", PodCIDRs: []string{"10.1.0.0/24"}},
	}
	made, err := s.Create(t.Context(), datastore.CalicoNodes, node)
	if err != nil {
		t.Fatal(err)
	}
	view := nodeview.New(s)
	key := datastore.Key{Name: "n1"}
	got, err := datastore.Get[*corev1.Node](t.Context(), view, datastore.Nodes, key)
	if err != nil {
		t.Fatal(err)
	}
	want := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"},
		{Type: corev1.NodeInternalIP, Address: "2001:db8::1"}}
	if diff := cmp.Diff(want, got.Status.Addresses); diff != "" || got.Labels["rack"] != "a" ||
		got.Annotations[v3.NodeIPv4Address] != "192.0.2.1/24" {
		t.Errorf("the view is %+v\n%s", got, diff)
	}
	if _, err := datastore.Modify(t.Context(), view, datastore.Nodes, key, func(n *corev1.Node) error {
		n.Annotations[v3.NodeIPv4Address] = "192.0.2.2/24"
		n.Annotations[v3.NodeIPv4VXLANTunnelAddr] = "10.244.0.1"
		n.Annotations[v3.NodeVXLANTunnelMACAddr] = "66:00:00:00:00:01"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	changed, err := datastore.Get[*v3.Node](t.Context(), s, datastore.CalicoNodes, key)
	if err != nil {
		t.Fatal(err)
	}
	expected := made.(*v3.Node).DeepCopy()
	expected.Spec.BGP.IPv4Address = "192.0.2.2/24"
	expected.Spec.IPv4VXLANTunnelAddr, expected.Spec.VXLANTunnelMACAddr = "10.244.0.1", "66:00:00:00:00:01"
	expected.ResourceVersion, expected.Generation = changed.ResourceVersion, changed.Generation
	if diff := cmp.Diff(expected, changed); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if _, err := view.Update(t.Context(), datastore.Nodes, got); !errors.Is(err, datastore.ErrConflict) {
		t.Errorf("an update of what was read before gives %v, want ErrConflict", err)
	}
	if _, err := view.Get(t.Context(), datastore.Nodes, datastore.Key{Name: "n2"}); !errors.Is(err,
		datastore.ErrNotFound) {
		t.Errorf("a missing node gives %v", err)
	}
}
