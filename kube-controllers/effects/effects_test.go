package effects

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/kube-controllers/events"
	"github.com/maneki-net/maneki/typha/hub"
)

// leader is one that follows objects and writes events.
type leader struct {
	t       *testing.T
	client  client.Client
	queue   []request
	objects *follower
	worker  *reconciler
}

func lead(t *testing.T, c client.Client) *leader {
	l := &leader{t: t, client: c, objects: newFollower()}
	l.worker = &reconciler{follower: l.objects, events: events.Writer{Client: c, Log: slog.New(slog.DiscardHandler)}}
	return l
}

func eventClient(t *testing.T) client.Client {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).Build()
}

// update hands on a change of FelixConfigurations.
func (l *leader) update(u hub.Update) {
	l.t.Helper()
	u.Kind = datastore.FelixConfigurations.ID()
	sink := resources{l.objects, func(r request) { l.queue = append(l.queue, r) }}
	if err := sink.Update(l.t.Context(), u); err != nil {
		l.t.Fatal(err)
	}
}

// work does what is queued, twice as a queue may, and returns the events: "name reason count" each.
func (l *leader) work() []string {
	l.t.Helper()
	for _, r := range slices.Concat(l.queue, l.queue) {
		if _, err := l.worker.Reconcile(l.t.Context(), r); err != nil {
			l.t.Fatal(err)
		}
	}
	l.queue = nil
	var list corev1.EventList
	if err := l.client.List(l.t.Context(), &list); err != nil {
		l.t.Fatal(err)
	}
	var got []string
	for _, e := range list.Items {
		got = append(got, fmt.Sprint(e.InvolvedObject.Name, " ", e.Reason, " ", e.Count))
		if warns := e.Reason != ReasonEffective; warns != (e.Type == corev1.EventTypeWarning) || len(e.Message) > 1024 {
			l.t.Errorf("event %+v", e)
		}
	}
	slices.Sort(got)
	return got
}

func felix(name, uid string, spec v3.FelixConfigurationSpec) metav1.Object {
	return &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}, Spec: spec}
}

// TestEventsComeAndGo with what has no effect, once each, and a restart repeats none.
func TestEventsComeAndGo(t *testing.T) {
	c := eventClient(t)
	l := lead(t, c)
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, l.work()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	set := func(uid string, listed bool, spec v3.FelixConfigurationSpec) {
		t.Helper()
		l.update(hub.Update{Listed: listed, Upserts: []metav1.Object{felix("default", uid, spec),
			felix("node.n1", "sound", v3.FelixConfigurationSpec{VXLANPort: new(4790), BPFEnabled: new(false)})}})
	}
	both := v3.FelixConfigurationSpec{BPFEnabled: new(true), ChainInsertMode: new("Append")}
	set("u", true, both)
	first := []string{"default NoEffect 1", "default Unprotected 1"}
	expect("listed", first...)
	set("u", false, both)
	expect("the same again", first...)
	if known := slices.Collect(maps.Keys(l.objects.statements)); len(known) != 1 {
		t.Errorf("known are %v, and one object alone has something without effect", known)
	}
	l = lead(t, c)
	set("u", true, both)
	expect("another leader", first...)

	set("u", false, v3.FelixConfigurationSpec{ChainInsertMode: new("Append")})
	expect("one is gone", "default Effective 1", "default NoEffect 1", "default Unprotected 1")
	set("u", false, v3.FelixConfigurationSpec{})
	all := []string{"default Effective 1", "default Effective 1", "default NoEffect 1", "default Unprotected 1"}
	expect("all are gone", all...)
	if len(l.objects.statements) > 0 {
		t.Errorf("known are %v, and nothing has something without effect", l.objects.statements)
	}
	set("u", false, both) // it comes and goes before anybody looks
	set("u", false, v3.FelixConfigurationSpec{})
	expect("nobody looked", all...)
	set("u", false, both)
	again := []string{"default Effective 1", "default Effective 1", "default NoEffect 2", "default Unprotected 2"}
	expect("both again", again...)

	l.update(hub.Update{Deletes: []hub.Name{{Name: "default"}}})
	expect("deleted", again...)
	set("v", false, v3.FelixConfigurationSpec{ChainInsertMode: new("Append")})
	expect("made again", append([]string{"default Effective 1", "default Effective 1", "default NoEffect 1"},
		again[2:]...)...)
	set("w", false, v3.FelixConfigurationSpec{}) // whose deletion nobody saw
	expect("another of the name", append([]string{"default Effective 1", "default Effective 1", "default NoEffect 1"},
		again[2:]...)...)
}

// TestMessages: a message names each field, its value and why, and says what to do; one of many has room for some.
func TestMessages(t *testing.T) {
	object, _ := felix("default", "u", v3.FelixConfigurationSpec{WireguardEnabled: new(true),
		ChainInsertMode: new("Append")}).(runtime.Object)
	got := messages(effects.Of(object))
	for reason, want := range map[string][]string{
		ReasonUnprotected: {"spec.wireguardEnabled", "not encrypted", "do not rely on"},
		ReasonNoEffect:    {"spec.chainInsertMode", "Append", "remove it"},
	} {
		for _, text := range want {
			if !strings.Contains(got[reason], text) {
				t.Errorf("%s does not say %q: %q", reason, text, got[reason])
			}
		}
	}
	var many []effects.Finding
	for i := range 100 {
		many = append(many, effects.Finding{Row: effects.Row{Class: effects.Field, Name: fmt.Sprint("spec.field", i),
			State: effects.None, Why: strings.Repeat("why ", 20)}})
	}
	text := messages(many)[ReasonNoEffect]
	if len(text) > 1000 || !strings.Contains(text, "spec.field0") || !strings.Contains(text, "and 92 more") {
		t.Errorf("%d octets: %s", len(text), text)
	}
}

// TestKinds: the controller reads each kind that has something without effect, but those of IPAM itself.
func TestKinds(t *testing.T) {
	of := map[string]datastore.Kind{}
	for _, kind := range datastore.CalicoKinds() {
		of[kind.String()] = kind
	}
	own := []datastore.Kind{datastore.BlockAffinities, datastore.IPAMBlocks, datastore.IPAMHandles}
	for _, class := range []effects.Class{effects.Field, effects.Annotation, effects.Label} {
		for _, row := range effects.Rows(class) {
			kind, ours := of[row.On]
			if row.State != effects.Works && ours && !slices.Contains(own, kind) && !slices.Contains(Kinds(), kind) {
				t.Errorf("%s %s of %s has no effect, and the controller does not read the kind", class, row.Name, kind)
			}
		}
	}
}
