package calicoctl

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// warnLeftOut warns of what a Node was given and the datastore does not have afterwards: in Kubernetes that is what the
// Node of Kubernetes says.
func (t *tool) warnLeftOut(ctx context.Context, store datastore.Store, name string, given datastore.Object) {
	node, ok := given.(*v3.Node)
	if !ok || t.complete {
		return
	}
	stored, err := datastore.Get[*v3.Node](ctx, store, datastore.CalicoNodes, datastore.KeyOf(given))
	if err == nil {
		t.warnAbout(name, leftOut(node, stored))
	}
}

func leftOut(given, stored *v3.Node) (warnings []string) {
	lost := func(path string) {
		warnings = append(warnings, fmt.Sprintf("%s: is left out: it follows from the Node of Kubernetes", path))
	}
	for _, key := range slices.Sorted(maps.Keys(given.Labels)) {
		if value, there := stored.Labels[key]; !there || value != given.Labels[key] {
			lost("metadata.labels." + key)
		}
	}
	if len(given.Annotations) > 0 {
		lost("metadata.annotations")
	}
	if len(given.Spec.Addresses) > 0 && !equality.Semantic.DeepEqual(given.Spec.Addresses, stored.Spec.Addresses) {
		lost("spec.addresses")
	}
	if len(given.Spec.OrchRefs) > 0 && !equality.Semantic.DeepEqual(given.Spec.OrchRefs, stored.Spec.OrchRefs) {
		lost("spec.orchRefs")
	}
	return warnings
}
