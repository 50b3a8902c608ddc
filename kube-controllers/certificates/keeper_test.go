package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const overlap = 24 * time.Hour

// installation is the Secrets of one, and a clock.
type installation struct {
	client  client.Client
	now     time.Time
	keepers []*Keeper
	failing error          // of the next write
	used    map[int]Issued // the own certificate of each Keeper
}

func install(t *testing.T, replicas int) *installation {
	t.Helper()
	in := &installation{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), used: map[int]Issued{}}
	var empty []client.Object
	for _, name := range []string{"ca", "server", "client"} {
		empty = append(empty, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}})
	}
	in.client = interceptor.NewClient(fake.NewClientBuilder().WithObjects(empty...).Build(), interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := in.failing; err != nil {
				in.failing = nil
				return err
			}
			return c.Update(ctx, o, opts...)
		}})
	for i := range replicas {
		client := Name{Common: "typha-client", Usage: x509.ExtKeyUsageClientAuth}
		server := Name{Common: "typha-server", DNS: []string{"hook.n.svc"}, Usage: x509.ExtKeyUsageServerAuth}
		k := New(Options{Client: in.client, Namespace: "n", Authority: "ca", Overlap: overlap,
			Log: slog.New(slog.DiscardHandler),
			Certificates: []Certificate{
				{Secret: "server", Name: server},
				{Secret: "client", Name: client},
				{Name: client, Use: func(_ context.Context, issued Issued) error {
					in.used[i] = issued
					return nil
				}}}})
		k.now = func() time.Time { return in.now }
		in.keepers = append(in.keepers, k)
	}
	return in
}

func (in *installation) look(t *testing.T) {
	t.Helper()
	for _, k := range in.keepers {
		if err := k.look(t.Context()); err != nil {
			t.Fatalf("%s: %v", in.now, err)
		}
	}
}

func (in *installation) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := in.client.Get(t.Context(), types.NamespacedName{Namespace: "n", Name: name}, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

func (in *installation) edit(t *testing.T, name string, edit func(*corev1.Secret)) {
	t.Helper()
	secret := in.secret(t, name)
	edit(secret)
	if err := in.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}

// held gives what the holders of all certificates have, if they are up to date.
func (in *installation) held(t *testing.T) []Issued {
	t.Helper()
	all := slices.Collect(maps.Values(in.used))
	for _, name := range []string{"server", "client"} {
		data := in.secret(t, name).Data
		all = append(all, Issued{Cert: data[corev1.TLSCertKey], Key: data[corev1.TLSPrivateKeyKey],
			Trusted: data[keyTrusted]})
	}
	return all
}

// accepts reports whether one holder accepts the other at a time.
func accepts(t *testing.T, judge, other Issued, now time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair(other.Cert, other.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(judge.Trusted) {
		t.Fatal("no authority in the bundle")
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// serial tells certificates apart.
func serial(t *testing.T, data []byte) string {
	t.Helper()
	block := readAuthority(map[string][]byte{keyTrusted: data})
	if len(block.former) == 0 {
		t.Fatal("no certificate")
	}
	return block.former[0].SerialNumber.String()
}

// TestReplacementLosesNobody asks for another authority. All the time, whoever is up to an overlap behind and whoever
// is not accept each other, and in the end the former authority is accepted by nobody.
func TestReplacementLosesNobody(t *testing.T) {
	in := install(t, 2)
	in.look(t)
	before := in.held(t)
	in.edit(t, "ca", func(s *corev1.Secret) { s.Annotations = map[string]string{AnnotationRotate: "please"} })
	const step = 4 * time.Hour
	history := [][]Issued{before} // of the last overlap
	trusted := map[int]bool{}
	for range 4 * int(overlap/step) {
		in.look(t)
		history = append(history, in.held(t))
		history = history[max(0, len(history)-int(overlap/step)):]
		now := history[len(history)-1]
		trusted[strings.Count(string(now[0].Trusted), "BEGIN CERTIFICATE")] = true
		for _, then := range history {
			for _, a := range then {
				for _, b := range now {
					if err := errors.Join(accepts(t, a, b, in.now), accepts(t, b, a, in.now)); err != nil {
						t.Fatalf("%s: %v", in.now, err)
					}
				}
			}
		}
		in.now = in.now.Add(step)
	}
	after := in.held(t)
	for _, old := range before {
		if accepts(t, after[0], old, in.now) == nil {
			t.Error("a certificate of the former authority is accepted still")
		}
	}
	if !trusted[1] || !trusted[2] || trusted[3] || len(in.secret(t, "ca").Annotations) > 0 {
		t.Errorf("so many were trusted at once: %v; annotations left: %v", trusted, in.secret(t, "ca").Annotations)
	}
}

// TestThirtyYears looks every month. What was held the month before is accepted by what is held now.
func TestThirtyYears(t *testing.T) {
	in := install(t, 1)
	in.look(t)
	before := in.held(t)
	serials, authorities := map[string]bool{}, map[string]bool{}
	for range 30 * 12 {
		in.now = in.now.AddDate(0, 1, 0)
		in.look(t)
		current := in.held(t)
		for i := range current {
			if err := errors.Join(accepts(t, current[i], before[i], in.now),
				accepts(t, current[i], current[0], in.now)); err != nil {
				t.Fatalf("%s: %v", in.now, err)
			}
		}
		version := in.secret(t, "server").ResourceVersion
		in.look(t)
		if again := in.secret(t, "server").ResourceVersion; again != version {
			t.Fatalf("%s: written twice", in.now)
		}
		serials[serial(t, current[1].Cert)] = true
		authorities[serial(t, in.secret(t, "ca").Data[corev1.TLSCertKey])] = true
		before = current
	}
	if len(serials) < 30 || len(serials) > 60 || len(authorities) < 3 || len(authorities) > 5 {
		t.Errorf("%d certificates of %d authorities in thirty years", len(serials), len(authorities))
	}
}

// TestWhatCertificatesSay: each can be used for its own end alone, and on a machine whose clock is hours behind.
func TestWhatCertificatesSay(t *testing.T) {
	in := install(t, 1)
	in.look(t)
	usages := map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}
	for name, want := range usages {
		data := in.secret(t, name).Data
		pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
		if err != nil {
			t.Fatal(err)
		}
		if pair.Leaf.Subject.CommonName != "typha-"+name || pair.Leaf.IsCA ||
			!slices.Equal(pair.Leaf.ExtKeyUsage, []x509.ExtKeyUsage{want}) {
			t.Errorf("%s: %s, usages %v", name, pair.Leaf.Subject, pair.Leaf.ExtKeyUsage)
		}
		if len(data) != 3 {
			t.Errorf("%s holds %v", name, slices.Sorted(maps.Keys(data)))
		}
		held := in.held(t)[0]
		if err := accepts(t, held, held, in.now.Add(-14*time.Hour)); err != nil {
			t.Errorf("with a clock that is 14 hours behind: %v", err)
		}
	}
}

// TestLostData: what is deleted or cannot be read is made anew; the authority's data deleted is trusted no more.
func TestLostData(t *testing.T) {
	in := install(t, 1)
	in.look(t)
	before := in.held(t)[0]
	in.edit(t, "server", func(s *corev1.Secret) { s.Data = map[string][]byte{corev1.TLSCertKey: []byte("x")} })
	in.edit(t, "client", func(s *corev1.Secret) { s.Data = nil })
	in.edit(t, "ca", func(s *corev1.Secret) { s.Data[corev1.TLSPrivateKeyKey] = []byte("x") })
	in.look(t)
	for _, held := range in.held(t) {
		if err := errors.Join(accepts(t, held, before, in.now), accepts(t, held, in.held(t)[0], in.now)); err != nil {
			t.Errorf("after the key was spoilt: %v", err)
		}
	}
	in.edit(t, "ca", func(s *corev1.Secret) { s.Data = nil })
	in.look(t)
	for _, held := range in.held(t) {
		if err := accepts(t, held, in.held(t)[0], in.now); err != nil || accepts(t, held, before, in.now) == nil {
			t.Errorf("after the authority was deleted: %v", err)
		}
	}
}

// TestInterruptions: a write that fails in any step is made up for, and a Secret that is not there is named.
func TestInterruptions(t *testing.T) {
	in := install(t, 1)
	k := in.keepers[0]
	for range 3 { // the authority's, the server's and the client's Secret
		in.failing = errors.New("no")
		if err := k.look(t.Context()); err == nil || !strings.Contains(err.Error(), "write Secret n/") {
			t.Fatalf("a failed write gives %v", err)
		}
	}
	in.look(t)
	if err := in.client.Delete(t.Context(), in.secret(t, "client")); err != nil {
		t.Fatal(err)
	}
	if err := k.look(t.Context()); err == nil || !strings.Contains(err.Error(),
		"Secret n/client, which the chart makes") {
		t.Errorf("a missing Secret gives %v", err)
	}
	if k.settled {
		t.Error("a missing Secret is settled")
	}
}
