package calc_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
)

// BenchmarkPodUpdate relabels one pod among 10,000 policies of one namespace, each of which selects by a label value of
// its own: the cost has to be that of the two policies concerned.
func BenchmarkPodUpdate(b *testing.B) {
	e := calc.New()
	pod := func(app int) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": fmt.Sprint(app)}}}
		p.Spec.NodeName, p.Status.PodIPs = "n1", []corev1.PodIP{{IP: "10.0.0.1"}}
		return p
	}
	for i := range 10_000 {
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("np", i)}}
		labels := map[string]string{"app": fmt.Sprint(i)}
		np.Spec.PodSelector.MatchLabels = labels
		np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: labels}}}}}
		e.Upsert(np)
	}
	e.Flush()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Upsert(pod(i % 10_000))
		e.Flush()
	}
}
