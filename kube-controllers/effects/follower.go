package effects

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/hub"
)

// request names an object; the kind alone tells its group.
type request struct{ kind, namespace, name string }

func reference(version, kind string, o metav1.Object) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: version, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID()}
}

// statement is what is to be said of an object, and what was, by the reasons of events.
type statement struct {
	object       corev1.ObjectReference
	wanted, told map[string]string
	// inherited says that it was so when this process first heard of the object: an earlier one may have told of it.
	inherited bool
}

// follower knows the objects that have something without effect, or had it and were not told of since. It knows no
// others.
type follower struct {
	mu         sync.Mutex
	statements map[request]statement
}

func newFollower() *follower { return &follower{statements: map[request]statement{}} }

// see notes what of an object has no effect, and hands the object to enqueue if that changed.
func (f *follower) see(o corev1.ObjectReference, found []effects.Finding, inherited bool, enqueue func(request)) {
	key := request{o.Kind, o.Namespace, o.Name}
	wanted := messages(found)
	f.mu.Lock()
	defer f.mu.Unlock()
	s, known := f.statements[key]
	if known && s.object.UID != o.UID {
		delete(f.statements, key)
		s, known = statement{}, false
	}
	if maps.Equal(s.wanted, wanted) {
		return
	}
	f.statements[key] = statement{object: o, wanted: wanted, told: s.told, inherited: inherited && !known}
	enqueue(key)
}

// lose notes that an object is gone.
func (f *follower) lose(key request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.statements, key)
}

// statement returns what is to be said of an object, and whether there is anything.
func (f *follower) statement(key request) (statement, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.statements[key]
	return s, ok
}

// told notes that events say what a statement wanted.
func (f *follower) told(key request, s statement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, ok := f.statements[key]
	switch {
	case !ok || now.object.UID != s.object.UID:
	case len(now.wanted) == 0 && len(s.wanted) == 0:
		delete(f.statements, key)
	default:
		now.told = s.wanted
		f.statements[key] = now
	}
}

// resources looks at the objects of projectcalico.org/v3. It is a typha/sync.Sink.
type resources struct {
	*follower
	enqueue func(request)
}

// Update implements sync.Sink.
func (r resources) Update(ctx context.Context, u hub.Update) error {
	kind := kinds[u.Kind]
	for _, o := range u.Upserts {
		if object, ok := o.(runtime.Object); ok {
			about := reference(v3.GroupVersion.String(), kind, o)
			r.see(about, effects.Of(object), u.Listed, r.enqueue)
		}
	}
	for name := range u.Refused { // the CRD lets nobody write such an object, and what of it holds is not known
		r.lose(request{kind, name.Namespace, name.Name})
	}
	for _, name := range u.Deletes {
		r.lose(request{kind, name.Namespace, name.Name})
	}
	return ctx.Err()
}

// kinds are the names of Kinds by their IDs.
var kinds = func() map[string]string {
	byID := map[string]string{}
	for _, k := range Kinds() {
		byID[k.ID()] = k.String()
	}
	return byID
}()

// maxMessage is how long the list of findings in a message is, in octets.
const maxMessage = 900

// messages returns what findings say, by the reasons of events.
func messages(found []effects.Finding) map[string]string {
	var wanted map[string]string
	for reason, what := range map[string]string{
		ReasonUnprotected: "do not rely on the protection that it asks for",
		ReasonNoEffect:    "remove it, or do without what it asks for",
	} {
		text, more := "", 0
		for _, finding := range found {
			next := "; " + finding.String()
			switch {
			case finding.Protects != (reason == ReasonUnprotected):
			case len(text)+len(next) > maxMessage:
				more++
			default:
				text += next
			}
		}
		if text == "" {
			continue
		}
		text = text[len("; "):]
		if more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		if wanted == nil {
			wanted = map[string]string{}
		}
		wanted[reason] = text + ". What to do: " + what
	}
	return wanted
}

// maxValue is how many octets of the value of an annotation are kept, of up to 256 KiB. A message has fewer.
const maxValue = 64

// Keep adds to the trimmed copy of an object the annotations and labels of it that have no effect.
func Keep(kind string, object, trimmed metav1.Object) {
	annotations, labels := maps.Clone(trimmed.GetAnnotations()), maps.Clone(trimmed.GetLabels())
	for _, found := range effects.Annotations(kind, object.GetAnnotations()) {
		annotations = with(annotations, found)
	}
	for _, found := range effects.Labels(kind, object.GetLabels()) {
		labels = with(labels, found)
	}
	trimmed.SetAnnotations(annotations)
	trimmed.SetLabels(labels)
}

func with(values map[string]string, found effects.Finding) map[string]string {
	if values == nil {
		values = map[string]string{}
	}
	value := found.Value
	if len(value) > maxValue {
		value = strings.Clone(value[:maxValue]) // a slice of the string would keep all of it in memory
	}
	values[found.Name] = value
	return values
}
