package transport

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestAnswers: a node is asked for its status, and observers are told what it answers: an observer that has the answer
// only that it is still the same, another one all of it.
func TestAnswers(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	asking := &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: v3.CalicoNodeStatusSpec{Node: "n1", Classes: []v3.NodeStatusClassType{v3.NodeStatusClassTypeBGP}}}
	if err := h.Update(t.Context(), hub.Update{Kind: calc.KindCalicoNodeStatus,
		Upserts: []metav1.Object{asking}}); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{ObserveInterval: time.Millisecond})
	c := s.client(func() string { return address }, nil)
	old := s.client(func() string { return address }, func(o *ClientOptions) {
		o.Features = wire.AllFeatures &^ wire.FeatureNodeStatus
	})
	s.run(old)
	if got := hubtest.Next(t, old); len(got.Upserts) > 0 {
		t.Errorf("a node that does not know the request gets %v", got.Upserts)
	}
	s.run(c)
	want := []wire.Object{&wire.StatusRequest{Node: "n1", BGP: true, PeriodSeconds: 10}}
	if diff := cmp.Diff(want, hubtest.Next(t, c).Upserts); diff != "" {
		t.Errorf("the node gets (-want +got):\n%s", diff)
	}

	seen, _ := s.observe(s.observer(address, nil))
	answer := func(seen <-chan hub.Observed) []hub.NodeAnswer {
		for {
			if o := told(t, seen); len(o.Answers) > 0 {
				return o.Answers
			}
		}
	}
	started := time.Now()
	first := wire.StatusAnswer{Status: []byte(`{"agent":{}}`), Omitted: 3}
	c.Answer(first)
	same := cmp.Options{cmpopts.IgnoreFields(hub.NodeAnswer{}, "Said"), cmpopts.EquateEmpty()}
	got := answer(seen)
	if diff := cmp.Diff([]hub.NodeAnswer{{Node: "n1", StatusAnswer: first}}, got, same); diff != "" {
		t.Errorf("the first answer (-want +got):\n%s", diff)
	}
	if said := got[0].Said; said.Before(started.Add(-time.Second)) || said.After(time.Now()) {
		t.Errorf("it was said at %v, now it is %v", said, time.Now())
	}
	c.Answer(first)
	if diff := cmp.Diff([]hub.NodeAnswer{{Node: "n1"}}, answer(seen), same); diff != "" {
		t.Errorf("the same again (-want +got):\n%s", diff)
	}
	other, _ := s.observe(s.observer(address, nil))
	if diff := cmp.Diff([]hub.NodeAnswer{{Node: "n1", StatusAnswer: first}}, answer(other), same); diff != "" {
		t.Errorf("to another observer (-want +got):\n%s", diff)
	}
	c.Answer(wire.StatusAnswer{Status: bytes.Repeat([]byte("x"), wire.MaxStatusAnswer+1)})
	last := wire.StatusAnswer{Status: bytes.Repeat([]byte("y"), wire.MaxStatusAnswer)}
	hubtest.WaitFor(t, "the last answer", func() bool {
		c.Answer(last) // in place of the one before, or after it
		return cmp.Diff([]hub.NodeAnswer{{Node: "n1", StatusAnswer: last}}, answer(seen), same) == ""
	})
}

// TestRequestMadeAgain: a node that is asked anew reports all, also if Typha dropped what it reported in between.
func TestRequestMadeAgain(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	update := func(u hub.Update) {
		t.Helper()
		u.Kind = calc.KindCalicoNodeStatus
		if err := h.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	asking := func() hub.Update {
		return hub.Update{Upserts: []metav1.Object{&v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec: v3.CalicoNodeStatusSpec{Node: "n1", Classes: []v3.NodeStatusClassType{v3.NodeStatusClassTypeBGP}}}}}
	}
	update(asking())
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	c := s.client(func() string { return address }, nil)
	s.run(c)
	hubtest.Next(t, c)
	kept := func() bool {
		c.Answer(wire.StatusAnswer{Status: []byte("x")})
		o, err := h.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		seen, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(seen.Answers) > 0
	}
	hubtest.WaitFor(t, "the answer", kept)
	update(hub.Update{Deletes: []hub.Name{{Name: "a"}}})
	hubtest.Next(t, c)
	hubtest.WaitFor(t, "the end of the request", func() bool { return !kept() })
	update(asking())
	hubtest.Next(t, c)
	hubtest.WaitFor(t, "the answer to the second request", kept)
}
