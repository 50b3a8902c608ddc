package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// certValidity is how long certificates live; a cluster lives hours.
const certValidity = 365 * 24 * time.Hour

// authority signs certificates. Its files are DIR/NAME.crt and DIR/NAME.key.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// identity is what a certificate says.
type identity struct {
	// File is the base name of the certificate's and key's files.
	File string
	// User and Groups are what Kubernetes sees when the holder is a client.
	User   string
	Groups []string
	// Names and Addrs are what the holder serves as.
	Names []string
	Addrs []netip.Addr
}

// openAuthority loads the authority or makes it, with a key of its own.
func openAuthority(dir, name string) (*authority, error) {
	a := &authority{dir: dir}
	certPEM, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return a, a.create(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", name, err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("read key of authority %s: %w", name, err)
	}
	cert, _ := pem.Decode(certPEM)
	key, _ := pem.Decode(keyPEM)
	if cert == nil || key == nil {
		return nil, fmt.Errorf("authority %s in %s is not PEM", name, dir)
	}
	a.cert, err = x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority %s: %w", name, err)
	}
	a.key, err = x509.ParseECPrivateKey(key.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse key of authority %s: %w", name, err)
	}
	return a, nil
}

func (a *authority) create(name string) error {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, key, err := a.sign(template)
	if err != nil {
		return fmt.Errorf("make authority %s: %w", name, err)
	}
	a.cert, a.key = cert, key
	return writePair(a.dir, name, cert, key)
}

// issue writes a certificate for the identity unless its file exists.
func (a *authority) issue(id identity) error {
	if _, err := os.Stat(filepath.Join(a.dir, id.File+".crt")); err == nil {
		return nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.User, Organization: id.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    id.Names,
	}
	for _, addr := range id.Addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	cert, key, err := a.sign(template)
	if err != nil {
		return fmt.Errorf("issue certificate %s: %w", id.File, err)
	}
	return writePair(a.dir, id.File, cert, key)
}

// sign completes the template; an authority without a certificate signs its own.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	// An hour of slack for clocks that were corrected.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(certValidity)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// writePair writes the key first: a certificate that exists has its key.
func writePair(dir, name string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	if err := writeKey(dir, name, key); err != nil {
		return err
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return writeFile(filepath.Join(dir, name+".crt"), body, 0o644)
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return writeFile(filepath.Join(dir, name+".key"), body, 0o600)
}

// openKeyPair makes the key pair that signs service-account tokens, unless it exists.
func openKeyPair(dir, name string) error {
	if _, err := os.Stat(filepath.Join(dir, name+".pub")); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key pair %s: %w", name, err)
	}
	if err := writeKey(dir, name, key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("encode key pair %s: %w", name, err)
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return writeFile(filepath.Join(dir, name+".pub"), body, 0o644)
}
