package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCredentials issues a cluster's certificates and verifies each against its
// own authority, and against the one it must not pass.
func TestCredentials(t *testing.T) {
	r := record{State: t.TempDir()}
	p := testPlan(t, Config{Nodes: 2}, 0)
	if err := issueCredentials(r, p); err != nil {
		t.Fatal(err)
	}
	pki := filepath.Join(r.State, "pki")
	for _, c := range []struct{ file, authority, other, user, group, name string }{
		{"admin", "ca", "etcd/ca", "admin", "system:masters", ""},
		{"kubelet-node2", "ca", "front-proxy/ca", "system:node:node2", "system:nodes", "172.30.1.12"},
		{"apiserver", "ca", "etcd/ca", "kube-apiserver", "", "kubernetes.default.svc"},
		{"apiserver", "ca", "etcd/ca", "kube-apiserver", "", "10.96.0.1"},
		{"apiserver", "ca", "etcd/ca", "kube-apiserver", "", "fd00:30:0:1::b"},
		{"front-proxy/client", "front-proxy/ca", "ca", "front-proxy-client", "", ""},
		{"etcd/server", "etcd/ca", "ca", "etcd", "", "127.0.0.1"},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(pki, c.file+".crt"), filepath.Join(pki, c.file+".key"))
		if err != nil {
			t.Fatal(err)
		}
		options := func(authority string) x509.VerifyOptions {
			return x509.VerifyOptions{Roots: pool(t, filepath.Join(pki, authority+".crt")), DNSName: c.name,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		}
		if _, err := pair.Leaf.Verify(options(c.authority)); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		if _, err := pair.Leaf.Verify(options(c.other)); err == nil {
			t.Errorf("%s passes for one of %s", c.file, c.other)
		}
		if s := pair.Leaf.Subject; s.CommonName != c.user || c.group != "" &&
			!slices.Contains(s.Organization, c.group) {
			t.Errorf("%s is %s, want user %s in %s", c.file, s, c.user, c.group)
		}
	}
	before, err := os.ReadFile(filepath.Join(pki, "admin.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := issueCredentials(r, p); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(pki, "admin.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("issuing again replaced a certificate")
	}
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(body) {
		t.Fatalf("%s is not PEM", file)
	}
	return p
}
