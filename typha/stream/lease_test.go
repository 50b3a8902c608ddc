package stream

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// inMemory runs a server that is reached without a network, for a test whose time is its own.
func (s *site) inMemory(h *Hub, opts ServerOptions) (dial func(context.Context, string) (net.Conn, error), stop func()) {
	listener := bufconn.Listen(1 << 20)
	return func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }, s.serveOn(listener, h, opts)
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

// TestStreamsOutliveTokensThatAreRenewed: with a new token every 48 minutes, of an hour each, nobody connects again in a day. Once
// none is renewed, the streams end, and once it is, the node is given what changed alone.
func TestStreamsOutliveTokensThatAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := startHub(t)
		defer stop()
		list(t, h, 1, pod("a", "n1", "web", ""))
		registry, s := prometheus.NewRegistry(), newSite(t)
		dial, stopServer := s.inMemory(h, ServerOptions{TLS: s.tls("typha", "felix"), Tokens: s.issuer.tokens(), Metrics: NewMetrics(registry)})
		defer stopServer()
		var file string
		c := s.client(fixed("typha"), func(o *ClientOptions) { o.dial, file = dial, o.TokenFile })
		watch := s.observer("typha", func(o *ObserverOptions) { o.dial = dial })
		ctx, cancel := context.WithCancel(t.Context())
		running, observed := make(chan error, 1), make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		wholes := 0
		go func() { observed <- Observe(ctx, watch, func(o Observed) { wholes += count(o.Whole) }) }()
		expect(t, next(t, c), []string{"Endpoint/ns/a"}, nil)
		for range 30 {
			time.Sleep(48 * time.Minute)
			put(t, file, s.issuer.token("n1", nil))
			put(t, watch.TokenFile, s.issuer.token("", ofObserver))
		}
		synctest.Wait()
		if accepted, dropped := value(t, registry, "typha_connections_accepted"), value(t, registry, "typha_connections_dropped"); accepted != 1 || dropped != 0 || wholes != 1 {
			t.Fatalf("a day takes %v streams, of which %v were ended, and %d of the observer", accepted, dropped, wholes)
		}

		renewed := time.Now()
		if err := <-observed; status.Code(err) != codes.Unauthenticated {
			t.Errorf("the observer's stream ended with %v", err)
		}
		least, most := time.Hour+time.Minute, time.Hour+time.Minute+expirySpread
		if lasted := time.Since(renewed); lasted < least || lasted > most {
			t.Errorf("the observer's stream lasted %s longer than its token was renewed", lasted)
		}
		time.Sleep(time.Until(renewed.Add(most)))
		synctest.Wait()
		if active := value(t, registry, "typha_connections_active"); active != 0 {
			t.Fatal("the node's stream goes on")
		}
		update(t, h, 2, nil, pod("b", "n1", "web", ""))
		put(t, file, s.issuer.token("n1", nil))
		asked := time.Now()
		expect(t, next(t, c), []string{"Endpoint/ns/b"}, nil)
		if waited := time.Since(asked); waited > 2*lastBackoff {
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

// leased is a server whose stream a test serves by hand, as the peer who, which has a token for an hour.
func leased(t *testing.T, issuer *issuer, who identity) (up chan<- []byte, ended <-chan error) {
	t.Helper()
	h, stop := startHub(t)
	t.Cleanup(stop)
	list(t, h, 1)
	server, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"), Tokens: issuer.tokens()})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := encodeFrame(frameHello, Hello{Node: who.name, Version: ProtocolVersion})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	more, end := make(chan []byte, 1), make(chan error, 1)
	n := &nodeStream{ctx: ctx, up: [][]byte{hello}, more: more, sent: make(chan []byte)}
	go func() { end <- server.serve(n, who); cancel() }()
	go func() {
		for {
			select {
			case <-n.sent:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); synctest.Wait() })
	return more, end
}

// TestLease: what becomes of a stream whose token lasts an hour, by what its peer presents after 50 minutes.
func TestLease(t *testing.T) {
	const whole = time.Hour + time.Minute // with the leeway
	for name, c := range map[string]struct {
		token       func(*issuer) string // nil: none
		certificate bool
		least       time.Duration // that it lasts, and for up to expirySpread more
		code        codes.Code
	}{
		"nothing":        {least: whole, code: codes.Unauthenticated},
		"a new token":    {token: func(i *issuer) string { return i.token("n1", nil) }, least: 50*time.Minute + whole, code: codes.Unauthenticated},
		"a broken token": {token: func(*issuer) string { return "nonsense" }, least: whole, code: codes.Unauthenticated},
		"an expired token": {token: func(i *issuer) string {
			return i.token("n1", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() })
		}, least: whole, code: codes.Unauthenticated},
		"one of an unknown key": {token: func(i *issuer) string { return newIssuer(i.t, "k2").token("n1", nil) }, least: whole,
			code: codes.Unauthenticated},
		"one of an observer":     {token: func(i *issuer) string { return i.token("n1", ofObserver) }, least: whole, code: codes.Unauthenticated},
		"one of another node":    {token: func(i *issuer) string { return i.token("n2", nil) }, code: codes.PermissionDenied},
		"nothing, a certificate": {certificate: true, least: 100 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, began := newIssuer(t, "k1"), time.Now()
				who := identity{"n1", began.Add(time.Hour)}
				if c.certificate {
					who.expires = time.Time{}
				}
				up, ended := leased(t, i, who)
				lasts := func(until time.Duration) {
					t.Helper()
					time.Sleep(time.Until(began.Add(until)))
					synctest.Wait()
					if len(ended) > 0 {
						t.Fatalf("after %s: %v", time.Since(began), <-ended)
					}
				}
				lasts(50 * time.Minute)
				if c.token != nil {
					message, err := encodeFrame(frameToken, tokenBody{Token: c.token(i)})
					if err != nil {
						t.Fatal(err)
					}
					up <- message
				}
				if c.least > 0 {
					lasts(c.least - time.Nanosecond)
				}
				time.Sleep(expirySpread + time.Nanosecond)
				synctest.Wait()
				if c.code == codes.OK {
					lasts(time.Since(began))
				} else if len(ended) == 0 {
					t.Error("it goes on")
				} else if err := <-ended; status.Code(err) != c.code {
					t.Errorf("it ended with %v", err)
				}
			})
		})
	}
}
