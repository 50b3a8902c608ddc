package daemon

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// configure merges fields into the spec of the KubeControllersConfiguration, which is there, or comes soon.
func (w *world) configure(t *testing.T, spec string) {
	t.Helper()
	config := &v3.KubeControllersConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	eventually(t, "a change of the KubeControllersConfiguration", func() error {
		return w.client.Patch(context.WithoutCancel(t.Context()), config, client.RawPatch(types.MergePatchType, []byte(`{"spec": `+spec+`}`)))
	})
}

// defaultConfigurations: what users' commands presuppose is there, and comes back.
func (w *world) defaultConfigurations(t *testing.T) {
	for _, o := range []client.Object{&v3.KubeControllersConfiguration{}, &v3.FelixConfiguration{}, &v3.BGPConfiguration{}} {
		kind := reflect.TypeOf(o).Elem().Name()
		var first types.UID
		for _, when := range []string{"at the start", "after it was deleted"} {
			eventually(t, "a "+kind+" default "+when, func() error {
				if err := w.client.Get(t.Context(), client.ObjectKey{Name: "default"}, o); err != nil {
					return err
				}
				if o.GetUID() == first {
					return fmt.Errorf("the deleted one is there")
				}
				return nil
			})
			first = o.GetUID()
			if when == "at the start" {
				if err := w.client.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	w.configure(t, `{"logSeverityScreen": "Info"}`)
}
