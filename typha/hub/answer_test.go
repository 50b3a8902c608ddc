package hub_test

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestUnaskedAnswers: what a node reports though nobody asks, or no more, is not kept.
func TestUnaskedAnswers(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	asking := &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: v3.CalicoNodeStatusSpec{Node: "n1", Classes: []v3.NodeStatusClassType{v3.NodeStatusClassTypeBGP}}}
	update := func(u hub.Update) {
		t.Helper()
		u.Kind = calc.KindCalicoNodeStatus
		if err := h.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(s *hub.Session) bool {
		t.Helper()
		s.Answer(wire.StatusAnswer{Status: []byte("x")})
		kept, err := s.HasAnswer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	update(hub.Update{Upserts: []metav1.Object{asking}})
	asked, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	unasked, err := h.Connect(t.Context(), hub.Hello{Node: "n2"})
	if err != nil {
		t.Fatal(err)
	}
	if !kept(asked) || kept(unasked) {
		t.Errorf("kept of the node that is asked: %v, of another: %v", kept(asked), kept(unasked))
	}
	update(hub.Update{Deletes: []hub.Name{{Name: "a"}}})
	hubtest.WaitFor(t, "the end of the request", func() bool { return !kept(asked) })
}
