package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/maneki-net/maneki/typha/certfile"
)

// TLS names the certificate files of one side of a connection, and says who the other side must be. Files that change
// are read again, so that replacing them needs no restart.
type TLS struct {
	CAFile   string // PEM, the authorities that may have signed the other side's certificate
	CertFile string // PEM, the own chain
	KeyFile  string // PEM
	// PeerCN and PeerURISAN are the common name and the URI that the other side's certificate must have. Of those that
	// are set, one has to match, as in Calico. Both may be empty in a server that identifies nodes by certificate.
	PeerCN     string
	PeerURISAN string
}

// ErrPeerIdentity is returned for a certificate that is valid, but not that of the expected peer.
var ErrPeerIdentity = errors.New("certificate is not that of the expected peer")

// watchInterval is how often Watch logs that changed files cannot be used.
const watchInterval = time.Minute

// Handshaker has the files of a TLS in memory, and reads them again when they have changed.
type Handshaker struct {
	TLS
	pair        *certfile.Pair
	authorities *certfile.Authorities
}

// Open reads the files. It fails if one of them cannot be used.
func (t TLS) Open() (*Handshaker, error) {
	h := &Handshaker{TLS: t,
		pair: certfile.NewPair(t.CertFile, t.KeyFile), authorities: certfile.NewAuthorities(t.CAFile)}
	_, errKey := h.pair.Certificate()
	_, errCA := h.authorities.Pool()
	return h, errors.Join(errKey, errCA)
}

// Log logs a warning if files have changed and cannot be used.
func (h *Handshaker) Log(log *slog.Logger) {
	if err := errors.Join(h.pair.Err(), h.authorities.Err()); err != nil {
		log.Warn("changed certificate files are not used, the former ones are", "error", err)
	}
}

// Watch calls Log regularly until ctx ends, so that unusable files are noticed while nobody connects.
func (h *Handshaker) Watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.Log(log)
		case <-ctx.Done():
			return
		}
	}
}

func (h *Handshaker) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// VerifyConnection verifies the chain against the authorities of that moment.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error { return h.verify(c, x509.ExtKeyUsageClientAuth) },
		GetCertificate:   h.pair.ForServer,
	}
}

func (h *Handshaker) clientConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// A Typha is identified by common name or URI, not by host name, since any replica may answer.
		// VerifyConnection does the whole verification.
		InsecureSkipVerify:   true,
		VerifyConnection:     func(c tls.ConnectionState) error { return h.verify(c, x509.ExtKeyUsageServerAuth) },
		GetClientCertificate: h.pair.ForClient,
	}
}

func (h *Handshaker) verify(c tls.ConnectionState, usage x509.ExtKeyUsage) error {
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
	opts := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}}
	_, err = leaf.Verify(opts)
	if err != nil {
		return fmt.Errorf("verify certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	isPeer := func(u *url.URL) bool { return u.String() == h.PeerURISAN }
	if h.PeerCN == "" && h.PeerURISAN == "" ||
		h.PeerCN != "" && leaf.Subject.CommonName == h.PeerCN ||
		h.PeerURISAN != "" && slices.ContainsFunc(leaf.URIs, isPeer) {
		return nil
	}
	return fmt.Errorf("%w: it has CN %q and URIs %v, wanted CN %q or URI %q",
		ErrPeerIdentity, leaf.Subject.CommonName, leaf.URIs, h.PeerCN, h.PeerURISAN)
}
