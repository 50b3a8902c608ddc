package hostendpoint

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
)

func node(name, rack string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": rack},
			Annotations: map[string]string{
				v3.NodeIPv4Address: "192.0.2.1/24", v3.NodeIPv4VXLANTunnelAddr: "10.244.0.1"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::1"},
			{Type: corev1.NodeExternalIP, Address: "203.0.113.1"}, {Type: corev1.NodeHostName, Address: name}}},
	}
}

func TestWanted(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: `[{metadata: {name: n1-auto-hep, labels: {rack: a, projectcalico.org/created-by: calico-kube-controllers}},
			spec: {node: n1, interfaceName: "*", expectedIPs: [192.0.2.1, 10.244.0.1, "2001:db8::1"], profiles: [projectcalico-default-allow]}}]`,
		`{createDefaultHostEndpoint: Disabled}`: `[]`,
		`{createDefaultHostEndpoint: Disabled, templates: [
			{generateName: inner, interfaceCIDRs: [10.0.0.0/8, "2001:db8::/32"], nodeSelector: "rack == 'a'", labels: {rack: b, x: y}, annotations: {c: d}},
			{generateName: other, interfaceCIDRs: [10.0.0.0/8], nodeSelector: "rack == 'b'"},
			{generateName: none, interfaceCIDRs: [172.16.0.0/12]}, {generateName: broken, interfaceCIDRs: [10.0.0.0/8], nodeSelector: "("}]}`: `[{metadata: {name: n1-inner-auto-hep, annotations: {c: d}, labels: {rack: b, x: y, projectcalico.org/created-by: calico-kube-controllers}},
			spec: {node: n1, expectedIPs: [10.244.0.1, "2001:db8::1"], profiles: [projectcalico-default-allow]}}]`,
	} {
		var c v3.AutoHostEndpointConfig
		var wanted []*v3.HostEndpoint
		if err := yaml.UnmarshalStrict([]byte(config), &c); err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict([]byte(want), &wanted); err != nil {
			t.Fatal(err)
		}
		got := Wanted(&c, node("n1", "a"))
		if len(got)+len(wanted) > 0 {
			if diff := cmp.Diff(wanted, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", config, diff)
			}
		}
	}
}

func TestReconcile(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v3.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	foreign := &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "mine"},
		Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth9"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(node("n1", "a"), node("n2", "a"), foreign).Build()
	config := &runconfig.Node{}
	names := func() []string {
		t.Helper()
		if _, err := New(c, func() *runconfig.Node { return config },
			slog.New(slog.DiscardHandler)).Reconcile(t.Context(), reconcile.Request{}); err != nil {
			t.Fatal(err)
		}
		var list v3.HostEndpointList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, h := range list.Items {
			all = append(all, h.Name+" "+h.ResourceVersion+" "+h.Labels["rack"])
		}
		return all
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, names()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("nobody asks", "mine 999 ")
	config.HostEndpoint.AutoCreate = "Enabled"
	expect("two nodes", "mine 999 ", "n1-auto-hep 1 a", "n2-auto-hep 1 a")
	expect("nothing new", "mine 999 ", "n1-auto-hep 1 a", "n2-auto-hep 1 a")
	do(c.Delete(t.Context(), node("n2", "a")))
	var n1 corev1.Node
	do(c.Get(t.Context(), client.ObjectKey{Name: "n1"}, &n1))
	n1.Labels["rack"] = "b"
	do(c.Update(t.Context(), &n1))
	expect("a node gone, one changed", "mine 999 ", "n1-auto-hep 2 b")
	asking := config
	config = nil
	expect("the controller does not run", "mine 999 ", "n1-auto-hep 2 b")
	config = asking
	config.HostEndpoint.AutoCreate = "Disabled"
	expect("switched off", "mine 999 ")
}
