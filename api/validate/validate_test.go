package validate_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

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
	for _, m := range validatetest.Refused() {
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
	for _, m := range validatetest.Accepted() {
		if got := text(validate.Object(decode(t, m))); got != "" {
			t.Errorf("%s: refused: %s", m, got)
		}
	}
}

func TestUpdate(t *testing.T) {
	old := &v3.IPPool{Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}}
	tests := []struct {
		change func(*v3.IPPoolSpec)
		want   string
	}{
		{func(s *v3.IPPoolSpec) { s.NATOutgoing = true }, ""},
		{func(s *v3.IPPoolSpec) { s.BlockSize = 26 }, ""}, // what it was
		{func(s *v3.IPPoolSpec) { s.BlockSize = 27 }, "spec.blockSize: Invalid value: 27: cannot be changed"},
		{func(s *v3.IPPoolSpec) { s.CIDR = "10.245.0.0/16" }, `spec.cidr: Invalid value: "10.245.0.0/16": cannot be changed`},
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
		{"new", "10.244.128.0/17", `spec.cidr: Invalid value: "10.244.128.0/17": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "10.0.0.0/8", `spec.cidr: Invalid value: "10.0.0.0/8": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "fd00:0:0:1::/64", `spec.cidr: Invalid value: "fd00:0:0:1::/64": overlaps IPPool six, which is fd00::/48: choose a network outside it`},
		{"new", "0.0.0.0/99", ""},
	}
	for _, tt := range tests {
		if got := text(validate.Pools(named(tt.name, tt.cidr), others)); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.name, tt.cidr, got, tt.want)
		}
	}
}

// FuzzObject looks for input that a validator cannot take.
func FuzzObject(f *testing.F) {
	for _, m := range append(validatetest.Accepted(), validatetest.Refused()...) {
		if json, err := yaml.YAMLToJSON([]byte(m.YAML)); err == nil {
			f.Add(json)
		}
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		for _, o := range []runtime.Object{
			&v3.IPPool{}, &v3.BGPPeer{}, &v3.BGPConfiguration{}, &v3.FelixConfiguration{},
			&v3.IPAMBlock{}, &v3.BlockAffinity{}, &v3.IPAMConfiguration{}, &v3.ClusterInformation{},
		} {
			if yaml.Unmarshal(body, o) == nil {
				validate.Update(o, o)
			}
		}
	})
}
