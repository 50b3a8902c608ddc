package validate_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/defaults"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/api/validate/validatetest"
)

// decode gives the object of a manifest, or nil if it does not fit its Go type.
func decode(t *testing.T, m validatetest.Manifest) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	o, err := scheme.New(m.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(m.YAML), o); err != nil {
		return nil
	}
	return o
}

func text(errs field.ErrorList) string {
	if len(errs) == 0 {
		return ""
	}
	return errs.ToAggregate().Error()
}

func TestRefused(t *testing.T) {
	for _, m := range append(validatetest.Refused(), validatetest.RefusedEtcd()...) {
		o := decode(t, m)
		if o == nil {
			continue // whoever decodes it refuses it
		}
		got := text(validate.Object(o))
		if m.Library == "" && got != "" || !strings.Contains(got, m.Library) {
			t.Errorf("%s:\n got %s\nwant %s", m, got, m.Library)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, m := range append(validatetest.Accepted(), validatetest.AcceptedEtcd()...) {
		if got := text(validate.Object(decode(t, m))); got != "" {
			t.Errorf("%s: refused: %s", m, got)
		}
	}
}

func TestUpdate(t *testing.T) {
	old := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}}
	tests := []struct {
		change func(*v3.IPPoolSpec)
		want   string
	}{
		{func(s *v3.IPPoolSpec) { s.NATOutgoing = true }, ""},
		{func(s *v3.IPPoolSpec) { s.BlockSize = 26 }, ""}, // what it was
		{func(s *v3.IPPoolSpec) { s.BlockSize = 27 }, "spec.blockSize: Invalid value: cannot be changed"},
		{func(s *v3.IPPoolSpec) { s.CIDR = "10.245.0.0/16" },
			`spec.cidr: Invalid value: "10.245.0.0/16": cannot be changed`},
		{func(s *v3.IPPoolSpec) { s.IPIPMode = "x" }, "spec.ipipMode: Unsupported value"},
	}
	for i, tt := range tests {
		changed := old.DeepCopy()
		tt.change(&changed.Spec)
		if got := text(validate.Update(changed, old)); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("change %d: got %q, want %q", i, got, tt.want)
		}
	}
}

func TestPools(t *testing.T) {
	named := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	others := []*v3.IPPool{named("a", "10.244.0.0/16"), named("six", "fd00::/48"), named("broken", "10.0.0.0/99")}
	tests := []struct{ name, cidr, want string }{
		{"new", "10.245.0.0/16", ""},
		{"a", "10.244.0.0/16", ""}, // itself
		{"new", "10.244.128.0/17",
			`spec.cidr: Invalid value: "10.244.128.0/17": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "10.0.0.0/8", `spec.cidr: Invalid value: "10.0.0.0/8": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "fd00:0:0:1::/64",
			`spec.cidr: Invalid value: "fd00:0:0:1::/64": overlaps IPPool six, which is fd00::/48: choose a network outside it`},
		{"new", "0.0.0.0/99", ""},
	}
	for _, tt := range tests {
		if got := text(validate.Pools(named(tt.name, tt.cidr), others)); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.name, tt.cidr, got, tt.want)
		}
	}
}

// TestEveryKindIsRefusedSomething: the table has the kinds.
func TestEveryKindIsRefusedSomething(t *testing.T) {
	refused, accepted := map[string]bool{}, map[string]bool{}
	for _, m := range append(validatetest.Refused(), validatetest.RefusedEtcd()...) {
		refused[m.Kind] = true
	}
	for _, m := range append(validatetest.Accepted(), validatetest.AcceptedEtcd()...) {
		accepted[m.Kind] = true
	}
	for _, o := range objects(t) {
		if kind := reflect.TypeOf(o).Elem().Name(); !refused[kind] || !accepted[kind] {
			t.Errorf("%s: a manifest is refused: %v, is accepted: %v", kind, refused[kind], accepted[kind])
		}
	}
}

// objects gives an empty one of each kind.
func objects(t testing.TB) []runtime.Object {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var all []runtime.Object
	for kind := range scheme.KnownTypes(v3.GroupVersion) {
		o, err := scheme.New(v3.GroupVersion.WithKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := o.(metav1.Object); ok &&
			reflect.TypeOf(o).Elem().PkgPath() == reflect.TypeFor[v3.IPPool]().PkgPath() {
			all = append(all, o)
		}
	}
	return all
}

func TestWarnings(t *testing.T) {
	p := &v3.NetworkPolicy{Spec: v3.NetworkPolicySpec{Types: []v3.PolicyType{v3.PolicyTypeEgress},
		Ingress: []v3.Rule{{Action: v3.Allow}}}}
	if got := validate.Warnings(p); len(got) != 1 ||
		got[0] != "spec.ingress: these rules have no effect: add Ingress to spec.types" {
		t.Errorf("got %q", got)
	}
	p.Spec.Types = nil
	if got := validate.Warnings(p); got != nil {
		t.Errorf("got %q", got)
	}
	p.Spec.Ingress[0].Metadata = &v3.RuleMetadata{Annotations: map[string]string{"a": "b"}}
	want := []string{"spec.ingress[].metadata: has no effect: no rule of the kernel carries it"}
	if got := validate.Warnings(p); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDeleteTier(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		policies   []string
	}{
		{"ops", "", nil},
		{"default", "tier default cannot be deleted: it always exists", nil},
		{"kube-baseline", "it always exists", nil},
		{"ops", "tier ops cannot be deleted while it has policies: delete them first, or give them another tier: a, b",
			[]string{"a", "b"}},
		{"ops", ": a, b, c, d, e and 2 more", strings.Split("abcdefg", "")},
	} {
		err := validate.DeleteTier(tt.name, tt.policies)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s with %q: %v, want %q", tt.name, tt.policies, err, tt.want)
		}
	}
}

// FuzzObject looks for input that a validator cannot take, in every kind that it decodes into.
func FuzzObject(f *testing.F) {
	for _, m := range slices.Concat(validatetest.Accepted(), validatetest.Refused(), validatetest.AcceptedEtcd(),
		validatetest.RefusedEtcd()) {
		if json, err := yaml.YAMLToJSON([]byte(m.YAML)); err == nil {
			f.Add(json)
		}
	}
	kinds := objects(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, empty := range kinds {
			o := empty.DeepCopyObject()
			if json.Unmarshal(body, o) != nil {
				continue
			}
			right := len(validate.Object(o)) == 0
			validate.Update(o, o)
			validate.Warnings(o)
			if err := defaults.Set(o); err != nil {
				t.Errorf("defaults of %T: %v", o, err)
			}
			if errs := validate.Object(o); right && len(errs) > 0 {
				t.Errorf("%T is wrong with defaults: %v", o, errs)
			}
		}
	})
}
