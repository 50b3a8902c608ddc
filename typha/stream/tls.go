package stream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// TLS names the files of one side's identity and says who the other side must be. The files are
// read for each handshake, so that replacing them needs no restart.
type TLS struct {
	CAFile   string // PEM, the authorities that may have signed the other side's certificate
	CertFile string // PEM, our chain
	KeyFile  string // PEM
	// PeerCN and PeerURISAN are the common name and the URI that the other side's certificate
	// must have. It is enough that one of those that are set agrees, as in Calico. A
	// server whose Nodes are identified by certificate may leave both empty.
	PeerCN     string
	PeerURISAN string
}

// ErrPeerIdentity says that a certificate is valid but is not that of the expected peer.
var ErrPeerIdentity = errors.New("certificate is not that of the expected peer")

// validate reads the files once, so that a mistake in the configuration shows at start.
func (t TLS) validate() error {
	_, errKey := t.certificate()
	_, errCA := t.authorities()
	return errors.Join(errKey, errCA)
}

func (t TLS) certificate() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
	}
	return &c, nil
}

func (t TLS) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("load authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load authorities %s: no PEM certificate in it", t.CAFile)
	}
	return pool, nil
}

// server gives the configuration of the accepting side.
func (t TLS) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// The chain is verified by VerifyConnection against the authorities of the moment.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error { return t.verify(c, x509.ExtKeyUsageClientAuth) },
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.certificate() },
	}
}

// client gives the configuration of the connecting side.
func (t TLS) client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// Not the host name but the common name or URI identifies a Typha, since any replica may answer;
		// VerifyConnection does the whole verification.
		InsecureSkipVerify:   true,
		VerifyConnection:     func(c tls.ConnectionState) error { return t.verify(c, x509.ExtKeyUsageServerAuth) },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.certificate() },
	}
}

func (t TLS) verify(c tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(c.PeerCertificates) == 0 {
		return fmt.Errorf("%w: it presented none", ErrPeerIdentity)
	}
	roots, err := t.authorities()
	if err != nil {
		return err
	}
	leaf, intermediates := c.PeerCertificates[0], x509.NewCertPool()
	for _, cert := range c.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return fmt.Errorf("verify certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if t.PeerCN == "" && t.PeerURISAN == "" ||
		t.PeerCN != "" && leaf.Subject.CommonName == t.PeerCN ||
		t.PeerURISAN != "" && slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.String() == t.PeerURISAN }) {
		return nil
	}
	return fmt.Errorf("%w: it has CN %q and URIs %v, wanted CN %q or URI %q",
		ErrPeerIdentity, leaf.Subject.CommonName, leaf.URIs, t.PeerCN, t.PeerURISAN)
}

// namedBy gives the name that a certificate has in its common name, "<what>:<name>".
func namedBy(c *x509.Certificate, what string) (string, error) {
	name, ok := strings.CutPrefix(c.Subject.CommonName, what+":")
	if !ok || name == "" {
		return "", fmt.Errorf("certificate with CN %q names no %s: it has to be %s:<name>", c.Subject.CommonName, what, what)
	}
	return name, nil
}
