package stream

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// value gives the value of a metric, the sum or count of one that has several.
func value(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetSummary().GetSampleCount())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestSilentClientIsDropped(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	<-h.InSync()
	server, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"), Tokens: verifier(tokens.NewIssuer(t, "k1"))})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := &nodeStream{ctx: t.Context()}
		began := time.Now()
		if err := server.serve(n, auth.Identity{Name: "n1"}); status.Code(err) != codes.DeadlineExceeded || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestNodeThatDoesNotReadIsDropped: after the grace period, a node that leaves changes unread for too long loses its session;
// one that reads keeps it.
func TestNodeThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		h := NewHub(HubOptions{Kinds: []string{calc.KindPod}, MaxFallBehind: time.Minute, GracePeriod: 210 * time.Second, Metrics: NewMetrics(registry)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		if err := h.Update(t.Context(), Update{Kind: calc.KindPod, Listed: true}); err != nil {
			t.Fatal(err)
		}
		connect := func() *Session {
			s, err := h.connect(t.Context(), Hello{Node: "n1"}, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			return s
		}
		idle, reader := connect(), connect()
		is := func(s *Session) bool {
			synctest.Wait()
			select {
			case <-s.ended:
				return true
			default:
				return false
			}
		}
		for minute := range 5 {
			update(t, h, minute+2, nil, pod(fmt.Sprint("p", minute), "n1", "web", ""))
			synctest.Wait()
			if _, err := reader.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if got, want := is(idle), minute >= 3; got != want {
				t.Errorf("after %d minutes: dropped %v, want %v", minute+1, got, want)
			}
			if n := value(t, registry, "typha_nodes_unread"); n != 1 {
				t.Errorf("after %d minutes: %v nodes do not read", minute+1, n)
			}
		}
		if is(reader) {
			t.Error("the node that reads was dropped")
		}
		if grace := value(t, registry, "typha_connections_grace_used"); grace != 1 {
			t.Errorf("%v sessions used the grace period", grace)
		}
		cancel()
		<-ended
	})
}

// TestChangeWakesWhomItConcerns counts the commits that are cut.
func TestChangeWakesWhomItConcerns(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := NewHub(HubOptions{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy}, Metrics: NewMetrics(registry)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	list(t, h, 1)
	const nodes = 500
	commits := make(chan string, nodes)
	for i := range nodes {
		name := fmt.Sprint("n", i)
		s := h.Source(name)
		next(t, s)
		go func() {
			for {
				if _, err := s.Next(ctx); err != nil {
					return
				}
				commits <- name
			}
		}()
	}
	for i := range 20 {
		update(t, h, i+2, nil, pod(fmt.Sprint("p", i), "n7", "web", ""))
		if name := <-commits; name != "n7" {
			t.Errorf("%s was woken", name)
		}
	}
	if blocked := value(t, registry, "typha_breadcrumb_block") + value(t, registry, "typha_breadcrumb_non_block"); blocked > nodes+20 {
		t.Errorf("%v commits were cut", blocked)
	}
}

// TestSnapshotsAreEncodedAndCompressedOnce: the second of two nodes that need the same gets the first one's octets.
func TestSnapshotsAreEncodedAndCompressedOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	h, _ := startHub(t)
	objects := []metav1.Object{pod("a", "n1", "web", ""), pod("z", "n2", "web", ""), allowFrom("db")}
	for i := range 5000 {
		objects = append(objects, pod(fmt.Sprint("p", i), "n3", "db", fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	list(t, h, 10, objects...)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{Metrics: metrics, TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	read := func(node string) {
		c := s.client(fixed(address), func(o *ClientOptions) { o.Node, o.TokenFile = node, s.tokenFile(s.issuer.Token(node, nil)) })
		s.run(c)
		for _, o := range next(t, c).Upserts {
			if set, ok := o.(*wire.IPSet); ok && len(set.Nets) != 5000 {
				t.Errorf("%s got %d members", node, len(set.Nets))
			}
		}
	}
	read("n1")
	if reused := value(t, registry, "typha_snapshots_reused"); reused != 0 {
		t.Errorf("the first snapshot reuses %v parts", reused)
	}
	read("n2")
	if reused := value(t, registry, "typha_snapshots_reused"); reused < 3 {
		t.Errorf("the second snapshot reuses %v parts", reused)
	}
	raw, sent := value(t, registry, "typha_snapshot_raw_bytes"), value(t, registry, "typha_snapshot_compressed_bytes")
	if raw < 5000*6 || sent > raw/2 {
		t.Errorf("%v octets were compressed to %v", raw, sent)
	}
}

// TestReconnectSendsPiecesOfALargeSet: a node that comes from another replica with a large set, of which a member changed
// meanwhile, gets a small part of it.
func TestReconnectSendsPiecesOfALargeSet(t *testing.T) {
	objects := []metav1.Object{pod("a", "n1", "web", ""), allowFrom("db")}
	for i := range 20_000 {
		objects = append(objects, pod(fmt.Sprint("p", i), "n3", "db", fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	old, _ := startHub(t)
	list(t, old, 10, objects...)
	held := map[wire.ID]wire.Object{}
	for _, o := range next(t, old.Source("n1")).Upserts {
		held[o.ID()] = o
	}
	young, _ := startHub(t)
	list(t, young, 20, append(objects[:10_000:10_000], objects[10_001:]...)...)
	for name, c := range map[string]struct {
		features wire.Features
		most     float64
	}{"pieces": {wire.AllFeatures, 20_000}, "older node": {wire.AllFeatures &^ wire.FeatureSetPieces, 200_000}} {
		t.Run(name, func(t *testing.T) {
			registry, s := prometheus.NewRegistry(), newSite(t)
			address, _ := s.serve(young, ServerOptions{Metrics: NewMetrics(registry), TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
			client := s.client(fixed(address), func(o *ClientOptions) { o.Held, o.Features = held, c.features })
			s.run(client)
			commit := next(t, client)
			if len(commit.Upserts) != 1 || len(commit.Upserts[0].(*wire.IPSet).Nets) != 19_999 {
				t.Errorf("the commit has %d objects", len(commit.Upserts))
			}
			waitFor(t, "the figure", func() bool { return value(t, registry, "typha_snapshot_raw_bytes") > 0 })
			if raw := value(t, registry, "typha_snapshot_raw_bytes"); raw > c.most {
				t.Errorf("%v octets were sent", raw)
			}
		})
	}
}

func TestPingsAreAnswered(t *testing.T) {
	registry := prometheus.NewRegistry()
	h, _ := startHub(t)
	list(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{Metrics: NewMetrics(registry), PingInterval: time.Millisecond, TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	c := s.client(fixed(address), nil)
	s.run(c)
	next(t, c)
	waitFor(t, "an answer", func() bool { return value(t, registry, "typha_ping_latency") > 0 })
}

func TestInflateIsBounded(t *testing.T) {
	frame, err := deflate(make([]byte, maxInflated+1))
	if err != nil {
		t.Fatal(err)
	}
	err = decodeFrames(frame, func(_ int, body []byte) error { _, err := inflate(body); return err })
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
	inner, err := deflate(make([]byte, 4096))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := encodeFrame(frameDeflate, inner)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(&Client{}, nil)
	if err := r.frames(t.Context(), nested); err == nil {
		t.Error("octets that are not compressed were taken")
	}
}

// TestCatalogIsSortedAndShared compares a catalog with a map, and an earlier one with what it was.
func TestCatalogIsSortedAndShared(t *testing.T) {
	var c catalog
	want := map[wire.ID]*object{}
	var before catalog
	for i := range 3000 {
		id := (&wire.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i * 7 % 11), byte(i * 31 % 251), 0}), 26)}).ID()
		if i%5 == 4 {
			c = c.without(id)
			delete(want, id)
		} else {
			o := &object{id: id, revision: uint64(i)}
			c, want[id] = c.with(o), o
		}
		if i == 1500 {
			before = c
		}
	}
	held, last := before.count(), wire.ID{}
	for _, s := range c {
		if len(s.objects) == 0 || len(s.objects) > shelfSize {
			t.Errorf("a shelf of %d", len(s.objects))
		}
		for _, o := range s.objects {
			if want[o.id] != o || compareIDs(last, o.id) >= 0 {
				t.Errorf("%s is not in its place", o.id)
			}
			last = o.id
		}
	}
	if c.count() != len(want) || before.count() != held || held == 0 {
		t.Errorf("%d objects, want %d", c.count(), len(want))
	}
	for _, o := range want {
		c = c.without(o.id)
	}
	if len(c) != 0 {
		t.Errorf("%d shelves are left", len(c))
	}
}
