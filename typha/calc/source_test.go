package calc_test

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestAllowedSources: a pod's annotation, or the field of a WorkloadEndpoint, lists networks; one of which a part
// cannot be read lists none, and somebody is told. A Namespace's annotation does not count.
func TestAllowedSources(t *testing.T) {
	both := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd00::1/128")}
	const annotation = "cni.projectcalico.org/allowedSourcePrefixes"
	for _, test := range []struct {
		text string
		want []netip.Prefix
		told bool
	}{
		{`["10.9.8.7/16","fd00::1"]`, both, false},
		{`[]`, nil, false},
		{`["10.9.8.7/16","10.9"]`, nil, true},
		{`10.9.0.0/16`, nil, true},
		{``, nil, false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p",
			Annotations: map[string]string{annotation: test.text}}, Spec: corev1.PodSpec{NodeName: "n1"}}
		w, problems := compute(t, pod)
		e := w.objects[wire.ID{Kind: wire.KindEndpoint, Name: "a/p"}].(*wire.Endpoint)
		told := slices.ContainsFunc(problems, func(v calc.Problem) bool { return v.Kind == calc.KindPod })
		if !slices.Equal(e.AllowedSources, test.want) || told != test.told {
			t.Errorf("%s: allowed are %v, told %v: %v", test.text, e.AllowedSources, told, problems)
		}
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a",
		Annotations: map[string]string{annotation: `["10.9.0.0/16"]`}}}
	w, _ := compute(t, ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"},
		Spec: corev1.PodSpec{NodeName: "n1"}})
	if e := w.objects[wire.ID{Kind: wire.KindEndpoint, Name: "a/p"}].(*wire.Endpoint); len(e.AllowedSources) > 0 {
		t.Errorf("a Namespace allows %v", e.AllowedSources)
	}
	for second, want := range map[string][]netip.Prefix{"fd00::1": both, "10.9": nil} {
		w, problems := compute(t, &v3.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "w"},
			Spec: v3.WorkloadEndpointSpec{Node: "n1", InterfaceName: "cali1",
				AllowSpoofedSourcePrefixes: []string{"10.9.8.7/16", second}}})
		e := w.objects[wire.ID{Kind: wire.KindEndpoint, Name: "a/w"}].(*wire.Endpoint)
		if !slices.Equal(e.AllowedSources, want) || (want == nil) != (len(problems) > 0) {
			t.Errorf("with %s: allowed are %v, told %v", second, e.AllowedSources, problems)
		}
	}
}
