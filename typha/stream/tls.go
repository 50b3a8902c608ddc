package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/typha/certfile"
)

// TLS names the files of one side's identity and says who the other side must be. Files that change are read
// anew, so that replacing them needs no restart.
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

// watchInterval is how often a server logs that changed files are not in use.
const watchInterval = time.Minute

// handshaker is a TLS whose files are in memory, and read again when they have changed.
type handshaker struct {
	TLS
	pair        *certfile.Pair
	authorities *certfile.Authorities
}

// open reads the files, so that an error in the configuration shows at the start.
func (t TLS) open() (*handshaker, error) {
	h := &handshaker{TLS: t,
		pair: certfile.NewPair(t.CertFile, t.KeyFile), authorities: certfile.NewAuthorities(t.CAFile)}
	_, errKey := h.pair.Certificate()
	_, errCA := h.authorities.Pool()
	return h, errors.Join(errKey, errCA)
}

// tell logs if the present files are not in use.
func (h *handshaker) tell(log *slog.Logger) {
	if err := errors.Join(h.pair.Err(), h.authorities.Err()); err != nil {
		log.Warn("changed certificate files are not used, the former ones are", "error", err)
	}
}

// watch calls tell until ctx ends, even while nobody connects.
func (h *handshaker) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.tell(log)
		case <-ctx.Done():
			return
		}
	}
}

// server returns the configuration of the accepting side.
func (h *handshaker) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// The chain is verified by VerifyConnection against the authorities of the moment.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error { return h.verify(c, x509.ExtKeyUsageClientAuth) },
		GetCertificate:   h.pair.ForServer,
	}
}

// client returns the configuration of the connecting side.
func (h *handshaker) client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// Not the host name but the common name or URI identifies a Typha, since any replica may answer;
		// VerifyConnection does the whole verification.
		InsecureSkipVerify:   true,
		VerifyConnection:     func(c tls.ConnectionState) error { return h.verify(c, x509.ExtKeyUsageServerAuth) },
		GetClientCertificate: h.pair.ForClient,
	}
}

func (h *handshaker) verify(c tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(c.PeerCertificates) == 0 {
		return fmt.Errorf("%w: it presented none", ErrPeerIdentity)
	}
	roots, err := h.authorities.Pool()
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
	if h.PeerCN == "" && h.PeerURISAN == "" ||
		h.PeerCN != "" && leaf.Subject.CommonName == h.PeerCN ||
		h.PeerURISAN != "" && slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.String() == h.PeerURISAN }) {
		return nil
	}
	return fmt.Errorf("%w: it has CN %q and URIs %v, wanted CN %q or URI %q",
		ErrPeerIdentity, leaf.Subject.CommonName, leaf.URIs, h.PeerCN, h.PeerURISAN)
}

// namedBy returns the name that a certificate has in its common name, "<what>:<name>".
func namedBy(c *x509.Certificate, what string) (string, error) {
	name, ok := strings.CutPrefix(c.Subject.CommonName, what+":")
	if !ok || name == "" {
		return "", fmt.Errorf("certificate with CN %q names no %s: it has to be %s:<name>", c.Subject.CommonName, what, what)
	}
	return name, nil
}
