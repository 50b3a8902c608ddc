package sync

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/typha/hub"
)

// partial is a store of which some objects cannot be read.
type partial struct {
	datastore.Store
	bad []datastore.Unusable
}

func (p *partial) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	list, err := p.Store.List(ctx, kind, opts)
	list.Unusable = p.bad
	return list, err
}

// TestUnreadableObjects are told of for what they are, whether they are listed or become so, and are deleted when they
// go.
func TestUnreadableObjects(t *testing.T) {
	cause := errors.New("spec is no object")
	store := &partial{Store: memory.New(), bad: []datastore.Unusable{{Key: datastore.Key{Name: "a"}, Err: cause}}}
	sink := &recorder{}
	l := loop{store: store, sink: sink, kind: datastore.Namespaces, log: slog.New(slog.DiscardHandler),
		known: map[datastore.Key]struct{}{}}
	look := func() hub.Update {
		t.Helper()
		if _, err := l.list(t.Context()); err != nil {
			t.Fatal(err)
		}
		return sink.take()[0]
	}
	refused := map[hub.Name]string{{Name: "a"}: cause.Error()}
	if u := look(); !cmp.Equal(u.Refused, refused) || len(u.Deletes) > 0 {
		t.Errorf("listed: %+v", u)
	}
	store.bad = nil
	if u := look(); !cmp.Equal(u.Deletes, []hub.Name{{Name: "a"}}) || len(u.Refused) > 0 {
		t.Errorf("gone: %+v", u)
	}
	u := l.updateOf(datastore.Event{Type: datastore.Deleted, Object: namespace("a"), Revision: "7", Err: cause})
	if !cmp.Equal(u.Refused, refused) || len(u.Deletes) > 0 || u.Changed != "7" {
		t.Errorf("watched: %+v", u)
	}
	if u := look(); !cmp.Equal(u.Deletes, []hub.Name{{Name: "a"}}) {
		t.Errorf("gone after that: %+v", u)
	}
}
