package transport

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// inMemory runs a server that is reached without a network, for a test whose time is its own.
func (s *site) inMemory(h *hub.Hub, opts ServerOptions) (dial func(context.Context, string) (net.Conn, error),
	stop func()) {
	listener := bufconn.Listen(1 << 20)
	return func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) },
		s.serveOn(listener, h, opts)
}

// put replaces a token as the kubelet does.
func put(t *testing.T, file, token string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// TestStreamsOutliveTokensThatAreRenewed: with a new token every 48 minutes, of an hour each, nobody connects again in
// a day. Once none is renewed, the streams end, and once it is, the node is given what changed alone.
func TestStreamsOutliveTokensThatAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
		registry, s := prometheus.NewRegistry(), newSite(t)
		dial, stopServer := s.inMemory(h, ServerOptions{TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer),
			Metrics: NewMetrics(registry)})
		defer stopServer()
		var file string
		c := s.client(fixed("typha"), func(o *ClientOptions) { o.dial, file = dial, o.TokenFile })
		watch := s.observer("typha", func(o *ObserverOptions) { o.dial = dial })
		ctx, cancel := context.WithCancel(t.Context())
		running, observed := make(chan error, 1), make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		var wholes atomic.Int64
		go func() {
			observed <- Observe(ctx, watch, func(o hub.Observed) {
				if o.Whole {
					wholes.Add(1)
				}
			})
		}()
		hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/a"}, nil)
		for range 30 {
			time.Sleep(48 * time.Minute)
			put(t, file, s.issuer.Token("n1", nil))
			put(t, watch.TokenFile, s.issuer.Token("", tokens.ForObserver))
		}
		synctest.Wait()
		if accepted, dropped := metrictest.Value(t, registry, "typha_connections_accepted"),
			metrictest.Value(t, registry, "typha_connections_dropped"); accepted != 1 || dropped != 0 ||
			wholes.Load() != 1 {
			t.Fatalf("a day takes %v streams, of which %v were ended, and %d of the observer", accepted, dropped,
				wholes.Load())
		}

		renewed := time.Now()
		if err := <-observed; status.Code(err) != codes.Unauthenticated {
			t.Errorf("the observer's stream ended with %v", err)
		}
		least, most := time.Hour+time.Minute, time.Hour+2*time.Minute
		if lasted := time.Since(renewed); lasted < least || lasted > most {
			t.Errorf("the observer's stream lasted %s longer than its token was renewed", lasted)
		}
		time.Sleep(time.Until(renewed.Add(most)))
		synctest.Wait()
		if active := metrictest.Value(t, registry, "typha_connections_active"); active != 0 {
			t.Fatal("the node's stream goes on")
		}
		hubtest.Update(t, h, 2, nil, hubtest.Pod("b", "n1", "web", ""))
		put(t, file, s.issuer.Token("n1", nil))
		asked := time.Now()
		hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/b"}, nil)
		if waited := time.Since(asked); waited > 2*balance.LastBackoff {
			t.Errorf("the node came back after %s", waited)
		}
		cancel()
		<-running
	})
}

// sentTokens is the client's side of a stream, which counts what is sent.
type sentTokens struct {
	grpc.ClientStream
	sent int
}

func (s *sentTokens) SendMsg(any) error { s.sent++; return nil }

// TestTokenIsPresentedOnce: not again while the file is as it was, or cannot be read.
func TestTokenIsPresentedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, stream := filepath.Join(t.TempDir(), "token"), &sentTokens{}
		put(t, file, "first")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			(&call{stream: stream, tokenFile: file, token: "first"}).renew(ctx)
			close(ended)
		}()
		time.Sleep(time.Hour)
		put(t, file, "second")
		time.Sleep(time.Hour)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		put(t, file, "second\n")
		time.Sleep(time.Hour)
		cancel()
		<-ended
		if stream.sent != 1 {
			t.Errorf("one new token was presented %d times", stream.sent)
		}
	})
}

// TestStreamsEndWithCertificates: without tokens a stream lasts as long as the certificate that it was opened with, and
// the next one is opened with the one that is there by then.
func TestStreamsEndWithCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
		registry, s := prometheus.NewRegistry(), newSite(t)
		dial, stopServer := s.inMemory(h, ServerOptions{TLS: s.tls("typha", ""), Metrics: NewMetrics(registry)})
		defer stopServer()
		dir := t.TempDir()
		issue := func() {
			t.Helper()
			pair, err := s.authority.Issue("node:n1", time.Hour)
			if err == nil {
				err = s.authority.Write(dir, pair)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		issue()
		c := s.client(fixed("typha"), func(o *ClientOptions) {
			o.dial, o.TokenFile = dial, ""
			o.TLS.CAFile, o.TLS.CertFile, o.TLS.KeyFile = filepath.Join(dir, pki.CAFile),
				filepath.Join(dir, pki.CertFile), filepath.Join(dir, pki.KeyFile)
		})
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/a"}, nil)
		go func() { // the commit of the second stream
			_, _ = c.Next(ctx)
		}()
		streams := func(when string, accepted, dropped float64) {
			t.Helper()
			synctest.Wait()
			if a, d := metrictest.Value(t, registry, "typha_connections_accepted"),
				metrictest.Value(t, registry, "typha_connections_dropped"); a != accepted || d != dropped {
				t.Errorf("%s: %v streams were opened and %v ended, want %v and %v", when, a, d, accepted, dropped)
			}
		}
		time.Sleep(time.Hour - time.Minute)
		issue()
		streams("before the certificate expires", 1, 0)
		time.Sleep(3*time.Minute + 2*balance.LastBackoff)
		streams("after it has expired", 2, 1)
		cancel()
		<-running
	})
}
