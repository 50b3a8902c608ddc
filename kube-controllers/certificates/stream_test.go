package certificates

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/transport"
)

// mount puts a Secret into a directory, as a kubelet does.
func (in *installation) mount(t *testing.T, name, dir string) {
	t.Helper()
	for key, content := range in.secret(t, name).Data {
		if err := replace(filepath.Join(dir, key), content); err != nil {
			t.Fatal(err)
		}
	}
}

func tlsIn(dir string) auth.TLS {
	return auth.TLS{CAFile: filepath.Join(dir, keyTrusted), CertFile: filepath.Join(dir, corev1.TLSCertKey),
		KeyFile: filepath.Join(dir, corev1.TLSPrivateKeyKey)}
}

// serve runs a Typha with the files of a directory, and gives its address and the store that it reads.
func serve(t *testing.T, dir string) (address string, store datastore.Store) {
	t.Helper()
	store = memory.New()
	local := typha.NewLocal(typha.LocalOptions{Store: store})
	server, err := transport.NewServer(transport.ServerOptions{Hub: local.Hub(), TLS: tlsIn(dir)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- local.Run(ctx) }()
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { cancel(); <-ended; <-ended })
	return listener.Addr().String(), store
}

// connect opens a stream of a node, which has delivered its first commit, and counts its connections.
func connect(t *testing.T, node, address string, files auth.TLS) (*transport.Client, *connections, error) {
	t.Helper()
	files.PeerCN = "typha-server"
	counted := &connections{Handler: slog.DiscardHandler}
	client, err := transport.NewClient(transport.ClientOptions{Node: node, Replicas: balance.Fixed(address), TLS: files,
		Logger: slog.New(counted)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	patience, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	_, err = client.Next(patience)
	return client, counted, err
}

// connections counts what a client logs of its connections.
type connections struct {
	slog.Handler
	made atomic.Int32
}

func (c *connections) Enabled(context.Context, slog.Level) bool { return true }

func (c *connections) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "connected to typha" {
		c.made.Add(1)
	}
	return nil
}

// TestStreamsOutliveTheAuthority replaces the authority under a Typha and its node, each of which gets its new files
// first once. An open stream goes on, and at each moment a new one can be opened.
func TestStreamsOutliveTheAuthority(t *testing.T) {
	in := install(t, 1)
	in.now = time.Now()
	keeper := in.keepers[0]
	keeper.Overlap = 3 * time.Hour
	own := t.TempDir()
	keeper.Certificates = []Certificate{
		{Secret: "server", Name: Name{Common: "typha-server", Usage: x509.ExtKeyUsageServerAuth}},
		{Secret: "client", Name: Name{Common: "node:n1", Usage: x509.ExtKeyUsageClientAuth}},
		{Name: Name{Common: "node:n0", Usage: x509.ExtKeyUsageClientAuth}, Use: Files(own)},
	}
	in.look(t)
	server, node := t.TempDir(), t.TempDir()
	in.mount(t, "server", server)
	in.mount(t, "client", node)
	address, store := serve(t, server)
	pair := filepath.Join(own, PairFile)
	files := auth.TLS{CAFile: filepath.Join(own, TrustedFile), CertFile: pair, KeyFile: pair}
	open, connections, err := connect(t, "n0", address, files)
	if err != nil {
		t.Fatal(err)
	}
	check := func(step string) {
		t.Helper()
		// It may take a second attempt: Typha looks at its files once a second.
		if _, _, err := connect(t, "n1", address, tlsIn(node)); err != nil {
			t.Errorf("%s: a new stream: %v", step, err)
		}
	}
	in.edit(t, "ca", func(s *corev1.Secret) { s.Annotations = map[string]string{AnnotationRotate: ""} })
	for i, step := range []string{"two are trusted", "the new one signs", "the old one is not trusted"} {
		in.look(t)
		check(step + ", but nobody knows")
		if i%2 == 0 {
			in.mount(t, "server", server)
		} else {
			in.mount(t, "client", node)
		}
		check(step + ", and one knows")
		in.mount(t, "server", server)
		in.mount(t, "client", node)
		check(step)
		in.now = in.now.Add(keeper.Overlap)
	}
	other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}
	if _, err := store.Create(t.Context(), datastore.Nodes, other); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Next(t.Context()); err != nil || connections.made.Load() != 1 {
		t.Errorf("the stream that was open was made %d times, %v", connections.made.Load(), err)
	}
}
