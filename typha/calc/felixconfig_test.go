package calc_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// selecting returns a FelixConfiguration that sets VXLANPort on the nodes of a selector, created at a second.
func selecting(name string, second int64, selector string, port int) *v3.FelixConfiguration {
	m := meta(name)
	m.CreationTimestamp = at(second)
	return &v3.FelixConfiguration{ObjectMeta: m,
		Spec: v3.FelixConfigurationSpec{NodeSelector: &selector, VXLANPort: &port}}
}

// configsOf returns the names of the Configs that a node needs for itself.
func (w *world) configsOf(node string) (names []string) {
	for id := range w.needs[node] {
		if id.Kind == wire.KindConfig {
			names = append(names, id.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestFelixConfigurationByLabels: a node has the settings of the oldest FelixConfiguration that selects it, and follows
// its labels and the resources.
func TestFelixConfigurationByLabels(t *testing.T) {
	e, w := calc.New(), newWorld()
	reasons := map[string]string{}
	flush := func(want map[string][]string) {
		t.Helper()
		d := e.Flush()
		w.apply(t, d)
		for _, v := range d.Problems {
			reasons[v.Name] = v.Reason
		}
		for node, configs := range want {
			if diff := cmp.Diff(configs, w.configsOf(node)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", node, diff)
			}
		}
	}
	gpu := map[string]string{"kind": "gpu"}
	e.Upsert(selecting("younger", 2, "has(kind)", 2))
	e.Upsert(newNode("n1", "172.30.0.1", gpu))
	e.Upsert(newNode("n2", "172.30.0.2", nil))
	flush(map[string][]string{"n1": {"selected.younger"}, "n2": nil})
	w.ofKind(t, wire.KindConfig, &wire.Config{Name: "selected.younger", Values: map[string]string{"VXLANPort": "2"}})

	e.Upsert(selecting("older", 1, "kind == 'gpu'", 1))
	e.Upsert(&v3.FelixConfiguration{ObjectMeta: meta("node.n1"),
		Spec: v3.FelixConfigurationSpec{VXLANPort: pointer(3)}})
	flush(map[string][]string{"n1": {"node.n1", "selected.older"}, "n2": nil})
	want := "spec.nodeSelector: an older FelixConfiguration selects these nodes, too, " +
		"and applies there in place of this one: n1 (older applies there)"
	if reasons["younger"] != want || reasons["older"] != "" {
		t.Errorf("of two that select a node: %q", reasons)
	}

	e.Upsert(newNode("n1", "172.30.0.1", map[string]string{"kind": "cpu"}))
	e.Upsert(newNode("n2", "172.30.0.2", gpu))
	flush(map[string][]string{"n1": {"node.n1", "selected.younger"}, "n2": {"selected.older"}})
	e.Delete(calc.KindFelixConfiguration, "", "older")
	flush(map[string][]string{"n2": {"selected.younger"}})
	if reasons["younger"] != "" {
		t.Errorf("the other is gone: %q", reasons)
	}
	e.Upsert(selecting("younger", 2, "((", 2))
	flush(map[string][]string{"n1": {"node.n1"}, "n2": nil})
	if reasons["younger"] == "" {
		t.Error("nobody is told of a selector that cannot be read")
	}
}

// TestSelectorsWithoutEffect: a nodeSelector has no effect in a resource whose name says which nodes it is for.
func TestSelectorsWithoutEffect(t *testing.T) {
	w, problems := compute(t, newNode("n1", "172.30.0.1", nil),
		selecting("default", 1, "has(none)", 1), selecting("node.n1", 1, "has(none)", 2))
	w.ofKind(t, wire.KindConfig, &wire.Config{Name: "global", Values: map[string]string{"VXLANPort": "1"}},
		&wire.Config{Name: "node.n1", Values: map[string]string{"VXLANPort": "2"}})
	if len(problems) != 2 {
		t.Errorf("problems: %v", problems)
	}
}
