package stream

import (
	"context"
	"errors"
	"log/slog"
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
		var wholes atomic.Int64
		go func() { observed <- Observe(ctx, watch, func(o Observed) { wholes.Add(int64(count(o.Whole))) }) }()
		expect(t, next(t, c), []string{"Endpoint/ns/a"}, nil)
		for range 30 {
			time.Sleep(48 * time.Minute)
			put(t, file, s.issuer.token("n1", nil))
			put(t, watch.TokenFile, s.issuer.token("", ofObserver))
		}
		synctest.Wait()
		if accepted, dropped := value(t, registry, "typha_connections_accepted"), value(t, registry, "typha_connections_dropped"); accepted != 1 || dropped != 0 || wholes.Load() != 1 {
			t.Fatalf("a day takes %v streams, of which %v were ended, and %d of the observer", accepted, dropped, wholes.Load())
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

// leased is a server whose stream a test serves by hand, as the peer who. Where tokens is nil a certificate identifies it.
func leased(t *testing.T, tokens *Tokens, who identity) (up chan<- []byte, ended <-chan error) {
	t.Helper()
	h, stop := startHub(t)
	t.Cleanup(stop)
	list(t, h, 1)
	server, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"), Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := encodeFrame(frameHello, Hello{Node: who.name, Version: ProtocolVersion})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if tokens != nil {
		go tokens.keep(ctx, slog.New(slog.DiscardHandler))
	}
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

// TestLease: what becomes of a stream whose token, or certificate, lasts an hour while the API server is there, by what its peer presents after 50 minutes.
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
		"nothing, a certificate": {certificate: true, least: whole, code: codes.Unauthenticated},
		"a token, a certificate": {token: func(i *issuer) string { return i.token("n1", nil) }, certificate: true, least: whole, code: codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, began := newIssuer(t, "k1"), time.Now()
				tokens := i.tokens()
				if c.certificate {
					tokens = nil
				}
				up, ended := leased(t, tokens, identity{"n1", began.Add(time.Hour)})
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
				if len(ended) == 0 {
					t.Error("it goes on")
				} else if err := <-ended; status.Code(err) != c.code {
					t.Errorf("it ended with %v", err)
				}
			})
		})
	}
}

// TestOutageLongerThanATokenLasts: while the API server is away no kubelet renews a token, so streams go on with expired ones, and for
// a while after it is back. Who has no new one then is ended. None is opened with an expired one.
func TestOutageLongerThanATokenLasts(t *testing.T) {
	const outage = 3 * time.Hour
	for name, renewed := range map[string]time.Duration{"renewed": 5 * time.Minute, "renewed during an interruption": 15 * time.Minute, "not renewed": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, began := newIssuer(t, "k1"), time.Now()
				var away atomic.Bool
				tokens := i.tokens()
				tokens.Fetch = func(context.Context) ([]byte, error) {
					if away.Load() {
						return nil, errors.New("connection refused")
					}
					return i.jwks(), nil
				}
				first := i.token("n1", nil)
				up, ended := leased(t, tokens, identity{"n1", began.Add(time.Hour)})
				lasts := func(d time.Duration) {
					t.Helper()
					time.Sleep(d)
					synctest.Wait()
					if len(ended) > 0 {
						t.Fatalf("after %s: %v", time.Since(began), <-ended)
					}
				}
				lasts(time.Hour - time.Minute)
				away.Store(true)
				lasts(outage)
				away.Store(false)
				if _, err := tokens.node(t.Context(), first); err == nil {
					t.Error("a stream would be opened with the expired token")
				}
				if renewed > renewalTime {
					lasts(renewalTime / 2)
					away.Store(true)
					lasts(refreshAfter)
					away.Store(false)
					lasts(renewed - renewalTime/2 - refreshAfter)
				} else {
					lasts(renewed)
				}
				if renewed == 0 {
					lasts(renewalTime - refetchAfter)
					time.Sleep(renewalCheck + 2*refetchAfter + time.Second)
					synctest.Wait()
					if len(ended) == 0 {
						t.Fatal("the stream goes on with the expired token")
					}
					if err := <-ended; status.Code(err) != codes.Unauthenticated {
						t.Errorf("it ended with %v", err)
					}
					return
				}
				message, err := encodeFrame(frameToken, tokenBody{Token: i.token("n1", nil)})
				if err != nil {
					t.Fatal(err)
				}
				up <- message
				lasts(time.Hour + time.Minute - time.Second)
			})
		})
	}
}

// TestRenewedWhileTheServerIsAsked: the token comes when the stream was about to be ended.
func TestRenewedWhileTheServerIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, began := newIssuer(t, "k1"), time.Now()
		tokens := i.tokens()
		asked, answer := make(chan struct{}), make(chan struct{})
		last := began.Add(time.Hour)
		tokens.Fetch = func(context.Context) ([]byte, error) {
			if time.Now().After(last) {
				select {
				case asked <- struct{}{}:
					<-answer
				default:
				}
			}
			return i.jwks(), nil
		}
		up, ended := leased(t, tokens, identity{"n1", last})
		select {
		case <-asked:
		case err := <-ended:
			t.Fatalf("the stream ended without a question: %v", err)
		}
		message, err := encodeFrame(frameToken, tokenBody{Token: i.token("n1", nil)})
		if err != nil {
			t.Fatal(err)
		}
		up <- message
		synctest.Wait()
		close(answer)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(ended) > 0 {
			t.Errorf("the stream ended: %v", <-ended)
		}
	})
}

// TestStreamsEndWithCertificates: without tokens a stream lasts as long as the certificate that it was opened with, and the next one is
// opened with the one that is there by then.
func TestStreamsEndWithCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := startHub(t)
		defer stop()
		list(t, h, 1, pod("a", "n1", "web", ""))
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
			o.TLS.CAFile, o.TLS.CertFile, o.TLS.KeyFile = filepath.Join(dir, pki.CAFile), filepath.Join(dir, pki.CertFile), filepath.Join(dir, pki.KeyFile)
		})
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		expect(t, next(t, c), []string{"Endpoint/ns/a"}, nil)
		go func() { // the commit of the second stream
			_, _ = c.Next(ctx)
		}()
		streams := func(when string, accepted, dropped float64) {
			t.Helper()
			synctest.Wait()
			if a, d := value(t, registry, "typha_connections_accepted"), value(t, registry, "typha_connections_dropped"); a != accepted || d != dropped {
				t.Errorf("%s: %v streams were opened and %v ended, want %v and %v", when, a, d, accepted, dropped)
			}
		}
		time.Sleep(time.Hour - time.Minute)
		issue()
		streams("before the certificate expires", 1, 0)
		time.Sleep(3*time.Minute + 2*lastBackoff)
		streams("after it has expired", 2, 1)
		cancel()
		<-running
	})
}
