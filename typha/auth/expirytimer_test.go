package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/test/tokens"
)

// timed starts the timer of a node's stream. renew presents a later token, as the peer's. ended receives why the stream
// ends. Where verifier is nil, a certificate identifies the node.
func timed(t *testing.T, verifier *Tokens, holder Identity) (renew func(token string), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := make(chan struct{})
	if verifier != nil {
		go verifier.Keep(ctx, slog.New(slog.DiscardHandler))
	}
	l := NewExpiryTimer(ctx, ExpiryOptions{Role: Node, Holder: holder, Tokens: verifier, End: cancel,
		Logger: slog.New(slog.DiscardHandler)})
	end := make(chan error, 1)
	go func() {
		defer close(stopped)
		<-ctx.Done()
		l.Release()
		end <- context.Cause(ctx)
	}()
	t.Cleanup(func() { cancel(nil); <-stopped })
	renew = func(token string) {
		go func() { // as a stream that receives does
			if err := l.Renew(ctx, token); err != nil {
				cancel(err)
			}
		}()
	}
	return renew, end
}

// TestExpiryTimer: when and why a stream ends whose token, or certificate, expires after an hour, by what its peer
// presents after 50 minutes. The API server answers all the time.
func TestExpiryTimer(t *testing.T) {
	const whole = time.Hour + time.Minute // with the leeway
	for name, c := range map[string]struct {
		token       func(*testing.T, *tokens.Issuer) string // nil: none
		certificate bool
		least       time.Duration // that it lasts, and for up to expirySpread more
		code        codes.Code
	}{
		"nothing": {least: whole, code: codes.Unauthenticated},
		"a new token": {token: func(t *testing.T, i *tokens.Issuer) string { return i.Token("n1", nil) },
			least: 50*time.Minute + whole, code: codes.Unauthenticated},
		"a broken token": {token: func(*testing.T, *tokens.Issuer) string { return "nonsense" }, least: whole,
			code: codes.Unauthenticated},
		"an expired token": {token: func(t *testing.T, i *tokens.Issuer) string {
			return i.Token("n1", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() })
		}, least: whole, code: codes.Unauthenticated},
		"one of an unknown key": {token: func(t *testing.T, i *tokens.Issuer) string {
			return tokens.NewIssuer(t,
				"k2").Token("n1", nil)
		}, least: whole,
			code: codes.Unauthenticated},
		"one of an observer": {token: func(t *testing.T,
			i *tokens.Issuer) string {
			return i.Token("n1", tokens.ForObserver)
		}, least: whole, code: codes.Unauthenticated},
		"one of another node": {token: func(t *testing.T, i *tokens.Issuer) string { return i.Token("n2", nil) },
			code: codes.PermissionDenied},
		"nothing, a certificate": {certificate: true, least: whole, code: codes.Unauthenticated},
		"a token, a certificate": {token: func(t *testing.T, i *tokens.Issuer) string { return i.Token("n1", nil) },
			certificate: true, least: whole, code: codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, began := tokens.NewIssuer(t, "k1"), time.Now()
				verifier := tokensOf(i)
				if c.certificate {
					verifier = nil
				}
				renew, ended := timed(t, verifier, Identity{"n1", began.Add(time.Hour)})
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
					renew(c.token(t, i))
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

// TestOutageLongerThanATokenLasts: while the API server is away no kubelet renews a token, so streams go on with
// expired ones, and for a while after it is back. Who has no new one then is ended. None is opened with an expired one.
func TestOutageLongerThanATokenLasts(t *testing.T) {
	const outage = 3 * time.Hour
	for name, renewed := range map[string]time.Duration{"renewed": 5 * time.Minute,
		"renewed during an interruption": 15 * time.Minute, "not renewed": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, began := tokens.NewIssuer(t, "k1"), time.Now()
				var away atomic.Bool
				verifier := tokensOf(i)
				verifier.Fetch = func(context.Context) ([]byte, error) {
					if away.Load() {
						return nil, errors.New("connection refused")
					}
					return i.Keys(), nil
				}
				first := i.Token("n1", nil)
				renew, ended := timed(t, verifier, Identity{"n1", began.Add(time.Hour)})
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
				if _, err := verifier.node(t.Context(), first); err == nil {
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
				renew(i.Token("n1", nil))
				lasts(time.Hour + time.Minute - time.Second)
			})
		})
	}
}

// TestRenewedWhileTheServerIsAsked: the token comes when the stream was about to be ended.
func TestRenewedWhileTheServerIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, began := tokens.NewIssuer(t, "k1"), time.Now()
		verifier := tokensOf(i)
		asked, answer := make(chan struct{}), make(chan struct{})
		last := began.Add(time.Hour)
		verifier.Fetch = func(context.Context) ([]byte, error) {
			if time.Now().After(last) {
				select {
				case asked <- struct{}{}:
					<-answer
				default:
				}
			}
			return i.Keys(), nil
		}
		renew, ended := timed(t, verifier, Identity{"n1", last})
		select {
		case <-asked:
		case err := <-ended:
			t.Fatalf("the stream ended without a question: %v", err)
		}
		renew(i.Token("n1", nil))
		synctest.Wait()
		close(answer)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(ended) > 0 {
			t.Errorf("the stream ended: %v", <-ended)
		}
	})
}
