package calicoctl

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
)

// What a Node is given and Kubernetes decides is not left out in silence; the rest is stored without a word.
func TestWhatKubernetesDecidesOfANode(t *testing.T) {
	b := newBench(t)
	n1 := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if _, err := b.store.Create(t.Context(), datastore.Nodes, n1); err != nil {
		t.Fatal(err)
	}
	const node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1, labels: {rack: 1}"
	for _, test := range []struct{ line, input, want string }{
		{"apply -f -", node + "}\nspec: {bgp: {ipv4Address: 192.0.2.1/24}}\n", ""},
		{"label node n1 row=2", "", ""},
		{"apply -f -", node + ", annotations: {a: b}}\nspec: {bgp: {ipv4Address: 192.0.2.1/24}}\n",
			"metadata.annotations: is left out"},
		{"apply -f -", node + "}\nspec: {addresses: [{address: 192.0.2.9, type: InternalIP}]}\n",
			"spec.addresses: is left out"},
		{"apply -f -", node + "}\nspec: {orchRefs: [{nodeName: other, orchestrator: k8s}]}\n",
			"spec.orchRefs: is left out"},
		{"label node n1 kubernetes.io/arch=mine", "", "metadata.labels.kubernetes.io/arch: is left out"},
	} {
		_, errs, code := b.run(test.line, test.input)
		if code != 0 || !strings.Contains(errs, test.want) || (errs == "") != (test.want == "") {
			t.Errorf("%s %s: exit code %d: %q, want %q", test.line, test.input, code, errs, test.want)
		}
	}
	out, _, _ := b.run("get node n1 -o yaml", "")
	if _, errs, code := b.run("apply -f -", out); code != 0 || errs != "" {
		t.Errorf("what was read is applied: exit code %d: %s", code, errs)
	}
}
