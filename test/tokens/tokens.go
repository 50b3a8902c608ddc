// Package tokens issues bound service-account tokens for tests, as an API server does.
//
// It verifies nothing, and imports nothing of what is tested.
package tokens

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The service accounts of Felix and of kube-controllers.
const (
	FelixAccount    = "system:serviceaccount:kube-system:calico-node"
	ObserverAccount = "system:serviceaccount:kube-system:calico-kube-controllers"
)

// Issuer signs tokens with a key of its own.
type Issuer struct {
	// ID is the name of the key.
	ID string

	t   testing.TB
	key *ecdsa.PrivateKey
}

// NewIssuer makes an Issuer. Errors end the test.
func NewIssuer(t testing.TB, id string) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{id, t, key}
}

// Keys returns the JSON Web Key Set with the issuer's key.
func (i *Issuer) Keys() []byte {
	i.t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: i.key.Public(), KeyID: i.ID, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		i.t.Fatal(err)
	}
	return data
}

// Fetch returns Keys.
func (i *Issuer) Fetch(context.Context) ([]byte, error) { return i.Keys(), nil }

// ForObserver is a change of a token's claims: it makes the token that of an observer, which is bound to nothing.
func ForObserver(claims map[string]any) {
	claims["sub"] = ObserverAccount
	delete(claims, "kubernetes.io")
}

// Token returns a token of Felix that is bound to a node and expires in an hour. change may alter its claims; nil does
// not.
func (i *Issuer) Token(node string, change func(claims map[string]any)) string {
	i.t.Helper()
	now := time.Now()
	claims := map[string]any{
		"aud": []string{"typha"}, "sub": FelixAccount,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "kube-system", "node": map[string]any{"name": node}},
	}
	if change != nil {
		change(claims)
	}
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.ID}}
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}
