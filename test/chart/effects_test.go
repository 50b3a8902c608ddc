package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/effects"
)

// keyWithoutEffect is an annotation or label of which the chart's admission policies warn.
type keyWithoutEffect struct {
	Why string `json:"why"`
	// Unless are the values, in lower case, that ask for nothing.
	Unless []string `json:"unless"`
}

// TestKeysWithoutEffect: admission warns of those annotations and labels that api/effects has, and no others.
func TestKeysWithoutEffect(t *testing.T) {
	want := map[string]map[string]map[string]keyWithoutEffect{}
	for _, kind := range []string{"Pod", "Namespace", "Node", "Service"} {
		for _, class := range []effects.Class{effects.Annotation, effects.Label} {
			for _, row := range effects.Rows(class) {
				if row.On != kind && row.On != "*" || !row.Misses("some value") {
					continue
				}
				if want[kind] == nil {
					want[kind] = map[string]map[string]keyWithoutEffect{}
				}
				if want[kind][string(class)] == nil {
					want[kind][string(class)] = map[string]keyWithoutEffect{}
				}
				key := keyWithoutEffect{Why: "has no effect: " + row.Why, Unless: []string{""}}
				if row.State == effects.Later {
					key.Why = "has no effect yet: " + row.Why
				}
				for _, value := range row.Unless {
					key.Unless = append(key.Unless, strings.ToLower(value))
				}
				want[kind][string(class)][row.Name] = key
			}
		}
	}
	file := filepath.Join(dir(t), "files", "no-effect.yaml")
	if *update {
		content, err := yaml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		content = append([]byte("# Made of api/effects: go test ./test/chart -run TestKeysWithoutEffect -update\n"),
			content...)
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]map[string]keyWithoutEffect{}
	if err := yaml.UnmarshalStrict(content, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("api/effects and %s differ (-want +got): go test ./test/chart -run TestKeysWithoutEffect -update\n%s",
			file, diff)
	}
}
