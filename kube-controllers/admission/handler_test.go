package admission

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
)

func TestHandle(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pool := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	going := pool("bad", "10.0.0.0")
	going.DeletionTimestamp = &metav1.Time{}
	going.DeletionTimestamp.Time = metav1.Now().Time
	exists := pool("exists", "10.0.0.0/16")
	tests := map[string]struct {
		object, old any
		kind        string
		want        string // part of the refusal; "" when allowed
	}{
		"sound": {pool("a", "10.1.0.0/16"), nil, "IPPool", ""},
		"malformed": {pool("a", "10.1.0.0"), nil, "IPPool",
			`IPPool.projectcalico.org "a" is invalid: spec.cidr`},
		"overlaps another": {pool("a", "10.0.1.0/24"), nil, "IPPool", "exists"},
		"replaces itself":  {exists, exists, "IPPool", ""},
		"CIDR changed":     {pool("exists", "10.2.0.0/16"), exists, "IPPool", "spec.cidr"},
		"was not readable": {pool("a", "10.1.0.0/16"),
			map[string]any{"metadata": map[string]any{"name": "a"}, "spec": 7}, "IPPool", ""},
		"wrong, but being deleted": {going, pool("bad", "10.0.0.0"), "IPPool", ""},
		"unknown kind":             {pool("a", "10.1.0.0/16"), nil, "Gadget", "Gadget"},
		"not an object":            {"text", nil, "IPPool", "IPPool"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHandler(fake.NewClientBuilder().WithScheme(scheme).WithObjects(exists.DeepCopy()).Build(), nil,
				scheme)
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version,
					Kind: test.kind},
				Name: "a", Operation: admissionv1.Create, Object: encoded(t, test.object),
			}}
			if test.old != nil {
				request.Operation, request.OldObject = admissionv1.Update, encoded(t, test.old)
			}
			response := h.Handle(t.Context(), request)
			switch {
			case test.want == "" && !response.Allowed:
				t.Errorf("refused: %s", response.Result.Message)
			case test.want != "" && (response.Allowed || !strings.Contains(response.Result.Message, test.want)):
				t.Errorf("response %+v, want a refusal with %q", response, test.want)
			}
		})
	}
}

func encoded(t *testing.T, object any) runtime.RawExtension {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: raw}
}

// counting counts what is read of the API.
type counting struct {
	client.Reader
	gets, lists int
}

func (c *counting) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	c.gets++
	return c.Reader.Get(ctx, key, o, opts...)
}

func (c *counting) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	c.lists++
	return c.Reader.List(ctx, list, opts...)
}

// deletion asks for the removal of a tier, of which the API server sends the UID.
func deletion(t *testing.T, name, uid string) admission.Request {
	t.Helper()
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version, Kind: "Tier"},
		Name: name, Operation: admissionv1.Delete,
		OldObject: encoded(t, &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}}),
	}}
}

// tiers gives a handler on a cluster with three tiers, of which one has a policy and one has a staged one. The cache
// does not know the one that has none.
func tiers(t *testing.T) (*handler, *counting) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	policy := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: v3.NetworkPolicySpec{Tier: "ops"}}
	staged := &v3.StagedGlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "tried"},
		Spec: v3.StagedGlobalNetworkPolicySpec{Tier: "trial"}}
	tier := func(name string) *v3.Tier {
		return &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid of " + name)}}
	}
	all := fake.NewClientBuilder().WithScheme(scheme)
	all.WithObjects(policy, staged, tier("ops"), tier("trial"), tier("empty"))
	for _, o := range []client.Object{
		&v3.NetworkPolicy{}, &v3.GlobalNetworkPolicy{}, &v3.StagedNetworkPolicy{}, &v3.StagedGlobalNetworkPolicy{}} {
		all.WithIndex(o, "spec.tier", func(o client.Object) []string {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				t.Fatal(err)
			}
			of, _, _ := unstructured.NestedString(content, "spec", "tier")
			return []string{of}
		})
	}
	live := &counting{Reader: all.Build()}
	cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(tier("ops"), tier("trial")).Build()
	return newHandler(live, cached, scheme), live
}

func TestDeletionOfTiers(t *testing.T) {
	h, _ := tiers(t)
	for name, want := range map[string]string{
		"default": "always exists", "ops": "NetworkPolicy shop/web", "trial": "StagedGlobalNetworkPolicy tried",
		"empty": "",
	} {
		response := h.Handle(t.Context(), deletion(t, name, "uid of "+name))
		if response.Allowed != (want == "") || want != "" && !strings.Contains(response.Result.Message, want) {
			t.Errorf("tier %s: %+v, want %q", name, response, want)
		}
	}
}

// TestForgedDeletions: who does not know a tier's UID has the API asked for nothing but that, and not for long.
func TestForgedDeletions(t *testing.T) {
	h, live := tiers(t)
	refused := 0
	for range 1000 {
		for _, name := range []string{"ops", "default", "none"} {
			response := h.Handle(t.Context(), deletion(t, name, "?"))
			if !response.Allowed && response.Result.Code == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	if live.lists != 0 || live.gets > 5*unknownBurst || refused == 0 {
		t.Errorf("%d lists and %d objects were read, %d deletions were refused as too many",
			live.lists, live.gets, refused)
	}
	response := h.Handle(t.Context(), deletion(t, "trial", "uid of trial"))
	if !strings.Contains(response.Result.Message, "StagedGlobalNetworkPolicy tried") {
		t.Errorf("a deletion that an API server asks for meanwhile: %+v", response)
	}
}

func TestDefaulter(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	const label = `{"op":"add","path":"/metadata/labels","value":{"projectcalico.org/tier":"default"}}`
	for given, want := range map[string]string{
		`{"metadata":{"name":"a"},"spec":{"tier":"default","order":1000000,"newer":{"x":1},"egress":[{"action":"Allow"}]}}`: label + ` {"op":"add","path":"/spec/types","value":["Egress"]}`,
		`{"metadata":{"name":"a"}}`: label +
			` {"op":"add","path":"/spec","value":{"tier":"default","types":["Ingress"]}}`,
		`{"metadata":{"name":"a","labels":{"projectcalico.org/tier":"ops"}},"spec":{"tier":"ops","types":["Egress"],"ingress":[{"action":"Allow","source":{}}]}}`: ``,
		`{"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"tier":"ops","types":["Egress"]}}`:                                                                   `{"op":"add","path":"/metadata/labels/projectcalico.org~1tier","value":"ops"}`,
		// validation refuses it
		`{"metadata":{"name":"a"},"spec":{"ingress":"none"}}`: ``,
	} {
		response := defaulter{newHandler(nil, nil, scheme)}.Handle(t.Context(),
			admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version,
					Kind: "NetworkPolicy"},
				Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: []byte(given)},
			}})
		var operations []string
		for _, p := range response.Patches {
			operations = append(operations, p.Json())
		}
		slices.Sort(operations)
		if got := strings.Join(operations, " "); !response.Allowed || got != want {
			t.Errorf("%s\n got %s\nwant %s", given, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v3.NetworkPolicySpec{
		Types: []v3.PolicyType{v3.PolicyTypeIngress}, Egress: []v3.Rule{{Action: v3.Allow}}}}
	response := newHandler(nil, nil, scheme).Handle(t.Context(),
		admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version,
				Kind: "NetworkPolicy"},
			Operation: admissionv1.Create, Object: encoded(t, p),
		}})
	if !response.Allowed || len(response.Warnings) != 1 || !strings.Contains(response.Warnings[0], "spec.egress") {
		t.Errorf("response %+v", response)
	}
}

// TestPolicyThatTyphaWillNotUse: what is too large is let in, since it closes, and its author is told.
func TestPolicyThatTyphaWillNotUse(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	h := newHandler(nil, nil, scheme)
	h.budget = compile.Budget{PolicyRules: 3}
	for rules, warnings := range map[int]int{3: 0, 4: 1} {
		p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n"}, Spec: v3.NetworkPolicySpec{
			Types: []v3.PolicyType{v3.PolicyTypeEgress}, Egress: slices.Repeat([]v3.Rule{{Action: v3.Allow}}, rules)}}
		response := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version,
				Kind: "NetworkPolicy"},
			Operation: admissionv1.Create, Object: encoded(t, p),
		}})
		if !response.Allowed || len(response.Warnings) != warnings {
			t.Errorf("%d rules: response %+v, want %d warnings", rules, response, warnings)
		}
	}
}

// TestPolicyOfKubernetesThatTyphaWillNotUse: whatever is sent of these kinds is let in, and the author of one that is
// too large is told.
func TestPolicyOfKubernetesThatTyphaWillNotUse(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(networkingv1.AddToScheme(scheme), policyv1alpha2.Install(scheme)); err != nil {
		t.Fatal(err)
	}
	h := newHandler(nil, nil, scheme)
	h.budget = compile.Budget{PolicyRules: 3}
	kube := func(peers int) any {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{From: slices.Repeat([]networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
					peers)}}}}
	}
	cluster := func(peers int) any {
		return &policyv1alpha2.ClusterNetworkPolicy{Spec: policyv1alpha2.ClusterNetworkPolicySpec{
			Tier:    policyv1alpha2.AdminTier,
			Subject: policyv1alpha2.ClusterNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}},
			Ingress: []policyv1alpha2.ClusterNetworkPolicyIngressRule{{
				Action: policyv1alpha2.ClusterNetworkPolicyRuleActionAccept,
				From: slices.Repeat(
					[]policyv1alpha2.ClusterNetworkPolicyIngressPeer{{Namespaces: &metav1.LabelSelector{}}}, peers)}}}}
	}
	going := kube(4).(*networkingv1.NetworkPolicy)
	going.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time}
	ours := metav1.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}
	clusters := metav1.GroupVersionKind{Group: "policy.networking.k8s.io", Version: "v1alpha2",
		Kind: "ClusterNetworkPolicy"}
	newer := metav1.GroupVersionKind{Group: "networking.k8s.io", Version: "v7", Kind: "NetworkPolicy"}
	for name, test := range map[string]struct {
		kind   metav1.GroupVersionKind
		object any
		warned bool
	}{
		"within the budget":            {ours, kube(3), false},
		"beyond it":                    {ours, kube(4), true},
		"beyond it, of the cluster":    {clusters, cluster(4), true},
		"within it, of the cluster":    {clusters, cluster(3), false},
		"beyond it, but being deleted": {ours, going, false},
		"of a version that is unknown": {newer, kube(4), false},
		"of a form that is not ours":   {ours, map[string]any{"spec": 7}, false},
		"not even an object":           {ours, "text", false},
		"of a form that nobody knows":  {clusters, map[string]any{"spec": map[string]any{"ingress": "all"}}, false},
	} {
		response := warner{h}.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Kind: test.kind, Operation: admissionv1.Create, Object: encoded(t, test.object)}})
		warned := len(response.Warnings) == 1 && strings.Contains(response.Warnings[0], "PolicyMaxRules")
		if !response.Allowed || warned != test.warned || !warned && len(response.Warnings) > 0 {
			t.Errorf("%s: response %+v, want it allowed, and a warning: %t", name, response, test.warned)
		}
	}
}
