package effects_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestUnusedNames: an object that nobody reads because of its name has no effect at all, and is told so.
func TestUnusedNames(t *testing.T) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	for _, c := range []struct {
		object runtime.Object
		unused bool
	}{
		{&v3.FelixConfiguration{ObjectMeta: named("default")}, false},
		{&v3.FelixConfiguration{ObjectMeta: named("node.n1")}, false},
		{&v3.FelixConfiguration{ObjectMeta: named("node.")}, true},
		{&v3.FelixConfiguration{ObjectMeta: named("log-level")}, true},
		{&v3.FelixConfiguration{ObjectMeta: named("Default")}, true},
		{&v3.BGPConfiguration{ObjectMeta: named("default")}, false},
		{&v3.BGPConfiguration{ObjectMeta: named("node.n1")}, false},
		{&v3.BGPConfiguration{ObjectMeta: named("service-cidr")}, true},
		{&v3.KubeControllersConfiguration{ObjectMeta: named("default")}, false},
		{&v3.KubeControllersConfiguration{ObjectMeta: named("node.n1")}, true},
		{&v3.IPAMConfiguration{ObjectMeta: named("default")}, false},
		{&v3.IPAMConfiguration{ObjectMeta: named("other")}, true},
		{&v3.ClusterInformation{ObjectMeta: named("default")}, false},
		{&v3.ClusterInformation{ObjectMeta: named("other")}, true},
		{&v3.IPPool{ObjectMeta: named("other")}, false},
	} {
		var found []string
		for _, f := range effects.Of(c.object) {
			if f.Name == "metadata.name" {
				found = append(found, f.String())
			}
		}
		if len(found) > 0 != c.unused || c.unused && !strings.Contains(found[0], `" has no effect: only the object`) {
			t.Errorf("%T: found %q, want unused %v", c.object, found, c.unused)
		}
	}
	selected := &v3.FelixConfiguration{ObjectMeta: named("edge"),
		Spec: v3.FelixConfigurationSpec{NodeSelector: new("role == 'edge'")}}
	for _, f := range effects.Of(selected) {
		if f.Name == "metadata.name" {
			t.Errorf("of one with a nodeSelector: %s", f)
		}
	}
}
