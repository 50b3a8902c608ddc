package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
)

// asked is how often API servers have asked a webhook.
func (w *world) asked(t testing.TB, path string) int {
	t.Helper()
	_, body := w.get(t, "/metrics")
	counter := regexp.MustCompile(`controller_runtime_webhook_requests_total\{code="200",webhook="` + path +
		`"\} (\d+)`)
	found := counter.FindStringSubmatch(body)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// policy is one with a rule, complete or with nothing that can be left out.
func policy(complete bool, rule v3.Rule) *v3.NetworkPolicy {
	p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"},
		Spec: v3.NetworkPolicySpec{Selector: "app == 'web'", Ingress: []v3.Rule{rule}}}
	if complete {
		p.Labels = map[string]string{v3.TierLabel: "default"}
		p.Spec.Tier, p.Spec.Types = "default", []v3.PolicyType{v3.PolicyTypeIngress}
	}
	return p
}

// completesAlone waits until the API server knows the MutatingAdmissionPolicy, which it learns of some time after it
// was made. Until then it asks the webhook what policies lack.
func (w *world) completesAlone(t *testing.T) {
	eventually(t, "policies that the API server completes by itself", func() error {
		before := w.asked(t, "/default")
		if err := w.client.Create(t.Context(), policy(false, v3.Rule{Action: v3.Allow}), client.DryRunAll); err != nil {
			return err
		}
		if w.asked(t, "/default") > before {
			return errors.New("the webhook was asked")
		}
		return nil
	})
}

// plainPolicies: nobody is asked whether most policies are right, and somebody is whether the others are.
func (w *world) plainPolicies(t *testing.T) {
	tcp, number := intstr.FromString("TCP"), intstr.FromInt32(6)
	port, named := intstr.FromInt32(8080), intstr.FromString("http")
	const many = 20
	w.completesAlone(t)
	for name, c := range map[string]struct {
		rule  v3.Rule
		asked bool
	}{
		"empty": {v3.Rule{Action: v3.Allow}, false},
		"ports and a selector": {v3.Rule{Action: v3.Allow, Protocol: &tcp,
			Source:      v3.EntityRule{Selector: `role in {'db', "cache"} && !has(old)`},
			Destination: v3.EntityRule{Ports: []intstr.IntOrString{port}}}, false},
		"networks and a namespace": {v3.Rule{Action: v3.Deny,
			Source: v3.EntityRule{Nets: []string{"10.0.0.0/8", "192.0.2.1/32"},
				NamespaceSelector: "kubernetes.io/metadata.name == 'shop'"}}, false},
		"protocol by number": {v3.Rule{Action: v3.Allow, Protocol: &number}, true},
		"port by name": {v3.Rule{Action: v3.Allow, Protocol: &tcp,
			Destination: v3.EntityRule{Ports: []intstr.IntOrString{named}}}, true},
		"selector in parentheses": {v3.Rule{Action: v3.Allow, Source: v3.EntityRule{Selector: "(a == 'b')"}}, true},
		"IPv6":                    {v3.Rule{Action: v3.Allow, Source: v3.EntityRule{Nets: []string{"fd00::/8"}}}, true},
		"annotations": {v3.Rule{Action: v3.Allow,
			Metadata: &v3.RuleMetadata{Annotations: map[string]string{"a": "b"}}}, true},
		"service account": {v3.Rule{Action: v3.Allow, Source: v3.EntityRule{
			ServiceAccounts: &v3.ServiceAccountMatch{Names: []string{"x"}}}}, true},
	} {
		before, completed := w.asked(t, "/validate"), w.asked(t, "/default")
		for n := range many {
			if err := w.client.Create(t.Context(), policy(n%2 == 0, c.rule), client.DryRunAll); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := w.asked(t, "/validate") - before; (n >= many) != c.asked { // others may have asked meanwhile
			t.Errorf("%s: %d of %d were asked about, want all: %t", name, n, many, c.asked)
		}
		if n := w.asked(t, "/default") - completed; n > 0 {
			t.Errorf("%s: %d policies were completed by the webhook", name, n)
		}
	}
}

// largestPlain: looking at the largest policy that counts as plain costs API servers less than they allow, and one
// more character that is wrong at its end is found.
func (w *world) largestPlain(t *testing.T) {
	tcp := intstr.FromString("TCP")
	long := "a == '" + strings.Repeat("x", 248) + "'"
	end := v3.EntityRule{Selector: long, NotSelector: long, NamespaceSelector: long}
	for n := range 8 {
		end.Nets = append(end.Nets, fmt.Sprintf("10.%d.0.0/16", n))
	}
	for n := range 15 {
		end.Ports = append(end.Ports, intstr.FromInt32(int32(n+1)))
	}
	p := policy(true, v3.Rule{})
	p.Spec.Types, p.Spec.Selector = append(p.Spec.Types, v3.PolicyTypeEgress), long
	p.Spec.Ingress = slices.Repeat([]v3.Rule{{Action: v3.Allow, Protocol: &tcp, Source: end, Destination: end}}, 10)
	p.Spec.Egress = slices.Clone(p.Spec.Ingress)
	const many = 20
	before := w.asked(t, "/validate")
	for range many {
		if err := w.client.Create(t.Context(), p.DeepCopy(), client.DryRunAll); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.asked(t, "/validate") - before; n >= many {
		t.Errorf("the webhook was asked %d times", n)
	}
	p.Spec.Egress[9].Destination.NamespaceSelector = long[:len(long)-1]
	err := w.client.Create(t.Context(), p, client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), "spec.egress[9].destination.namespaceSelector") {
		t.Errorf("a mistake at the end: %v", err)
	}
}

// nearlyPlain: policies that look plain, of which about half have something wrong, are judged as the library judges
// them.
func (w *world) nearlyPlain(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	selector := func() string {
		var b strings.Builder
		for range r.IntN(4) {
			b.WriteString(one("a", "b/c", "has(x)", "!", " ", "==", " in ", " not in ", "'v'", `"v"`, "{'x', 'y'}",
				"{", "}", "&&", "||", "all()", "global()", "(", "'global('"))
		}
		return one("", "all()", "a == 'b'", "a != 'b' || has(c)", "!has(a)&&b in {'c'}", "a notin {'b'}", "a in {}",
			"global()", b.String(), "a =='b'"+b.String())
	}
	nets := func() (list []string) {
		for _, net := range []string{"10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.01/32", "0.0.0.0/0", "10.0.0.1",
			"1.2.3/8", "fd00::/8", "10.0.0.0/08"} {
			if r.IntN(12) == 0 {
				list = append(list, net)
			}
		}
		return list
	}
	ports := func() (list []intstr.IntOrString) {
		for _, port := range []intstr.IntOrString{
			intstr.FromInt32(80), intstr.FromInt32(0), intstr.FromInt32(65535), intstr.FromInt32(65536),
			intstr.FromString("80:90"), intstr.FromString("90:80"), intstr.FromString("http")} {
			if r.IntN(10) == 0 {
				list = append(list, port)
			}
		}
		return list
	}
	end := func() v3.EntityRule {
		return v3.EntityRule{Selector: selector(), NotSelector: one("", "", selector()),
			NamespaceSelector: one("", "", selector()), Nets: nets(), Ports: ports()}
	}
	verdicts := map[bool]int{}
	for range 400 {
		p := policy(r.IntN(2) == 0, v3.Rule{Action: v3.Action(one("Allow", "Deny", "Log", "Pass"))})
		rule := &p.Spec.Ingress[0]
		p.Spec.Selector, p.Spec.Tier = selector(), one("default", "default", "ops", "Ops", "ops.x")
		if r.IntN(2) == 0 {
			rule.Source = end()
		} else {
			rule.Destination = end()
		}
		if text := one("", "TCP", "TCP", "UDP", "ICMP", "tcp", "6"); text != "" {
			protocol := intstr.FromString(text)
			rule.Protocol = &protocol
		}
		p.Name = "p" // the library wants one
		refused := validate.Object(p)
		err := w.client.Create(t.Context(), p, client.DryRunAll)
		if (err != nil) != (len(refused) > 0) {
			t.Errorf("seed %d: the API server says %v, the library %v of\n%+v", seed, err, refused, p.Spec)
		}
		verdicts[err == nil]++
	}
	if verdicts[true] < 20 || verdicts[false] < 20 {
		t.Errorf("seed %d: verdicts %v prove little", seed, verdicts)
	}
	t.Logf("seed %d: %d accepted, %d refused", seed, verdicts[true], verdicts[false])
}
