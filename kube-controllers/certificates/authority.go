package certificates

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the authority's Secret. The keys of the type kubernetes.io/tls hold the authority that signs.
const (
	keyTrusted  = "ca.crt"       // all trusted authorities; also in the Secrets of certificates
	keyNextCert = "next.crt"     // the next authority: trusted already, signs later
	keyNextKey  = "next.key"     // its key
	keySince    = "signing-from" // when the current authority began to sign; RFC 3339
)

// signer is a certificate authority with its key.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// made returns when the authority was made.
func (s *signer) made() time.Time { return s.cert.NotBefore.Add(backdate) }

// authority is the contents of the authority's Secret. The zero value is an authority that is not made yet.
type authority struct {
	current *signer
	since   time.Time           // when current began to sign
	next    *signer             // nil unless the authority is being replaced
	former  []*x509.Certificate // still trusted
}

// readAuthority reads the authority from a Secret's data. A part that cannot be read counts as missing: advance makes
// it again, and trusted certificates stay trusted.
func readAuthority(data map[string][]byte) *authority {
	a := &authority{}
	a.current, _ = readSigner(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	a.next, _ = readSigner(data[keyNextCert], data[keyNextKey])
	a.since, _ = time.Parse(time.RFC3339, string(data[keySince]))
	for block, rest := pem.Decode(data[keyTrusted]); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && !a.current.is(cert) && !a.next.is(cert) {
			a.former = append(a.former, cert)
		}
	}
	return a
}

func readSigner(cert, key []byte) (*signer, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the authority's key is not an ECDSA key")
	}
	return &signer{cert: pair.Leaf, key: private}, nil
}

func (s *signer) is(cert *x509.Certificate) bool { return s != nil && s.cert.Equal(cert) }

// advance makes the authority, or does the next step of its replacement if that is due or requested. It reports whether
// anything changed.
func (a *authority) advance(now time.Time, overlap time.Duration, asked bool) (changed bool, err error) {
	switch {
	case a.current == nil || now.After(a.current.cert.NotAfter):
		a.current, err = newSigner(now)
		a.since, a.next = now, nil
	case a.next == nil && (asked || a.current.cert.NotAfter.Sub(now) < certificateLife*3/2+overlap):
		a.next, err = newSigner(now)
	case a.next != nil && !now.Before(a.next.made().Add(overlap)):
		a.former = append([]*x509.Certificate{a.current.cert}, a.former...)
		a.current, a.since, a.next = a.next, now, nil
	default:
		return false, nil
	}
	return true, err
}

// retire ends the trust in former authorities when the current one has signed for the overlap: no certificate in use is
// signed by them then. It reports whether anything changed.
func (a *authority) retire(now time.Time, overlap time.Duration) (changed bool) {
	if len(a.former) == 0 || now.Before(a.since.Add(overlap)) {
		return false
	}
	a.former = nil
	return true
}

// trusted returns the trusted authorities as PEM, newest first.
func (a *authority) trusted() []byte {
	var bundle bytes.Buffer
	if a.next != nil {
		bundle.Write(encode("CERTIFICATE", a.next.cert.Raw))
	}
	bundle.Write(encode("CERTIFICATE", a.current.cert.Raw))
	for _, cert := range a.former {
		bundle.Write(encode("CERTIFICATE", cert.Raw))
	}
	return bundle.Bytes()
}

// data returns the data of the authority's Secret.
func (a *authority) data() (map[string][]byte, error) {
	key, err := encodeKey(a.current.key)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{
		keyTrusted:              a.trusted(),
		corev1.TLSCertKey:       encode("CERTIFICATE", a.current.cert.Raw),
		corev1.TLSPrivateKeyKey: key,
		keySince:                []byte(a.since.UTC().Format(time.RFC3339)),
	}
	if a.next != nil {
		data[keyNextCert] = encode("CERTIFICATE", a.next.cert.Raw)
		data[keyNextKey], err = encodeKey(a.next.key)
	}
	return data, err
}
