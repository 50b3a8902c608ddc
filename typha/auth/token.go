package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Audience is the audience of the service-account tokens of nodes and observers.
const Audience = "typha"

// Tokens verifies bound service-account tokens with the keys that the API server publishes. It stores the keys, so that
// nodes can connect while the API server is down.
type Tokens struct {
	// Fetch gets the JSON Web Key Set, in Kubernetes the body of GET /openid/v1/jwks.
	Fetch func(context.Context) ([]byte, error)
	// Subjects are the accepted service accounts, "system:serviceaccount:<namespace>:<name>".
	// Any pod can obtain a token of its own account for any audience, so leave it empty only where possession of the
	// client certificate is proof enough.
	Subjects []string
	// Observers are the service accounts that may observe. They cannot be those of nodes. Empty is none.
	Observers []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// fetching is held during a fetch. A token with an unknown key waits for it, one with a known key does not.
	fetching sync.Mutex
	fetched  time.Time // of the last attempt
	since    time.Time // of the first of the latest attempts that all succeeded; zero if the last one failed

	mu   sync.Mutex
	keys jose.JSONWebKeySet
}

// refetchAfter is the least time between two fetches because of unknown key IDs.
const refetchAfter = 10 * time.Second

// refreshAfter is how long keys are used while the API server answers.
const refreshAfter = 5 * time.Minute

// Keep fetches the keys regularly until ctx ends. Nodes can then connect while the API server is down, and keys that
// are withdrawn are not trusted for long.
func (t *Tokens) Keep(ctx context.Context, log *slog.Logger) {
	complaint := "" // the error that was logged last
	for {
		t.fetching.Lock()
		err := t.attempt(ctx)
		t.fetching.Unlock()
		wait := refreshAfter
		if err == nil {
			complaint = ""
		} else {
			wait = refetchAfter
			if ctx.Err() == nil && err.Error() != complaint {
				complaint = err.Error()
				log.Warn("keys of service-account tokens not fetched, retrying", "error", err)
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// The algorithms that the API server signs with (RSA keys and the NIST curves).
var tokenAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

type boundClaims struct {
	jwt.Claims
	Kubernetes struct {
		Node struct {
			Name string `json:"name"`
		} `json:"node"`
	} `json:"kubernetes.io"`
}

// node verifies a token and returns the node that it is bound to.
func (t *Tokens) node(ctx context.Context, token string) (Identity, error) {
	claims, err := t.verify(ctx, token)
	switch {
	case err != nil:
		return Identity{}, err
	case len(t.Subjects) > 0 && !slices.Contains(t.Subjects, claims.Subject):
		return Identity{}, fmt.Errorf("verify token: service account %s is not one of %v", claims.Subject, t.Subjects)
	case slices.Contains(t.Observers, claims.Subject):
		return Identity{}, fmt.Errorf("verify token: service account %s may observe, and is no node's", claims.Subject)
	case claims.Kubernetes.Node.Name == "":
		return Identity{}, fmt.Errorf("verify token of %s: it is not bound to a node", claims.Subject)
	}
	return Identity{claims.Kubernetes.Node.Name, claims.Expiry.Time()}, nil
}

// observer verifies a token and returns its service account, which has to be one of the Observers.
func (t *Tokens) observer(ctx context.Context, token string) (Identity, error) {
	claims, err := t.verify(ctx, token)
	switch {
	case err != nil:
		return Identity{}, err
	case !slices.Contains(t.Observers, claims.Subject):
		return Identity{}, fmt.Errorf("verify token: service account %s is not one of those that may observe, %v",
			claims.Subject, t.Observers)
	}
	return Identity{claims.Subject, claims.Expiry.Time()}, nil
}

// Validate fails if a service account is both that of nodes and of observers.
func (t *Tokens) Validate() error {
	for _, o := range t.Observers {
		if slices.Contains(t.Subjects, o) {
			return fmt.Errorf("service account %s cannot be both that of nodes and of observers", o)
		}
	}
	return nil
}

// verify returns the claims of a token if its signature is valid, its audience is Typha and it has not expired.
func (t *Tokens) verify(ctx context.Context, token string) (boundClaims, error) {
	var claims boundClaims
	parsed, err := jwt.ParseSigned(token, tokenAlgorithms)
	if err != nil {
		return claims, fmt.Errorf("parse token: %w", err)
	}
	if len(parsed.Headers) != 1 {
		return claims, fmt.Errorf("parse token: it has %d signatures, want 1", len(parsed.Headers))
	}
	keys, err := t.key(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return claims, fmt.Errorf("verify token: %w", err)
	}
	for _, key := range keys {
		err = parsed.Claims(key.Key, &claims)
		if err == nil {
			break
		}
	}
	if err != nil {
		return claims, fmt.Errorf("verify token: %w", err)
	}
	expected := jwt.Expected{AnyAudience: jwt.Audience{Audience}, Time: t.now()}
	if err := claims.Validate(expected); err != nil {
		return claims, fmt.Errorf("verify token of %s: %w", claims.Subject, err)
	}
	if claims.Expiry == nil {
		return claims, fmt.Errorf("verify token of %s: it never expires, so it is not a bound token", claims.Subject)
	}
	return claims, nil
}

func (t *Tokens) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

// key returns the keys with an ID. It fetches the keys if none has the ID.
func (t *Tokens) key(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	if keys := t.known(id); len(keys) > 0 {
		return keys, nil
	}
	t.fetching.Lock()
	defer t.fetching.Unlock()
	if keys := t.known(id); len(keys) > 0 { // fetched while this call waited
		return keys, nil
	}
	if t.due() {
		// The fetch goes on when this stream ends, because others wait for the keys.
		if err := t.attempt(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
	}
	if keys := t.known(id); len(keys) > 0 {
		return keys, nil
	}
	return nil, fmt.Errorf("the API server publishes no key with id %q", id)
}

// reached returns for how long the API server has answered without interruption. It asks the API server if nobody has
// done so in the last refetchAfter.
func (t *Tokens) reached(ctx context.Context) time.Duration {
	t.fetching.Lock()
	defer t.fetching.Unlock()
	if t.due() {
		_ = t.attempt(context.WithoutCancel(ctx)) // since has the outcome, and Keep logs the error
	}
	if t.since.IsZero() {
		return 0
	}
	return t.now().Sub(t.since)
}

// due reports whether the last fetch is long enough ago for another one. The caller holds fetching.
func (t *Tokens) due() bool { return t.now().Sub(t.fetched) >= refetchAfter }

// attempt fetches the keys, and updates fetched and since. The caller holds fetching.
func (t *Tokens) attempt(ctx context.Context) error {
	t.fetched = t.now()
	err := t.fetch(ctx)
	if err != nil {
		t.since = time.Time{}
	} else if t.since.IsZero() {
		t.since = t.fetched
	}
	return err
}

func (t *Tokens) known(id string) []jose.JSONWebKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keys.Key(id)
}

func (t *Tokens) fetch(ctx context.Context) error {
	body, err := t.Fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetch the API server's keys: %w", err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(body, &keys); err != nil {
		return fmt.Errorf("read the API server's keys: %w", err)
	}
	if len(keys.Keys) == 0 {
		return errors.New("read the API server's keys: the set is empty")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = keys
	return nil
}
