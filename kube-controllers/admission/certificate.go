package admission

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Lifetimes. A certificate is renewed when a third of its life is left; an authority while
// it still outlives a certificate, and the old one stays trusted until it expires.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	servingLife   = 365 * 24 * time.Hour
)

// Keys of the Secret. The first two are those of the type kubernetes.io/tls.
const (
	keyCert        = corev1.TLSCertKey
	keyKey         = corev1.TLSPrivateKeyKey
	keyAuthorities = "ca.crt" // newest first
	keySigningKey  = "ca.key" // of the newest
)

// pair is a serving certificate and the authorities that clients must trust for it.
type pair struct {
	serving     *tls.Certificate
	authorities []byte // PEM
}

// certificates keeps the webhook's certificate in a Secret that all replicas share.
type certificates struct {
	client client.Client
	secret types.NamespacedName
	hosts  []string // DNS names of the webhook's Service
	now    func() time.Time
}

// ensure reads the Secret, and makes or renews what is in it when that is due. Of several
// replicas one writes; the others find its result.
func (c *certificates) ensure(ctx context.Context) (*pair, error) {
	for {
		secret := &corev1.Secret{}
		if err := c.client.Get(ctx, c.secret, secret); err != nil {
			return nil, fmt.Errorf("read Secret %s, which the chart makes: %w", c.secret, err)
		}
		data, err := c.renew(secret.Data)
		if err != nil {
			return nil, fmt.Errorf("make the webhook's certificate: %w", err)
		}
		if data != nil {
			secret.Data = data
			err := c.client.Update(ctx, secret)
			if apierrors.IsConflict(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("write Secret %s: %w", c.secret, err)
			}
		}
		serving, err := tls.X509KeyPair(secret.Data[keyCert], secret.Data[keyKey])
		if err != nil {
			return nil, fmt.Errorf("read Secret %s: %w", c.secret, err)
		}
		return &pair{serving: &serving, authorities: secret.Data[keyAuthorities]}, nil
	}
}

// renew gives the data that should replace what is there, or nil when that is good.
// Data that cannot be read is replaced as a whole.
func (c *certificates) renew(data map[string][]byte) (map[string][]byte, error) {
	authority, err := readAuthority(data)
	fresh := err != nil || authority.cert.NotAfter.Sub(c.now()) < servingLife*3/2
	trusted := data[keyAuthorities]
	if fresh {
		old := trusted
		if err != nil {
			old = nil
		}
		if authority, err = newAuthority(c.now()); err != nil {
			return nil, err
		}
		trusted = append(encode("CERTIFICATE", authority.cert.Raw), unexpired(old, c.now())...)
	}
	if !fresh && c.servingIsGood(data, authority.cert) {
		return nil, nil
	}
	cert, key, err := authority.sign(c.hosts, c.now())
	if err != nil {
		return nil, err
	}
	signingKey, err := encodeKey(authority.key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{keyCert: cert, keyKey: key, keyAuthorities: trusted, keySigningKey: signingKey}, nil
}

func (c *certificates) servingIsGood(data map[string][]byte, authority *x509.Certificate) bool {
	loaded, err := tls.X509KeyPair(data[keyCert], data[keyKey])
	if err != nil {
		return false
	}
	for _, host := range c.hosts {
		if loaded.Leaf.VerifyHostname(host) != nil {
			return false
		}
	}
	return loaded.Leaf.CheckSignatureFrom(authority) == nil && loaded.Leaf.NotAfter.Sub(c.now()) > servingLife/3
}

// authority is a certificate authority with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func readAuthority(data map[string][]byte) (*authority, error) {
	loaded, err := tls.X509KeyPair(data[keyAuthorities], data[keySigningKey])
	if err != nil {
		return nil, err
	}
	key, ok := loaded.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the authority's key is not an ECDSA key")
	}
	return &authority{cert: loaded.Leaf, key: key}, nil
}

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template("maneki-webhook-ca", now, authorityLife)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	return &authority{cert: cert, key: key}, err
}

// sign makes a serving certificate and its key, in PEM.
func (a *authority) sign(hosts []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := template(hosts[0], now, servingLife)
	template.DNSNames = hosts
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return encode("CERTIFICATE", raw), key, err
}

// template begins an hour in the past, for API servers whose clock is behind.
func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	// 127 random bits: unique enough without a register (RFC 5280 section 4.1.2.2).
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // fails for a limit <= 0 only
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(life),
	}
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", raw), err
}

// unexpired gives those of some PEM certificates that are still valid.
func unexpired(bundle []byte, now time.Time) []byte {
	var kept bytes.Buffer
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && now.Before(cert.NotAfter) {
			kept.Write(encode("CERTIFICATE", cert.Raw))
		}
	}
	return kept.Bytes()
}
