package typha_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestStoredWithoutJudgement: of what got into a real API server's store behind its back, or under a CRD that is not
// the one we know, a rule that cannot be read denies, the rest of its policy counts, an object that means nothing is
// left out, and a metric counts each.
func TestStoredWithoutJudgement(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	server := apiserver.Start(t)
	store, err := kubernetes.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	create(t, store, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
		Annotations: map[string]string{v3.NodeIPv4Address: "172.30.0.11/24"}}})
	create(t, store, &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n1",
		Labels: map[string]string{"host": "n1"}},
		Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "*"}})
	create(t, store, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "half"}})
	create(t, store, &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "nothing"},
		Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}})
	const object = `{"apiVersion":"projectcalico.org/v3","kind":"%KIND","metadata":{"name":"%NAME"},"spec":%SPEC}`
	for _, o := range []struct{ kind, plural, name, spec string }{
		{"GlobalNetworkPolicy", "globalnetworkpolicies", "half",
			`{"selector":"has(host)","types":["Ingress"],"ingress":[
			{"action":"Deny","protocol":"TCP","destination":{"ports":[{}]}},{"action":"Allow","protocol":"UDP"}]}`},
		{"IPPool", "ippools", "nothing", `7`},
	} {
		server.Overwrite(t, v3.GroupVersion.Group, o.plural, o.name,
			strings.NewReplacer("%KIND", o.kind, "%NAME", o.name, "%SPEC", o.spec).Replace(object))
	}
	server.OfferClusterNetworkPolicies(t)
	create(t, store, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "web"}}}})
	ready, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	for _, err := store.List(ready, datastore.ClusterNetworkPolicies, datastore.ListOptions{}); err != nil; {
		// until the CRD is served
		if ready.Err() != nil {
			t.Fatal(err)
		}
		_, err = store.List(ready, datastore.ClusterNetworkPolicies, datastore.ListOptions{})
	}
	server.Create(t, "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
		`{"apiVersion": "policy.networking.k8s.io/v1alpha2",
		"kind": "ClusterNetworkPolicy", "metadata": {"name": "metadata-service"}, "spec": {"tier": "Admin", "priority": "10",
		"subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": [{"networks": ["169.254.169.254/32"]}]}]}}`)

	registry := prometheus.NewRegistry()
	local := typha.NewLocal(typha.LocalOptions{Store: store, Metrics: hub.NewMetrics(registry)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- local.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	h := held{}
	policies := map[string]*wire.Policy{}
	h.until(t, local.Source("n1"), func() bool {
		for _, o := range h {
			if p, ok := o.(*wire.Policy); ok {
				policies[p.Name[strings.LastIndex(p.Name, "/")+1:]] = p
			}
		}
		return policies["half"] != nil && policies["metadata-service"] != nil
	})
	if r := policies["metadata-service"].Egress; len(r) != 1 || r[0].Action != wire.Deny || len(r[0].Dst.Nets) != 1 {
		t.Errorf("the rules of the ClusterNetworkPolicy are %+v, want the one that denies", r)
	}
	if r := policies["half"].Ingress; len(r) != 2 || r[0].Action != wire.Deny || r[1].Action != wire.Allow ||
		r[1].Protocol != 17 {
		t.Errorf("the policy's rules are %+v, want one that denies and the one that was right", r)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	unusable := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "typha_resource_unusable" {
				unusable[m.Label[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	for _, kind := range []string{calc.KindGlobalNetworkPolicy, calc.KindIPPool, calc.KindClusterNetworkPolicy} {
		if unusable[kind] != 1 {
			t.Errorf("the metric has %v of %s: %v", unusable[kind], kind, unusable)
		}
	}
}
