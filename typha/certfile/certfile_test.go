package certfile

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maneki-net/maneki/test/pki"
)

// site is a directory with the files of an identity.
type site struct {
	dir      string
	pair     *Pair
	trusted  *Authorities
	readings int // of the pair
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	s.issue(t, "first")
	s.pair = NewPair(s.path(pki.CertFile), s.path(pki.KeyFile))
	s.trusted = NewAuthorities(s.path(pki.CAFile))
	parse := s.pair.parse
	s.pair.parse = func(contents [][]byte) (*tls.Certificate, error) {
		s.readings++
		return parse(contents)
	}
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// issue replaces all files by those of a new authority.
func (s *site) issue(t *testing.T, name string) {
	t.Helper()
	authority, err := pki.New("authority of "+name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Write(s.dir, pair); err != nil {
		t.Fatal(err)
	}
}

// presented returns the name in the certificate that a handshake would get.
func (s *site) presented(t *testing.T) string {
	t.Helper()
	cert, err := s.pair.ForServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

func (s *site) rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		t.Fatal(err)
	}
}

func TestManyHandshakesReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range 1000 {
			s.presented(t)
			time.Sleep(10 * time.Millisecond)
		}
		if s.readings != 1 {
			t.Errorf("the files, which did not change, were read %d times", s.readings)
		}
		s.issue(t, "second")
		time.Sleep(lookInterval)
		if got := s.presented(t); got != "second" || s.readings != 2 {
			t.Errorf("after a change %s is presented, and the files were read %d times", got, s.readings)
		}
	})
}

// TestUnusableFilesChangeNothing replaces files one after the other: what was good stays in use until all are good
// again.
func TestUnusableFilesChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.presented(t)
		s.rename(t, pki.KeyFile, "old.key")
		s.issue(t, "second")
		s.rename(t, pki.KeyFile, "new.key")
		for _, step := range []struct{ key, says string }{{"", "no such file"}, {"old.key", "does not match"}} {
			if step.key != "" {
				s.rename(t, step.key, pki.KeyFile)
			}
			time.Sleep(lookInterval)
			if got := s.presented(t); got != "first" {
				t.Errorf("key %q: %s is presented", step.key, got)
			}
			if err := fmt.Sprint(s.pair.Err()); !strings.Contains(err, step.says) ||
				!strings.Contains(err, pki.KeyFile) {
				t.Errorf("key %q: error %v does not say %q of the file", step.key, err, step.says)
			}
		}
		s.rename(t, "new.key", pki.KeyFile)
		time.Sleep(lookInterval)
		if got := s.presented(t); got != "second" || s.pair.Err() != nil {
			t.Errorf("with both new files %s is presented, error %v", got, s.pair.Err())
		}
	})
}

// TestMountedSecret changes files as the kubelet does: by one link to a directory.
func TestMountedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		mount := t.TempDir()
		if err := os.Symlink(s.dir, filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
		pair := NewPair(filepath.Join(mount, "..data", pki.CertFile), filepath.Join(mount, "..data", pki.KeyFile))
		if _, err := pair.Certificate(); err != nil {
			t.Fatal(err)
		}
		other := newSite(t)
		other.issue(t, "second")
		if err := os.Symlink(other.dir, filepath.Join(mount, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookInterval)
		if cert, err := pair.ForClient(nil); err != nil || cert.Leaf.Subject.CommonName != "second" {
			t.Errorf("the certificate is %v, error %v", cert, err)
		}
	})
}

func TestAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first, err := os.ReadFile(s.path(pki.CAFile))
		if err != nil {
			t.Fatal(err)
		}
		s.issue(t, "second")
		second, err := os.ReadFile(s.path(pki.CAFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			bundle  string
			trusted int
			says    string
		}{
			{string(first), 1, ""},
			{string(second) + string(first), 2, ""},
			{"", 2, "no PEM certificate"},
			{string(second[:len(second)/2]), 2, "no PEM certificate"},
			{"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", 2, "malformed"},
			{string(second), 1, ""},
		} {
			if err := os.WriteFile(s.path(pki.CAFile), []byte(step.bundle), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(lookInterval)
			certs, err := s.trusted.Certificates()
			if err != nil || len(certs) != step.trusted {
				t.Errorf("bundle %q: %d authorities, error %v; want %d", step.bundle, len(certs), err, step.trusted)
			}
			if err := s.trusted.Err(); (err == nil) != (step.says == "") ||
				!strings.Contains(fmt.Sprint(err), step.says) {
				t.Errorf("bundle %q: error %v does not say %q", step.bundle, err, step.says)
			}
		}
	})
}

func TestFilesThatNeverWere(t *testing.T) {
	pair := NewPair(filepath.Join(t.TempDir(), "absent.crt"), "absent.key")
	if _, err := pair.Certificate(); err == nil || !strings.Contains(err.Error(), "absent.crt") {
		t.Errorf("error %v does not name the file", err)
	}
	large := filepath.Join(t.TempDir(), "large.crt")
	if err := os.WriteFile(large, make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAuthorities(large).Pool(); err == nil || !strings.Contains(err.Error(), "large.crt") {
		t.Errorf("error %v does not refuse a large file", err)
	}
}
