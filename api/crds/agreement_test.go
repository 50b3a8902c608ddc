package crds_test

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/defaults"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/test/long"
)

// agreement sends random mixtures of the manifests of each kind to the API server. What it refuses, the library must
// refuse, or not even decode: who has no API server is told no less.
func agreement(t *testing.T, client *http.Client, host string) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]validatetest.Manifest{}
	for _, m := range append(validatetest.Accepted(), validatetest.Refused()...) {
		kinds[m.Kind] = append(kinds[m.Kind], m)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	refused, names := 0, slices.Sorted(maps.Keys(kinds))
	for range long.Or(5000, 400) {
		manifests := kinds[names[r.IntN(len(names))]]
		m := manifests[r.IntN(len(manifests))]
		m.YAML = mix(t, r, m, manifests[r.IntN(len(manifests))])
		code, message := post(t, client, host, m)
		if code == http.StatusCreated {
			continue
		}
		refused++
		if judged(t, scheme, m) {
			t.Errorf("seed %d: the library takes %s\nof which the server says %s", seed, m.YAML, message)
		}
	}
	t.Logf("%d of the mixtures were refused", refused)
	if refused < 50 {
		t.Errorf("seed %d: only %d mixtures were refused", seed, refused)
	}
}

// judged says whether the library finds nothing wrong with a manifest.
func judged(t *testing.T, scheme *runtime.Scheme, m validatetest.Manifest) bool {
	t.Helper()
	content := decoded(t, m)
	defaults.Raw(m.Kind, content)
	for _, e := range schema.Of(m.Kind).Check(nil, content) {
		if e.Type == field.ErrorTypeRequired {
			return false // what is missing is seen before there is a Go value
		}
	}
	body, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	o, err := scheme.New(m.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if yaml.UnmarshalStrict(body, o) != nil {
		return false
	}
	if err := defaults.Set(o); err != nil {
		t.Fatal(err)
	}
	return len(validate.Object(o)) == 0
}

func decoded(t *testing.T, m validatetest.Manifest) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(m.YAML), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

// completed gives a manifest's spec with its defaults, as JSON decodes it.
func completed(t *testing.T, m validatetest.Manifest) (spec map[string]any) {
	t.Helper()
	content := decoded(t, m)
	defaults.Raw(m.Kind, content)
	body, err := yaml.Marshal(content["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(body, &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// mix gives a manifest with parts of the spec of another.
func mix(t *testing.T, r *rand.Rand, m, other validatetest.Manifest) string {
	t.Helper()
	a, b := decoded(t, m), decoded(t, other)
	a["spec"] = blend(r, a["spec"], b["spec"])
	text, err := yaml.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blend takes each part of two values from one of them, or from both.
func blend(r *rand.Rand, a, b any) any {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			out := map[string]any{}
			maps.Copy(out, x)
			for _, key := range slices.Sorted(maps.Keys(y)) {
				if mine, both := x[key]; both {
					out[key] = blend(r, mine, y[key])
				} else if r.IntN(2) == 0 {
					out[key] = y[key]
				}
			}
			return out
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) > 0 && len(y) > 0 && r.IntN(2) == 0 {
			return []any{blend(r, x[r.IntN(len(x))], y[r.IntN(len(y))])}
		}
	}
	if r.IntN(2) == 0 && b != nil {
		return b
	}
	return a
}
