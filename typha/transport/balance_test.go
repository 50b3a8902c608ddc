package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// listed are replicas that come and go, in any order.
type listed struct {
	asked atomic.Int32

	mu        sync.Mutex
	addresses []string
	changed   chan struct{}
}

func replicasOf(replicas ...*running) *listed {
	l := &listed{changed: make(chan struct{})}
	l.set(replicas...)
	return l
}

func (l *listed) set(replicas ...*running) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addresses = nil
	for _, r := range replicas {
		l.addresses = append(l.addresses, r.address)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *listed) Addresses() ([]string, error) {
	l.asked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.addresses) == 0 {
		return nil, errors.New("there is no replica")
	}
	var shuffled []string
	for _, i := range rand.Perm(len(l.addresses)) {
		shuffled = append(shuffled, l.addresses[i])
	}
	return shuffled, nil
}

func (l *listed) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// running is a replica.
type running struct {
	*Server
	address string
	stop    func() // and wait
}

func (s *site) replica(h *hub.Hub, opts ServerOptions) *running {
	s.t.Helper()
	opts.Hub, opts.TLS, opts.Tokens = h, s.tls("typha", "felix"), verifier(s.issuer)
	server, err := NewServer(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("Serve: %v", err)
			}
		case <-time.After(within):
			s.t.Error("the server does not end")
		}
	})
	s.t.Cleanup(stop)
	return &running{server, listener.Addr().String(), stop}
}

// within bounds every wait; a machine under load needs most of it.
const within = time.Minute

// follower is a node that reads all it is given.
type follower struct{ upserts, deletes atomic.Int32 }

// followers run nodes n0, n1 and so on.
func (s *site) followers(n int, replicas balance.Replicas) []*follower {
	s.t.Helper()
	tls := s.tls("felix", "typha")
	var all []*follower
	for i := range n {
		node := fmt.Sprint("n", i)
		c := s.client(nil, func(o *ClientOptions) {
			o.Node, o.Replicas, o.TLS, o.TokenFile = node, replicas, tls, s.tokenFile(s.issuer.Token(node, nil))
		})
		f := &follower{}
		all = append(all, f)
		s.run(c)
		go func() {
			for {
				commit, err := c.Next(context.Background())
				if err != nil {
					return
				}
				f.upserts.Add(int32(len(commit.Upserts)))
				f.deletes.Add(int32(len(commit.Deletes)))
			}
		}()
	}
	return all
}

// each waits until every node was given so many pods and the policy of their namespace, and checks that it was given
// nothing else.
func each(t *testing.T, nodes []*follower, pods int32) {
	t.Helper()
	upserts := pods + 1
	for i, f := range nodes {
		hubtest.WaitFor(t, fmt.Sprintf("node n%d with %d objects", i, upserts),
			func() bool { return f.upserts.Load() >= upserts })
	}
	for i, f := range nodes {
		if up, down := f.upserts.Load(), f.deletes.Load(); up != upserts || down != 0 {
			t.Errorf("node n%d was given %d objects and %d deletions, want %d and none: what it has was sent again", i,
				up, down, upserts)
		}
	}
}

// aPodEach puts a pod on each node.
func aPodEach(t *testing.T, h *hub.Hub, revision, nodes int) {
	t.Helper()
	var pods []metav1.Object
	for i := range nodes {
		pods = append(pods, hubtest.Pod(fmt.Sprintf("p%d-%d", revision, i), fmt.Sprint("n", i), "web", ""))
	}
	if revision == 1 {
		hubtest.List(t, h, revision, pods...)
		return
	}
	hubtest.Update(t, h, revision, nil, pods...)
}

func TestNodesGoWhereAReplicaIs(t *testing.T) {
	h, _ := hubtest.Start(t)
	aPodEach(t, h, 1, 3)
	s := newSite(t)
	replicas := replicasOf()
	nodes := s.followers(3, replicas)
	hubtest.WaitFor(t, "the nodes to ask", func() bool { return replicas.asked.Load() > 6 })
	a := s.replica(h, ServerOptions{})
	replicas.set(a)
	each(t, nodes, 1)

	b := s.replica(h, ServerOptions{})
	replicas.set(a, b) // a goes before it is known to have gone
	a.stop()
	hubtest.WaitFor(t, "the nodes at the other replica", func() bool { return b.Streams() == 3 })
	aPodEach(t, h, 2, 3)
	each(t, nodes, 2)
}

func TestSurplusGoesToOtherReplicas(t *testing.T) {
	h, _ := hubtest.Start(t)
	const count, share = 24, 10
	aPodEach(t, h, 1, count)
	s := newSite(t)
	var all []*running
	for range 3 {
		all = append(all, s.replica(h, ServerOptions{Balance: balance.Options{DropInterval: time.Millisecond}}))
	}
	replicas := replicasOf(all[0])
	nodes := s.followers(count, replicas)
	hubtest.WaitFor(t, "all nodes at one replica", func() bool { return all[0].Streams() == count })
	each(t, nodes, 1)
	replicas.set(all...)
	for _, r := range all {
		r.SetMaxStreams(share)
	}
	hubtest.WaitFor(t, "shares", func() bool {
		total := 0
		for _, r := range all {
			if r.Streams() > share {
				return false
			}
			total += r.Streams()
		}
		return total == count
	})
	aPodEach(t, h, 2, count)
	each(t, nodes, 2)
}

// inOrder are replicas of which every node prefers the first.
type inOrder []*running

func (o inOrder) Addresses() (addresses []string, err error) {
	for _, r := range o {
		addresses = append(addresses, r.address)
	}
	return addresses, nil
}
func (inOrder) Changed() <-chan struct{} { return nil }

// TestSurplusGoesPastFullReplicas: where all nodes prefer the same two, as of their zone, the third gets what these
// have no share for.
func TestSurplusGoesPastFullReplicas(t *testing.T) {
	h, _ := hubtest.Start(t)
	const count, share = 24, 10
	aPodEach(t, h, 1, count)
	s := newSite(t)
	var all inOrder
	registry := prometheus.NewRegistry()
	// time to be given what it needs
	opts := ServerOptions{Balance: balance.Options{DropInterval: 20 * time.Millisecond}, Metrics: NewMetrics(registry)}
	for range 3 {
		all = append(all, s.replica(h, opts))
	}
	nodes := s.followers(count, all)
	hubtest.WaitFor(t, "all nodes at the first", func() bool { return all[0].Streams() == count })
	for _, r := range all {
		r.SetMaxStreams(share)
	}
	hubtest.WaitFor(t, "shares", func() bool {
		a, b, c := all[0].Streams(), all[1].Streams(), all[2].Streams()
		return a <= share && b <= share && c <= share && a+b+c == count
	})
	each(t, nodes, 1)
	// The first hands over what is too much for it, and so does the second.
	if streams := metrictest.Value(t, registry, "typha_connections_accepted"); streams > 2*count+share {
		t.Errorf("%v streams were opened", streams)
	}
}

// TestReplicaThatHandsANodeOverIsAskedLast, also where it is listed first.
func TestReplicaThatHandsANodeOverIsAskedLast(t *testing.T) {
	h, _ := hubtest.Start(t)
	aPodEach(t, h, 1, 1)
	s := newSite(t)
	near, far := s.replica(h, ServerOptions{}), s.replica(h, ServerOptions{})
	var addresses atomic.Value
	addresses.Store([]string{near.address, far.address})
	each(t, s.followers(1, &several{&addresses}), 1)
	for range 3 {
		hubtest.WaitFor(t, "the node at the first replica", func() bool {
			return near.Streams() == 1 &&
				far.Streams() == 0
		})
		near.streams.EndOne()
		hubtest.WaitFor(t, "the node at the other replica", func() bool {
			return far.Streams() == 1 &&
				near.Streams() == 0
		})
		far.streams.EndOne()
	}
}

func TestReplicaThatEndsHandsItsNodesOver(t *testing.T) {
	h, _ := hubtest.Start(t)
	const count = 5
	aPodEach(t, h, 1, count)
	s := newSite(t)
	registry := prometheus.NewRegistry()
	going := s.replica(h, ServerOptions{Balance: balance.Options{ShutdownTimeout: time.Hour,
		ShutdownInterval: 100 * time.Millisecond}, Metrics: NewMetrics(registry)})
	staying := s.replica(h, ServerOptions{})
	replicas := replicasOf(going)
	nodes := s.followers(count, replicas)
	each(t, nodes, 1)
	if going.Draining() {
		t.Error("it ends before it is told to")
	}
	replicas.set(going, staying) // it takes the cluster a moment to see that a replica goes
	stopped := make(chan struct{})
	go func() { going.stop(); close(stopped) }()
	hubtest.WaitFor(t, "the first node to go", func() bool { return staying.Streams() > 0 })
	if !going.Draining() {
		t.Error("a node was handed over, and the replica counts as ready")
	}
	aPodEach(t, h, 2, count) // some nodes are here, some there
	each(t, nodes, 2)
	hubtest.WaitFor(t, "all nodes at the other replica", func() bool { return staying.Streams() == count })
	select {
	case <-stopped:
	case <-time.After(within):
		t.Fatal("the replica does not end")
	}
	if n := metrictest.Value(t, registry, "typha_connections_dropped"); n != count {
		t.Errorf("%v nodes were handed over, want %d, before the rest was cut off", n, count)
	}
	aPodEach(t, h, 3, count)
	each(t, nodes, 3)
}

func TestReplicaThatEndsTakesNobodyIn(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	r := s.replica(h, ServerOptions{})
	r.streams.Drain()
	err := s.client(fixed(r.address), nil).connectOnce(t.Context(), r.address)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), balance.ErrElsewhere.Error()) {
		t.Errorf("got %v", err)
	}
}

// TestLastReplicaEndsAtOnce: there is no replica that its nodes could be handed over to.
func TestLastReplicaEndsAtOnce(t *testing.T) {
	h, _ := hubtest.Start(t)
	aPodEach(t, h, 1, 2)
	s := newSite(t)
	r := s.replica(h, ServerOptions{Balance: balance.Options{
		ShutdownTimeout: time.Hour, ShutdownInterval: time.Hour, Alone: func() bool { return true }}})
	each(t, s.followers(2, replicasOf(r)), 1)
	r.stop()
}

// TestWaitForAReplicaEndsWhenOneComes: without one, a node asks less and less often, and again within the spread when
// that changes.
func TestWaitForAReplicaEndsWhenOneComes(t *testing.T) {
	tls := newSite(t).tls("felix", "typha")
	synctest.Test(t, func(t *testing.T) {
		replicas := replicasOf()
		c, err := NewClient(ClientOptions{Node: "n1", TLS: tls, Replicas: replicas})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(time.Minute)
		before := replicas.asked.Load()
		if before < 10 || before > 100 { // twice a round
			t.Errorf("asked %d times in a minute", before)
		}
		time.Sleep(balance.LastBackoff / 4)
		for range 5 {
			synctest.Wait()
			before = replicas.asked.Load()
			replicas.set()
			time.Sleep(balance.Spread)
			synctest.Wait()
			if replicas.asked.Load() == before {
				t.Error("the change did not end the wait")
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}
