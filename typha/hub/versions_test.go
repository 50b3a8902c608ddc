package hub_test

import (
	"errors"
	"testing"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestAcceptedOnlyWithEverythingApplied: what decides is up to when each kind has been seen, and of a kind that was
// listed at no revision nothing is certain.
func TestAcceptedOnlyWithEverythingApplied(t *testing.T) {
	const kind = calc.KindClusterNetworkPolicy
	h, _ := hubtest.Start(t, kind)
	hubtest.List(t, h, 100)
	hand := func(u hub.Update) {
		t.Helper()
		u.Kind = kind
		if err := h.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, applied string, accepted bool) {
		t.Helper()
		s, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names(),
			Applied: map[string]string{kind: applied}})
		switch {
		case err == nil:
			s.Close()
		case !errors.Is(err, hub.ErrBehind):
			t.Fatal(err)
		}
		if (err == nil) != accepted {
			t.Errorf("%s: a node that applied %q: %v, want it accepted: %v", when, applied, err, accepted)
		}
	}
	hand(hub.Update{Listed: true})
	check("listed without a revision", "", true)
	check("listed without a revision", "7", false)
	hand(hub.Update{Seen: "99"})
	check("seen up to 99", "99", true)
	check("seen up to 99", "100", false)
	hand(hub.Update{Seen: "not a number"})
	check("a revision that means nothing", "99", true)
	hand(hub.Update{Seen: "100"})
	check("seen up to 100", "100", true)
	s, err := h.Connect(t.Context(),
		hub.Hello{Node: "n1", Applied: map[string]string{"Kind.of.a.later.release": "1000"}})
	if err != nil {
		t.Fatalf("a node that applied what is not read: %v", err)
	}
	s.Close()
}
