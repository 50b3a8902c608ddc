package status

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
)

// TestEventsAreMadeOnce, whatever the queue makes of the changes.
func TestEventsAreMadeOnce(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("a", 240) + ".p"
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}}).Build()
	r := &resourceReconciler{client: c, picture: newPicture(), log: slog.New(slog.DiscardHandler),
		told: map[resource]string{}}
	r.picture.take("a", hub.Observed{Whole: true})
	expect := func(name, reason string, reconciled bool, want ...string) {
		t.Helper()
		r.picture.take("a", hub.Observed{Problems: []calc.Problem{{Kind: kindGNP, Name: name, Reason: reason}}})
		for range 2 {
			if !reconciled {
				break
			}
			if _, err := r.Reconcile(t.Context(), resource{Kind: kindGNP, Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		var list corev1.EventList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list.Items {
			got = append(got, fmt.Sprint(e.Reason, " ", e.Count))
			if errs := validation.IsDNS1123Subdomain(e.Name); len(errs) > 0 || e.Namespace != "default" ||
				e.InvolvedObject.UID != "u" || len(e.Message) > 1100 {
				t.Errorf("event %+v: %v", e, errs)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	long := strings.Repeat("bad ", 1000)
	expect(name, "", true)
	expect(name, long, false) // it comes and goes before anybody looks
	expect(name, "", true)
	expect(name, long, true, "Unusable 1")
	expect(name, "", false, "Unusable 1") // the same the other way round
	expect(name, long, true, "Unusable 1")
	expect(name, "", true, "Unusable 1", "Usable 1")
	expect(name, long, true, "Unusable 2", "Usable 1")
	expect("not-there", long, true, "Unusable 2", "Usable 1")
	expect("not-there", "", true, "Unusable 2", "Usable 1")
	expect(name, "", true, "Unusable 2", "Usable 2")
	expect(name, long, true, "Unusable 3", "Usable 2")
	expect(name, "", true, "Unusable 3", "Usable 3")
	if len(r.told) > 0 {
		t.Errorf("kept are %v", r.told)
	}
}
