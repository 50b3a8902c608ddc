package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Lifetimes. A certificate is renewed when a third of its life is left. The authority is replaced while it still
// outlives every certificate that it signs.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 365 * 24 * time.Hour
)

// backdate is how far in the past a certificate's validity begins, for machines whose clock is behind. A local time
// taken for UTC is wrong by up to 14 hours.
const backdate = 24 * time.Hour

// Name is what a certificate says about its holder.
type Name struct {
	Common string
	DNS    []string
	Usage  x509.ExtKeyUsage
}

// Issued is a certificate, its key, and the authorities that the holder trusts; all PEM.
type Issued struct {
	Cert, Key, Trusted []byte
}

// renewed returns the certificate's replacement, or the same certificate if it is still good.
func (have Issued) renewed(name Name, a *authority, now time.Time) (Issued, error) {
	want := Issued{Cert: have.Cert, Key: have.Key, Trusted: a.trusted()}
	if have.good(name, a.current.cert, now) {
		return want, nil
	}
	var err error
	want.Cert, want.Key, err = a.current.sign(name, now)
	return want, err
}

// good reports whether the certificate is signed by the current authority, has the right name and usage, and need not
// be renewed yet.
func (have Issued) good(name Name, authority *x509.Certificate, now time.Time) bool {
	pair, err := tls.X509KeyPair(have.Cert, have.Key)
	if err != nil {
		return false
	}
	leaf := pair.Leaf
	return leaf.Subject.CommonName == name.Common && slices.Equal(leaf.DNSNames, name.DNS) &&
		slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{name.Usage}) &&
		leaf.CheckSignatureFrom(authority) == nil && leaf.NotAfter.Sub(now) > certificateLife/3
}

// expiry returns when the certificate expires, or the zero time if it cannot be read.
func (have Issued) expiry() time.Time {
	pair, err := tls.X509KeyPair(have.Cert, have.Key)
	if err != nil {
		return time.Time{}
	}
	return pair.Leaf.NotAfter
}

func newSigner(now time.Time) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	template := template("maneki-ca", now, authorityLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	return &signer{cert: cert, key: key}, nil
}

// sign makes a certificate and its key, in PEM.
func (s *signer) sign(name Name, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate %s: %w", name.Common, err)
	}
	template := template(name.Common, now, certificateLife)
	template.DNSNames = name.DNS
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{name.Usage}
	raw, err := x509.CreateCertificate(rand.Reader, template, s.cert, private.Public(), s.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate %s: %w", name.Common, err)
	}
	key, err = encodeKey(private)
	return encode("CERTIFICATE", raw), key, err
}

func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	// 127 random bits are unique without a register of serial numbers (RFC 5280 section 4.1.2.2).
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // fails only for a limit <= 0
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
	}
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("PRIVATE KEY", raw), nil
}
