package etcd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestRefusedIsNamed: whatever is wrong with the way to etcd, the error names the endpoint and the cause, of a read, a
// write and a watch alike.
func TestRefusedIsNamed(t *testing.T) {
	locked := etcdserver.Start(t, etcdserver.Options{TLS: true, Auth: true})
	plain := etcdserver.Start(t, etcdserver.Options{})
	other := t.TempDir()
	if err := etcdserver.WriteCertificate(other, "ca", "tls"); err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Admin().UserAdd(t.Context(), "nobody", "secret"); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	for name, tt := range map[string]struct {
		from     etcd.Config
		change   func(*etcd.Config)
		cause    string
		sentinel error // nil: none of the store's
	}{
		"nobody listens": {plain.Config, func(c *etcd.Config) { c.Endpoints = "http://" + closed },
			"connection refused", datastore.ErrUnavailable},
		"no such host": {plain.Config, func(c *etcd.Config) { c.Endpoints = "http://etcd.invalid:2379" },
			"etcd.invalid", datastore.ErrUnavailable},
		"plain to TLS": {locked.Config, func(c *etcd.Config) {
			c.Endpoints = strings.Replace(c.Endpoints,
				"https", "http", 1)
		}, "preface", datastore.ErrUnavailable},
		"TLS to plain": {plain.Config, func(c *etcd.Config) {
			c.Endpoints = strings.Replace(c.Endpoints, "http",
				"https", 1)
		}, "authentication handshake failed", datastore.ErrUnavailable},
		"authority of another": {locked.Config, func(c *etcd.Config) { c.CAFile = filepath.Join(other, "ca.crt") },
			"certificate signed by unknown authority", datastore.ErrUnavailable},
		"certificate of another": {locked.Config, func(c *etcd.Config) {
			c.CertFile, c.KeyFile = filepath.Join(other, "tls.crt"), filepath.Join(other, "tls.key")
		}, "tls: ", datastore.ErrUnavailable},
		"no certificate": {locked.Config, func(c *etcd.Config) { c.CertFile, c.KeyFile = "", "" }, "tls: ",
			datastore.ErrUnavailable},
		"wrong password": {locked.Config, func(c *etcd.Config) { c.Password = "guess" }, "invalid user ID or password",
			nil},
		"no password": {locked.Config, func(c *etcd.Config) { c.Username, c.Password = "", "" }, "permission denied",
			nil},
		"no permission": {locked.Config, func(c *etcd.Config) { c.Username = "nobody" }, "permission denied", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := tt.from
			tt.change(&config)
			s := open(t, config)
			ctx := bounded(t)
			for operation, do := range map[string]func() error{
				"get": func() error {
					_, err := s.Get(ctx, datastore.IPPools,
						datastore.Key{Name: "p"})
					return err
				},
				"list": func() error {
					_, err := s.List(ctx, datastore.IPPools,
						datastore.ListOptions{})
					return err
				},
				"create": func() error { _, err := s.Create(ctx, datastore.IPPools, pool("p")); return err },
				"delete": func() error {
					return s.Delete(ctx, datastore.IPPools, datastore.Key{Name: "p"}, datastore.Preconditions{})
				},
				"watch": func() error {
					_, err := s.Watch(ctx, datastore.IPPools, "1",
						datastore.ListOptions{})
					return err
				},
			} {
				err := do()
				if err == nil || !strings.Contains(err.Error(), config.Endpoints) ||
					!strings.Contains(err.Error(), tt.cause) ||
					!strings.HasPrefix(err.Error(), operation+" IPPool") || strings.Contains(err.Error(), "rpc error") {
					t.Errorf("%s gives %v, want an error with %s and %q", operation, err, config.Endpoints, tt.cause)
				}
				if errors.Is(err, datastore.ErrUnavailable) != (tt.sentinel == datastore.ErrUnavailable) {
					t.Errorf("%s gives %v: wrong sentinel", operation, err)
				}
			}
		})
	}
}

func TestSilentServerIsNotWaitedFor(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := open(t, etcd.Config{Endpoints: "http://" + silent.Addr().String()})
	_, err = s.Get(bounded(t), datastore.IPPools, datastore.Key{Name: "p"})
	if !errors.Is(err, datastore.ErrUnavailable) || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("get gives %v, want ErrUnavailable", err)
	}
}

func TestCanceledCaller(t *testing.T) {
	s := open(t, etcd.Config{Endpoints: "http://127.0.0.1:1"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, datastore.IPPools, datastore.Key{Name: "p"}); !errors.Is(err, context.Canceled) ||
		errors.Is(err, datastore.ErrUnavailable) {
		t.Errorf("get of a canceled caller gives %v, want context.Canceled", err)
	}
}

// TestInlineCertificates also reaches etcd by a DNS name, and by the others of a list when the first is dead.
func TestInlineCertificates(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{TLS: true})
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c := server.Config
	inline := etcd.Config{
		Endpoints: "https://127.0.0.1:1," + strings.Replace(c.Endpoints, "127.0.0.1", "localhost", 1),
		Key:       read(c.KeyFile), Cert: read(c.CertFile), CA: read(c.CAFile),
	}
	s := open(t, inline)
	if _, err := s.Create(bounded(t), datastore.IPPools, pool("p")); err != nil {
		t.Error(err)
	}
}

func TestBadConfigIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.crt")
	for want, config := range map[string]etcd.Config{
		"set ETCD_ENDPOINTS": {},
		"both set":           {Endpoints: "http://a:1", DiscoverySRV: "example.org"},
		"is not of the form": {Endpoints: "127.0.0.1:2379"},
		"has no port: write for example https://a:2379": {Endpoints: "https://a"},
		"mix http and https":                            {Endpoints: "https://a:1,http://b:1"},
		"ETCD_USERNAME and ETCD_PASSWORD":               {Endpoints: "http://a:1", Username: "u"},
		"ETCD_KEY_FILE and ETCD_CERT_FILE":              {Endpoints: "https://a:1", KeyFile: "k"},
		"ETCD_KEY and ETCD_CERT":                        {Endpoints: "https://a:1", Cert: "c"},
		"ETCD_CA_CERT has no PEM":                       {Endpoints: "https://a:1", CA: "text"},
		"ETCD_CA_CERT_FILE":                             {Endpoints: "https://a:1", CAFile: missing},
		missing:                                         {Endpoints: "https://a:1", CertFile: missing, KeyFile: "k"},
	} {
		if _, err := etcd.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %v, want an error with %q", config, err, want)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	environment := map[string]string{
		"ETCD_ENDPOINTS": "https://a:1", "ETCD_USERNAME": "u", "ETCD_PASSWORD": "p", "ETCD_KEY_FILE": "kf",
		"ETCD_CERT_FILE":    "cf",
		"ETCD_CA_CERT_FILE": "af", "ETCD_KEY": "k", "ETCD_CERT": "c", "ETCD_CA_CERT": "a",
	}
	getenv := func(name string) string { return environment[name] }
	want := etcd.Config{Endpoints: "https://a:1", Username: "given", Password: "p", KeyFile: "kf", CertFile: "cf",
		CAFile: "af",
		Key:    "k", Cert: "c", CA: "a"}
	if got := (etcd.Config{Username: "given"}).FromEnvironment(getenv); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (etcd.Config{DiscoverySRV: "example.org"}).FromEnvironment(getenv); got.Endpoints != "" {
		t.Errorf("a domain is given, and the environment's endpoints count: %+v", got)
	}
}
