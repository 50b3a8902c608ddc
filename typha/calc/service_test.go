package calc_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// endpoints is a slice of the Service ns/shop with so many addresses and ports.
func endpoints(name string, addresses, ports int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "shop"}}}
	address := netip.MustParseAddr("10.0.0.1")
	for range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address.String()}})
		address = address.Next()
	}
	for n := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Port: pointer(int32(n + 1))})
	}
	return s
}

// TestServiceOfEnormousSize: slices of legal sizes that name hundreds of millions of addresses with ports have no
// members and say so, in whatever order they come, and the others have theirs again when the last of these is gone.
func TestServiceOfEnormousSize(t *testing.T) {
	rule := v3.Rule{Action: v3.Allow, Destination: v3.EntityRule{Services: &v3.ServiceMatch{Name: "shop"}}}
	policy := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"},
		Spec: v3.NetworkPolicySpec{Egress: []v3.Rule{rule}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "n1"}}
	small, large := endpoints("small", 2, 3), endpoints("large", 20_000, 20_000)
	for name, order := range map[string][]*discoveryv1.EndpointSlice{
		"the large one first": {large, small}, "the large one last": {small, large}} {
		t.Run(name, func(t *testing.T) {
			e, w, reasons := calc.New(), newWorld(), map[string]string{}
			check := func(step string, members int, unusable ...string) {
				t.Helper()
				d := e.Flush()
				w.apply(t, d)
				for _, v := range d.Problems {
					reasons[v.Name] = v.Reason
					if v.Reason == "" {
						delete(reasons, v.Name)
					}
				}
				got := 0
				for _, o := range w.objects {
					if set, ok := o.(*wire.IPSet); ok {
						got += len(set.Ports)
					}
				}
				if got != members {
					t.Errorf("%s: the set has %d members, want %d", step, got, members)
				}
				var said []string
				for name, reason := range reasons {
					said = append(said, name)
					if !strings.Contains(reason, "more than 131072") {
						t.Errorf("%s: %s: %s", step, name, reason)
					}
				}
				slices.Sort(said)
				if diff := cmp.Diff(unusable, said); diff != "" {
					t.Errorf("%s: slices that cannot be used (-want +got):\n%s", step, diff)
				}
			}
			for _, o := range []metav1.Object{newNode("n1", "172.30.0.1", nil), pod, policy} {
				e.Upsert(o)
			}
			for _, s := range order {
				e.Upsert(s)
			}
			check("both", 0, "large", "p", "small")
			e.Upsert(endpoints("large", 1, 4))
			check("made small", 7) // three of them are in both
			e.Upsert(large)
			check("made large again", 0, "large", "p", "small")
			e.Delete(calc.KindEndpointSlice, "ns", "large")
			check("deleted", 6)
			e.Upsert(large)
			of := endpoints("large", 1, 1)
			of.Labels = nil
			e.Upsert(of)
			check("of no Service", 6)
		})
	}
}

// TestReasonsAreShort: what is said of an object in which everything is wrong is short.
func TestReasonsAreShort(t *testing.T) {
	set := &v3.GlobalNetworkSet{ObjectMeta: metav1.ObjectMeta{Name: "set"}}
	policy := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "policy"}}
	for n := range 100_000 {
		set.Spec.Nets = append(set.Spec.Nets, "wrong")
		if n < 1000 {
			policy.Spec.Ingress = append(policy.Spec.Ingress,
				v3.Rule{Action: "wrong", Source: v3.EntityRule{Nets: []string{"wrong", "too"}}})
		}
	}
	for _, o := range []metav1.Object{set, policy} {
		e := calc.New()
		e.Upsert(o)
		for _, v := range e.Flush().Problems {
			if v.Reason == "" || len(v.Reason) > 5000 || !strings.HasSuffix(v.Reason, "; and more") {
				t.Errorf("%s: a reason of %d characters: %.200s", v.Name, len(v.Reason), v.Reason)
			}
		}
	}
}

// BenchmarkRelabel changes a label of a service account with 2,000 pods that are all different, among 1,000
// selectors. One with the most labels that an object can have should take no longer than it takes to read them.
func BenchmarkRelabel(b *testing.B) {
	e := calc.New()
	e.Upsert(newNode("n1", "172.30.0.1", nil))
	for n := range 2000 {
		labels := map[string]string{"app": fmt.Sprint(n)}
		e.Upsert(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("p", n), Labels: labels},
			Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa"}})
	}
	for n := range 1000 {
		from := v3.EntityRule{Selector: fmt.Sprintf("other%d == 'x'", n)}
		e.Upsert(&v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("np", n)},
			Spec: v3.NetworkPolicySpec{Selector: fmt.Sprintf("app == '%d'", n),
				Ingress: []v3.Rule{{Action: v3.Allow, Source: from}}}})
	}
	for _, many := range []int{2, 20_000} {
		b.Run(fmt.Sprint(many, " labels"), func(b *testing.B) {
			account := &corev1.ServiceAccount{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", Labels: map[string]string{}}}
			for n := range many {
				account.Labels[fmt.Sprint("label", n)] = "x"
			}
			for n := 0; b.Loop(); n++ {
				account.Labels["label0"] = fmt.Sprint(n)
				e.Upsert(account)
				e.Flush()
			}
		})
	}
}
