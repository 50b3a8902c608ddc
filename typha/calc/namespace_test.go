package calc_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

func labelledNamespace(name string, labels, annotations map[string]string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: meta(name)}
	ns.Labels, ns.Annotations = labels, annotations
	return ns
}

func podOn(node, ns, name string, annotations map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{NodeName: node}}
	pod.Namespace, pod.Annotations = ns, annotations
	return pod
}

func endpointIn(t *testing.T, w *world, name string) *wire.Endpoint {
	t.Helper()
	e, err := get[*wire.Endpoint](w, "n1", wire.ID{Kind: wire.KindEndpoint, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestNamespaceLabelsFollowTheNamespace: a node knows the labels of a pod's namespace while a pool selects by them.
func TestNamespaceLabelsFollowTheNamespace(t *testing.T) {
	e, w := calc.New(), newWorld()
	flush := func() *wire.Endpoint {
		t.Helper()
		w.apply(t, e.Flush())
		return endpointIn(t, w, "shop/web")
	}
	pool := func(selector string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: meta("p"), Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16", NamespaceSelector: selector}}
	}
	e.Upsert(newNode("n1", "172.30.0.1", nil))
	e.Upsert(podOn("n1", "shop", "web", nil))
	e.Upsert(labelledNamespace("shop", map[string]string{"team": "blue"}, nil))
	for _, selector := range []string{"", "all()"} {
		e.Upsert(pool(selector))
		if got := flush().NamespaceLabels; got != nil {
			t.Errorf("selector %q: the node is told the labels %v, which no pool needs", selector, got)
		}
	}
	e.Upsert(pool("team == 'blue'"))
	if got := flush().NamespaceLabels; got["team"] != "blue" {
		t.Errorf("labels %v", got)
	}
	e.Upsert(labelledNamespace("shop", map[string]string{"team": "red"}, nil))
	if got := flush().NamespaceLabels; got["team"] != "red" {
		t.Errorf("labels %v of a namespace that was labelled again", got)
	}
	e.Delete(calc.KindNamespace, "", "shop")
	if got := flush().NamespaceLabels; got != nil {
		t.Errorf("labels %v of a namespace that is gone", got)
	}
	e.Upsert(labelledNamespace("shop", map[string]string{"team": "blue"}, nil))
	e.Delete(calc.KindIPPool, "", "p")
	if got := flush().NamespaceLabels; got != nil {
		t.Errorf("labels %v while no pool selects by labels", got)
	}
}

// TestAnnotationsOfNamespaces: those that name pools are for all pods that have none of their own. Addresses belong to
// a single pod, so those of a namespace are nobody's.
func TestAnnotationsOfNamespaces(t *testing.T) {
	ofNamespace := map[string]string{wire.AnnotationAddrs: `["10.0.0.7"]`, wire.AnnotationPool4: `["a"]`,
		wire.AnnotationPool6: `["b"]`}
	w, _ := compute(t, newNode("n1", "172.30.0.1", nil), labelledNamespace("shop", nil, ofNamespace),
		podOn("n1", "shop", "plain", nil),
		podOn("n1", "shop", "own", map[string]string{wire.AnnotationAddrs: `["10.0.0.8"]`,
			wire.AnnotationPool4: `["c"]`}),
		podOn("n1", "shop", "empty", map[string]string{wire.AnnotationAddrs: "", wire.AnnotationPool4: ""}))
	for name, want := range map[string]map[string]string{
		"shop/plain": {wire.AnnotationPool4: `["a"]`, wire.AnnotationPool6: `["b"]`},
		"shop/own": {wire.AnnotationAddrs: `["10.0.0.8"]`, wire.AnnotationPool4: `["c"]`,
			wire.AnnotationPool6: `["b"]`},
		"shop/empty": {wire.AnnotationPool4: `["a"]`, wire.AnnotationPool6: `["b"]`},
	} {
		if got := endpointIn(t, w, name).Annotations; !maps.Equal(got, want) {
			t.Errorf("%s: annotations %v, want %v", name, got, want)
		}
	}
}
