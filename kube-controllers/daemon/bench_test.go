package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/bench"
)

// spared is a namespace, and the label of it, whose policies nothing of the chart looks at.
const spared = "spared"

// BenchmarkPolicies compares the time to create a policy with that in a namespace whose policies neither webhooks nor
// admission policies look at. The policies leave out what can be left out. Last, the webhooks are asked about every
// policy.
func BenchmarkPolicies(b *testing.B) {
	w := start(b)
	eventually(b, "ready", func() error {
		if code, body := w.get(b, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	w.reroute(b)
	w.create(b, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spared,
		Labels: map[string]string{spared: "yes"}}})
	w.spare(b, false)
	port, named := intstr.FromInt32(8080), intstr.FromString("http")
	w.comparePolicies(b, "plain", port)
	w.comparePolicies(b, "not plain", named)
	w.spare(b, true)
	w.comparePolicies(b, "all asked about", port)
}

// spare has API servers look at no policy of one namespace, and, if it is to be so, ask the webhooks about all others.
func (w *world) spare(b *testing.B, ask bool) {
	others := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: spared, Operator: metav1.LabelSelectorOpDoesNotExist}}}
	var validating registration.ValidatingWebhookConfiguration
	var mutating registration.MutatingWebhookConfiguration
	var policies registration.ValidatingAdmissionPolicyBindingList
	var completing registration.MutatingAdmissionPolicyBindingList
	key := client.ObjectKey{Name: "maneki"}
	errs := []error{w.client.Get(b.Context(), key, &validating), w.client.Get(b.Context(), key, &mutating),
		w.client.List(b.Context(), &policies), w.client.List(b.Context(), &completing)}
	for i := range validating.Webhooks {
		webhook := &validating.Webhooks[i]
		webhook.NamespaceSelector = others
		if ask {
			webhook.MatchConditions = nil
		}
	}
	for i := range mutating.Webhooks {
		webhook := &mutating.Webhooks[i]
		webhook.NamespaceSelector = others
		if ask {
			webhook.MatchConditions = nil
		}
	}
	errs = append(errs, w.client.Update(b.Context(), &validating), w.client.Update(b.Context(), &mutating))
	for i := range policies.Items {
		binding := &policies.Items[i]
		binding.Spec.MatchResources = &registration.MatchResources{NamespaceSelector: others}
		errs = append(errs, w.client.Update(b.Context(), binding))
	}
	for i := range completing.Items {
		binding := &completing.Items[i]
		binding.Spec.MatchResources = &registration.MatchResources{NamespaceSelector: others}
		if ask {
			errs = append(errs, w.client.Delete(b.Context(), binding))
		} else {
			errs = append(errs, w.client.Update(b.Context(), binding))
		}
	}
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	eventually(b, "policies that nobody looks at", func() error {
		p := w.policyFor(spared, intstr.FromInt32(8080))
		if err := w.client.Create(b.Context(), p, client.DryRunAll); err != nil {
			return err
		}
		if len(p.Labels) > 0 {
			return fmt.Errorf("labels %v", p.Labels)
		}
		return nil
	})
}

func (w *world) policyFor(namespace string, port intstr.IntOrString) *v3.NetworkPolicy {
	tcp := intstr.FromString("TCP")
	p := policy(false, v3.Rule{Action: v3.Allow, Protocol: &tcp, Source: v3.EntityRule{Selector: "role == 'client'"},
		Destination: v3.EntityRule{Ports: []intstr.IntOrString{port}}})
	p.Namespace = namespace
	return p
}

func (w *world) comparePolicies(b *testing.B, name string, port intstr.IntOrString) {
	const many = 100
	in := func(namespace string) bench.Subject {
		return bench.Subject{Name: "namespace " + namespace,
			Prepare: func(ctx context.Context) error {
				return w.client.DeleteAllOf(ctx, &v3.NetworkPolicy{}, client.InNamespace(namespace))
			},
			Run: func(ctx context.Context) error {
				var errs []error
				for range many {
					errs = append(errs, w.client.Create(ctx, w.policyFor(namespace, port)))
				}
				return errors.Join(errs...)
			}}
	}
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			before := w.asked(b, "/validate") + w.asked(b, "/default")
			result, err := bench.Measure(b.Context(), bench.Pair{
				Name: fmt.Sprintf("each of %d policies", many), Operations: many,
				Baseline: in(spared), Candidate: in("default")}, 15)
			if err != nil {
				b.Fatal(err)
			}
			result.Print(b.Output())
			b.ReportMetric(result.Ratio, "ratio")
			b.ReportMetric(float64(w.asked(b, "/validate")+w.asked(b, "/default")-before)/(16*many), "calls/policy")
		}
	})
}
