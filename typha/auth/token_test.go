package auth

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maneki-net/maneki/test/tokens"
)

func tokensOf(i *tokens.Issuer) *Tokens {
	return &Tokens{Fetch: i.Fetch, Subjects: []string{tokens.FelixAccount}, Observers: []string{tokens.ObserverAccount}}
}

func TestTokens(t *testing.T) {
	i, stranger := tokens.NewIssuer(t, "k1"), tokens.NewIssuer(t, "k1")
	past := time.Now().Add(-time.Hour).Unix()
	for name, c := range map[string]struct{ token, want string }{
		"good":           {i.Token("n1", nil), ""},
		"expired":        {i.Token("n1", func(c map[string]any) { c["exp"] = past }), "expired"},
		"never expires":  {i.Token("n1", func(c map[string]any) { delete(c, "exp") }), "never expires"},
		"other audience": {i.Token("n1", func(c map[string]any) { c["aud"] = []string{"api"} }), "audience"},
		"other account": {i.Token("n1",
			func(c map[string]any) { c["sub"] = "system:serviceaccount:default:default" }), "is not one of"},
		"not bound": {i.Token("n1", func(c map[string]any) { delete(c, "kubernetes.io") }),
			"not bound to a node"},
		"another signer":    {stranger.Token("n1", nil), "verify token"},
		"unknown key":       {tokens.NewIssuer(t, "k2").Token("n1", nil), "no key with id"},
		"not a token":       {"nonsense", "parse token"},
		"without signature": {"eyJhbGciOiJub25lIn0.eyJhdWQiOiJ0eXBoYSJ9.", "parse token"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := tokensOf(i).node(t.Context(), c.token)
			switch {
			case c.want == "" && (err != nil || node.Name != "n1"):
				t.Errorf("got %v, %v", node, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, %v; want an error with %q", node, err, c.want)
			}
		})
	}
}

func TestKeysAreCachedAndFetchedAgainWhenTheyRotate(t *testing.T) {
	current, down, fetches := tokens.NewIssuer(t, "k1"), false, 0
	clock := time.Now()
	verifier := &Tokens{Now: func() time.Time { return clock }, Fetch: func(context.Context) ([]byte, error) {
		fetches++
		if down {
			return nil, errors.New("connection refused")
		}
		return current.Keys(), nil
	}}
	check := func(want bool) {
		t.Helper()
		if _, err := verifier.node(t.Context(), current.Token("n1", nil)); (err == nil) != want {
			t.Errorf("verified: %v, want %v (%v)", err == nil, want, err)
		}
	}
	check(true)
	down = true
	check(true) // offline
	if fetches != 1 {
		t.Errorf("%d fetches for one key", fetches)
	}
	current = tokens.NewIssuer(t, "k2")
	clock = clock.Add(refetchAfter)
	check(false) // the new key cannot be fetched
	down = false
	check(false) // too early to ask again
	if fetches != 2 {
		t.Errorf("%d fetches, want 2: an unknown key must not make a storm", fetches)
	}
	clock = clock.Add(refetchAfter)
	check(true)
}

// TestKnownKeyDoesNotWaitForAFetch: while the API server hangs, nodes whose key is known connect.
func TestKnownKeyDoesNotWaitForAFetch(t *testing.T) {
	current, hangs := tokens.NewIssuer(t, "k1"), false
	asked, answer := make(chan struct{}), make(chan struct{})
	clock := time.Now()
	verifier := &Tokens{Now: func() time.Time { return clock }, Fetch: func(context.Context) ([]byte, error) {
		if hangs {
			close(asked)
			<-answer
		}
		return current.Keys(), nil
	}}
	if _, err := verifier.node(t.Context(), current.Token("n1", nil)); err != nil {
		t.Fatal(err)
	}
	hangs, clock = true, clock.Add(refetchAfter)
	unknown := tokens.NewIssuer(t, "k2").Token("n2", nil)
	refused := make(chan error)
	go func() {
		_, err := verifier.node(t.Context(), unknown)
		refused <- err
	}()
	<-asked
	if _, err := verifier.node(t.Context(), current.Token("n1", nil)); err != nil {
		t.Error(err)
	}
	close(answer)
	if err := <-refused; err == nil {
		t.Error("a token with an unknown key was accepted")
	}
}

// TestKeysAreKept: keys are there before a node comes, withdrawn ones go, and a failure takes none away.
func TestKeysAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, current := tokens.NewIssuer(t, "k1"), tokens.NewIssuer(t, "k2")
		published, down, fetches := old, true, 0
		verifier := &Tokens{Fetch: func(context.Context) ([]byte, error) {
			fetches++
			if down {
				return nil, errors.New("connection refused")
			}
			return published.Keys(), nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go verifier.Keep(ctx, slog.New(slog.DiscardHandler))
		server := func(isDown bool, publishes *tokens.Issuer) { // no fetch is under way
			verifier.fetching.Lock()
			defer verifier.fetching.Unlock()
			down, published = isDown, publishes
		}
		knows := func(want bool, i *tokens.Issuer) {
			t.Helper()
			synctest.Wait()
			if got := len(verifier.known(i.ID)) > 0; got != want {
				t.Errorf("after %d fetches: key %s known: %v, want %v", fetches, i.ID, got, want)
			}
		}
		knows(false, old)
		server(false, old)
		time.Sleep(refetchAfter)
		knows(true, old)
		server(true, current)
		time.Sleep(refreshAfter)
		knows(true, old)
		server(false, current)
		time.Sleep(refetchAfter)
		knows(false, old)
		knows(true, current)
	})
}

// TestFetchOutlivesItsStream: a peer that goes away at once takes nobody else's keys away.
func TestFetchOutlivesItsStream(t *testing.T) {
	current := tokens.NewIssuer(t, "new")
	verifier := &Tokens{Fetch: func(ctx context.Context) ([]byte, error) { return current.Keys(), ctx.Err() }}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verifier.node(gone, tokens.NewIssuer(t, "unknown").Token("n1", nil)); err == nil ||
		!strings.Contains(err.Error(), "no key with id") {
		t.Errorf("an unknown key: %v", err)
	}
	if _, err := verifier.node(t.Context(), current.Token("n1", nil)); err != nil {
		t.Errorf("the new key: %v", err)
	}
}
