package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
)

// gauge gives the value of a metric of this process for the value of its label; 0 if it has none.
func gauge(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// typhas are replicas that a test starts, stops and speaks for.
type typhas struct {
	mu        sync.Mutex
	endpoints []discovery.Endpoint
	known     bool
	changed   chan struct{}
	observers map[string]chan hub.Observed // by address; closed to end the stream
	attempts  map[string]int
}

func newTyphas() *typhas {
	return &typhas{changed: make(chan struct{}), observers: map[string]chan hub.Observed{}, attempts: map[string]int{}}
}

func (s *typhas) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *typhas) Endpoints() ([]discovery.Endpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.endpoints), s.known
}

func (s *typhas) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// list sets the endpoints, "pod@address" each.
func (s *typhas) list(endpoints ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints, s.known = nil, true
	for _, e := range endpoints {
		pod, address, _ := strings.Cut(e, "@")
		s.endpoints = append(s.endpoints, discovery.Endpoint{Pod: pod, Address: address})
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// observe fails at an address where nobody is.
func (s *typhas) observe(ctx context.Context, address string, each func(hub.Observed)) error {
	s.mu.Lock()
	s.attempts[address]++
	said := s.observers[address]
	s.mu.Unlock()
	if said == nil {
		return errors.New("connection refused")
	}
	for {
		select {
		case o, open := <-said:
			if !open {
				return errors.New("stream ended")
			}
			each(o)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// up starts a replica, which says something first.
func (s *typhas) up(address string, first hub.Observed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := make(chan hub.Observed, 1)
	said <- first
	s.observers[address] = said
}

// down ends a replica.
func (s *typhas) down(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.observers[address])
	delete(s.observers, address)
}

// say sends what a replica says next.
func (s *typhas) say(ctx context.Context, address string, o hub.Observed) {
	select {
	case s.waiting(address) <- o:
	case <-ctx.Done():
	}
}

func onNode(name string) hub.Observed {
	return hub.Observed{Whole: true, Nodes: []hub.NodeStatus{{Node: name, Commit: 1, Applied: 1}}}
}

// TestEveryReplicaIsFollowed as they come and go, once each, until its stream ends.
func TestEveryReplicaIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newTyphas(), newPicture()
		ctx, cancel := context.WithCancel(t.Context())
		f := &follower{replicas: s, observe: s.observe, picture: p, say: func(context.Context, change) {},
			log: slog.New(slog.DiscardHandler), followed: map[string]bool{}}
		ended := make(chan error, 1)
		go func() { ended <- f.run(ctx) }()
		expect := func(what, want string) {
			t.Helper()
			time.Sleep(2 * lastBackoff)
			synctest.Wait()
			var got []string
			for _, n := range []string{"n1", "n2", "n3"} {
				_, connected, known := p.node(n)
				got = append(got, map[bool]string{true: "connected",
					false: map[bool]string{true: "not", false: "?"}[known]}[connected])
			}
			if fmt.Sprint(got) != want {
				t.Errorf("%s: nodes %v, want %s", what, got, want)
			}
		}
		expect("nothing is known", "[? ? ?]")
		s.up("4a", onNode("n1"))
		s.up("4b", onNode("n2"))
		s.list("a@4a", "a@6a", "b@6b", "b@4b") // nobody is at 6a and 6b
		expect("each replica at one of its addresses", "[connected connected not]")
		if s.attempts["4a"] != 1 || s.attempts["6a"] != 0 || s.attempts["4b"] != 1 || s.attempts["6b"] != 1 {
			t.Errorf("attempts %v", s.attempts)
		}
		s.list("b@4b", "c@4c")
		expect("a hands over, c is not there yet", "[connected connected ?]")
		s.up("4c", onNode("n3"))
		expect("c has come", "[connected connected connected]")
		s.down("4a")
		expect("a has gone", "[not connected connected]")
		if s.attempts["4a"] != 1 {
			t.Errorf("%d attempts at a replica that is not listed", s.attempts["4a"])
		}
		s.down("4b")
		expect("b does not answer", "[? ? connected]")
		s.up("4b", onNode("n2"))
		expect("it answers again", "[not connected connected]")
		s.up("4a", onNode("n1"))
		s.list("a@4a", "b@4b", "c@4c")
		expect("a is back", "[connected connected connected]")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run ends with %v", err)
		}
	})
}

// waiting is what a replica has said and nobody heard yet.
func (s *typhas) waiting(address string) chan hub.Observed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observers[address]
}

// TestPolicyIsHeardFirst: nothing is written of a generation that replicas may not have seen yet.
func TestPolicyIsHeardFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []resource
		p := &policies{say: func(_ context.Context, c change) { said = append(said, c.resources...) },
			known: map[string]generation{}}
		due := func(what string, number int64, want time.Duration) {
			t.Helper()
			if got := p.due("p", number); got != want {
				t.Errorf("%s: due in %s, want %s", what, got, want)
			}
		}
		update := func(u hub.Update) {
			t.Helper()
			if err := p.Update(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
		object := &metav1.ObjectMeta{Name: "p", Generation: 1}
		update(hub.Update{Upserts: []metav1.Object{object}})
		due("it is new", 1, seenByAll)
		time.Sleep(time.Second)
		update(hub.Update{Upserts: []metav1.Object{object}})
		due("its status changed", 1, seenByAll-time.Second)
		time.Sleep(seenByAll)
		due("it is known", 1, -time.Second)
		due("it changed just now", 2, seenByAll)
		update(hub.Update{Refused: map[hub.Name]string{{Name: "p"}: "bad"}})
		due("it cannot be read", 3, seenByAll)
		update(hub.Update{Deletes: []hub.Name{{Name: "p"}}})
		if len(said) != 3 || said[0] != policyNamed("p") || len(p.all()) != 0 {
			t.Errorf("told of %v, left is %v", said, p.all())
		}
	})
}
