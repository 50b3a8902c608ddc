package admission

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestCertificateOverYears looks at the Secret every month for thirty years. Whatever was
// published the month before must trust what is served now: that is how long API servers
// and replicas may be behind each other.
func TestCertificateOverYears(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &certificates{
		client: fake.NewClientBuilder().WithObjects(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls"}}).Build(),
		secret: types.NamespacedName{Namespace: "n", Name: "tls"},
		hosts:  []string{"hook.n.svc", "hook.n"},
		now:    func() time.Time { return now },
	}
	ensure := func() *pair {
		t.Helper()
		p, err := c.ensure(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := ensure()
	serials := map[string]bool{}
	authorities := map[string]bool{}
	for range 30 * 12 {
		now = now.AddDate(0, 1, 0)
		current := ensure()
		verify(t, now, current.authorities, current.serving)
		verify(t, now, current.authorities, before.serving)
		if again := ensure(); again.serving.Leaf.SerialNumber.Cmp(current.serving.Leaf.SerialNumber) != 0 {
			t.Fatalf("%s: the certificate was renewed twice", now)
		}
		serials[current.serving.Leaf.SerialNumber.String()] = true
		authorities[string(current.serving.Leaf.AuthorityKeyId)] = true
		before = current
	}
	if len(serials) < 30 || len(serials) > 60 || len(authorities) < 3 || len(authorities) > 5 {
		t.Errorf("%d certificates of %d authorities in thirty years", len(serials), len(authorities))
	}
}

func verify(t *testing.T, now time.Time, authorities []byte, serving *tls.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		t.Fatal("no authority in the bundle")
	}
	if _, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "hook.n.svc", CurrentTime: now}); err != nil {
		t.Fatalf("%s: %v", now, err)
	}
}

func TestBrokenSecretIsReplaced(t *testing.T) {
	broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls"},
		Data: map[string][]byte{keyCert: []byte("x"), keyAuthorities: []byte("y")}}
	c := &certificates{
		client: fake.NewClientBuilder().WithObjects(broken).Build(),
		secret: types.NamespacedName{Namespace: "n", Name: "tls"},
		hosts:  []string{"hook.n.svc"},
		now:    time.Now,
	}
	p, err := c.ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, time.Now(), p.authorities, p.serving)
	// Another Service name makes another certificate.
	c.hosts = []string{"hook.n.svc", "other.n.svc"}
	if p, err = c.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.serving.Leaf.VerifyHostname("other.n.svc"); err != nil {
		t.Error(err)
	}
}
