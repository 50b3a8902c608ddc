package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// issuer signs tokens as an API server does.
type issuer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	id  string
}

func newIssuer(t *testing.T, id string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, key, id}
}

func (i *issuer) jwks() []byte {
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.id, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		i.t.Fatal(err)
	}
	return data
}

const (
	felixAccount    = "system:serviceaccount:kube-system:calico-node"
	observerAccount = "system:serviceaccount:kube-system:calico-kube-controllers"
)

// ofObserver makes a token that of an observer, which is bound to nothing.
func ofObserver(claims map[string]any) {
	claims["sub"] = observerAccount
	delete(claims, "kubernetes.io")
}

// token makes a token bound to a node, which change may alter first.
func (i *issuer) token(node string, change func(map[string]any)) string {
	i.t.Helper()
	now := time.Now()
	claims := map[string]any{
		"aud": []string{Audience}, "sub": felixAccount,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "kube-system", "node": map[string]any{"name": node}},
	}
	if change != nil {
		change(claims)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.id}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

func (i *issuer) tokens() *Tokens {
	return &Tokens{Fetch: func(context.Context) ([]byte, error) { return i.jwks(), nil }, Subjects: []string{felixAccount},
		Observers: []string{observerAccount}}
}

func TestTokens(t *testing.T) {
	i, stranger := newIssuer(t, "k1"), newIssuer(t, "k1")
	past := time.Now().Add(-time.Hour).Unix()
	for name, c := range map[string]struct{ token, want string }{
		"good":              {i.token("n1", nil), ""},
		"expired":           {i.token("n1", func(c map[string]any) { c["exp"] = past }), "expired"},
		"never expires":     {i.token("n1", func(c map[string]any) { delete(c, "exp") }), "never expires"},
		"other audience":    {i.token("n1", func(c map[string]any) { c["aud"] = []string{"api"} }), "audience"},
		"other account":     {i.token("n1", func(c map[string]any) { c["sub"] = "system:serviceaccount:default:default" }), "is not one of"},
		"not bound":         {i.token("n1", func(c map[string]any) { delete(c, "kubernetes.io") }), "not bound to a node"},
		"another signer":    {stranger.token("n1", nil), "verify token"},
		"unknown key":       {newIssuer(t, "k2").token("n1", nil), "no key with id"},
		"not a token":       {"nonsense", "parse token"},
		"without signature": {"eyJhbGciOiJub25lIn0.eyJhdWQiOiJ0eXBoYSJ9.", "parse token"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := i.tokens().node(t.Context(), c.token)
			switch {
			case c.want == "" && (err != nil || node.name != "n1"):
				t.Errorf("got %v, %v", node, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, %v; want an error with %q", node, err, c.want)
			}
		})
	}
}

func TestKeysAreCachedAndFetchedAgainWhenTheyRotate(t *testing.T) {
	current, down, fetches := newIssuer(t, "k1"), false, 0
	clock := time.Now()
	tokens := &Tokens{Now: func() time.Time { return clock }, Fetch: func(context.Context) ([]byte, error) {
		fetches++
		if down {
			return nil, errors.New("connection refused")
		}
		return current.jwks(), nil
	}}
	check := func(want bool) {
		t.Helper()
		if _, err := tokens.node(t.Context(), current.token("n1", nil)); (err == nil) != want {
			t.Errorf("verified: %v, want %v (%v)", err == nil, want, err)
		}
	}
	check(true)
	down = true
	check(true) // offline
	if fetches != 1 {
		t.Errorf("%d fetches for one key", fetches)
	}
	current = newIssuer(t, "k2")
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
	current, hangs := newIssuer(t, "k1"), false
	asked, answer := make(chan struct{}), make(chan struct{})
	clock := time.Now()
	tokens := &Tokens{Now: func() time.Time { return clock }, Fetch: func(context.Context) ([]byte, error) {
		if hangs {
			close(asked)
			<-answer
		}
		return current.jwks(), nil
	}}
	if _, err := tokens.node(t.Context(), current.token("n1", nil)); err != nil {
		t.Fatal(err)
	}
	hangs, clock = true, clock.Add(refetchAfter)
	unknown := newIssuer(t, "k2").token("n2", nil)
	refused := make(chan error)
	go func() {
		_, err := tokens.node(t.Context(), unknown)
		refused <- err
	}()
	<-asked
	if _, err := tokens.node(t.Context(), current.token("n1", nil)); err != nil {
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
		old, current := newIssuer(t, "k1"), newIssuer(t, "k2")
		published, down, fetches := old, true, 0
		tokens := &Tokens{Fetch: func(context.Context) ([]byte, error) {
			fetches++
			if down {
				return nil, errors.New("connection refused")
			}
			return published.jwks(), nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go tokens.keep(ctx, slog.New(slog.DiscardHandler))
		server := func(isDown bool, publishes *issuer) { // no fetch is under way
			tokens.fetching.Lock()
			defer tokens.fetching.Unlock()
			down, published = isDown, publishes
		}
		knows := func(want bool, i *issuer) {
			t.Helper()
			synctest.Wait()
			if got := len(tokens.known(i.id)) > 0; got != want {
				t.Errorf("after %d fetches: key %s known: %v, want %v", fetches, i.id, got, want)
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
	current := newIssuer(t, "new")
	tokens := &Tokens{Fetch: func(ctx context.Context) ([]byte, error) { return current.jwks(), ctx.Err() }}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tokens.node(gone, newIssuer(t, "unknown").token("n1", nil)); err == nil || !strings.Contains(err.Error(), "no key with id") {
		t.Errorf("an unknown key: %v", err)
	}
	if _, err := tokens.node(t.Context(), current.token("n1", nil)); err != nil {
		t.Errorf("the new key: %v", err)
	}
}
