package transport

import (
	"fmt"
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
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestSilentClientIsDropped(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	<-h.InSync()
	server, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"),
		Tokens: verifier(tokens.NewIssuer(t, "k1"))})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := &nodeStream{ctx: t.Context()}
		began := time.Now()
		if err := server.serve(n, auth.Identity{Name: "n1"}); status.Code(err) != codes.DeadlineExceeded ||
			time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestSnapshotsAreEncodedAndCompressedOnce: the second of two nodes that need the same gets the first one's octets.
func TestSnapshotsAreEncodedAndCompressedOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	h, _ := hubtest.Start(t)
	objects := []metav1.Object{hubtest.Pod("a", "n1", "web", ""), hubtest.Pod("z", "n2", "web", ""),
		hubtest.AllowFrom("db")}
	for i := range 5000 {
		objects = append(objects, hubtest.Pod(fmt.Sprint("p", i), "n3", "db", fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	hubtest.List(t, h, 10, objects...)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{Metrics: metrics, TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	read := func(node string) {
		c := s.client(fixed(address), func(o *ClientOptions) {
			o.Node, o.TokenFile = node,
				s.tokenFile(s.issuer.Token(node, nil))
		})
		s.run(c)
		for _, o := range hubtest.Next(t, c).Upserts {
			if set, ok := o.(*wire.IPSet); ok && len(set.Nets) != 5000 {
				t.Errorf("%s got %d members", node, len(set.Nets))
			}
		}
	}
	read("n1")
	if reused := metrictest.Value(t, registry, "typha_snapshots_reused"); reused != 0 {
		t.Errorf("the first snapshot reuses %v parts", reused)
	}
	read("n2")
	if reused := metrictest.Value(t, registry, "typha_snapshots_reused"); reused < 3 {
		t.Errorf("the second snapshot reuses %v parts", reused)
	}
	raw, sent := metrictest.Value(t, registry, "typha_snapshot_raw_bytes"),
		metrictest.Value(t, registry, "typha_snapshot_compressed_bytes")
	if raw < 5000*6 || sent > raw/2 {
		t.Errorf("%v octets were compressed to %v", raw, sent)
	}
}

// TestReconnectSendsPiecesOfALargeSet: a node that comes from another replica with a large set, of which a member
// changed meanwhile, gets a small part of it.
func TestReconnectSendsPiecesOfALargeSet(t *testing.T) {
	objects := []metav1.Object{hubtest.Pod("a", "n1", "web", ""), hubtest.AllowFrom("db")}
	for i := range 20_000 {
		objects = append(objects, hubtest.Pod(fmt.Sprint("p", i), "n3", "db", fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	old, _ := hubtest.Start(t)
	hubtest.List(t, old, 10, objects...)
	held := map[wire.ID]wire.Object{}
	for _, o := range hubtest.Next(t, old.Source("n1")).Upserts {
		held[o.ID()] = o
	}
	young, _ := hubtest.Start(t)
	hubtest.List(t, young, 20, append(objects[:10_000:10_000], objects[10_001:]...)...)
	for name, c := range map[string]struct {
		features wire.Features
		most     float64
	}{"pieces": {wire.AllFeatures, 20_000}, "older node": {wire.AllFeatures &^ wire.FeatureSetPieces, 200_000}} {
		t.Run(name, func(t *testing.T) {
			registry, s := prometheus.NewRegistry(), newSite(t)
			address, _ := s.serve(young, ServerOptions{Metrics: NewMetrics(registry), TLS: s.tls("typha", "felix"),
				Tokens: verifier(s.issuer)})
			client := s.client(fixed(address), func(o *ClientOptions) { o.Held, o.Features = held, c.features })
			s.run(client)
			commit := hubtest.Next(t, client)
			if len(commit.Upserts) != 1 || len(commit.Upserts[0].(*wire.IPSet).Nets) != 19_999 {
				t.Errorf("the commit has %d objects", len(commit.Upserts))
			}
			hubtest.WaitFor(t, "the figure", func() bool {
				return metrictest.Value(t, registry,
					"typha_snapshot_raw_bytes") > 0
			})
			if raw := metrictest.Value(t, registry, "typha_snapshot_raw_bytes"); raw > c.most {
				t.Errorf("%v octets were sent", raw)
			}
		})
	}
}

func TestPingsAreAnswered(t *testing.T) {
	registry := prometheus.NewRegistry()
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{Metrics: NewMetrics(registry), PingInterval: time.Millisecond,
		TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	c := s.client(fixed(address), nil)
	s.run(c)
	hubtest.Next(t, c)
	hubtest.WaitFor(t, "an answer", func() bool { return metrictest.Value(t, registry, "typha_ping_latency") > 0 })
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
