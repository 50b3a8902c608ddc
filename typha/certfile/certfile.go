// Package certfile returns certificates from files, and reads a file again only after it has changed.
//
// A server needs its certificate in every handshake, and anybody may begin handshakes as often as they like. The
// certificate is therefore kept in memory. The files' attributes are checked once a second at most, and their contents
// are read when an attribute differs. A file may be replaced in any way: overwritten, replaced by a rename, or through
// the links of a mounted Secret. The former certificate stays in use while the new files are unusable, for example
// while the new certificate is there and its key is not.
//
// The package starts no goroutine and logs nothing. Any goroutine may call it. Err returns why new files are not in
// use.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Pair is a certificate chain and its private key, PEM, in two files or in one. Any goroutine may call its methods.
type Pair struct {
	files[*tls.Certificate]
}

// NewPair returns the Pair of two files. It does not read them yet.
func NewPair(certFile, keyFile string) *Pair {
	parse := func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("load certificate %s with key %s: %w", certFile, keyFile, err)
		}
		return &pair, nil
	}
	return &Pair{files[*tls.Certificate]{names: []string{certFile, keyFile}, parse: parse}}
}

// Certificate returns the certificate with its key; Leaf is set. It fails only if the files could never be used.
func (p *Pair) Certificate() (*tls.Certificate, error) { return p.get() }

// ForServer is Certificate for tls.Config.GetCertificate.
func (p *Pair) ForServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.get() }

// ForClient is Certificate for tls.Config.GetClientCertificate.
func (p *Pair) ForClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.get() }

// Authorities are the PEM certificates of a file, against which the certificates of peers are verified. Any goroutine
// may call the methods.
type Authorities struct {
	files[*authorities]
}

type authorities struct {
	pool  *x509.CertPool
	certs []*x509.Certificate
}

// NewAuthorities returns the Authorities of a file. It does not read the file yet.
func NewAuthorities(file string) *Authorities {
	parse := func(contents [][]byte) (*authorities, error) {
		a, err := parseAuthorities(contents[0])
		if err != nil {
			return nil, fmt.Errorf("load authorities %s: %w", file, err)
		}
		return a, nil
	}
	return &Authorities{files[*authorities]{names: []string{file}, parse: parse}}
}

// Pool returns the authorities, for tls.Config.RootCAs and x509.VerifyOptions. It fails only if the file could never
// be used.
func (a *Authorities) Pool() (*x509.CertPool, error) {
	current, err := a.get()
	if err != nil {
		return nil, err
	}
	return current.pool, nil
}

// Certificates returns the authorities in the order of the file. It fails when Pool does.
func (a *Authorities) Certificates() ([]*x509.Certificate, error) {
	current, err := a.get()
	if err != nil {
		return nil, err
	}
	return current.certs, nil
}

func parseAuthorities(bundle []byte) (*authorities, error) {
	a := &authorities{pool: x509.NewCertPool()}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		a.pool.AddCert(cert)
		a.certs = append(a.certs, cert)
	}
	if len(a.certs) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return a, nil
}
