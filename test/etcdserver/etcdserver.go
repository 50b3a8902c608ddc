// Package etcdserver runs an etcd of one or several members on loopback, for tests of what only the real server can
// judge: compaction, elections, lost members, certificates, passwords.
//
// It owns the processes and a temporary folder; both go when the test ends, also when it is killed. The program is
// built by test/build. A Cluster is used by one goroutine at a time.
package etcdserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/process"
)

// Options say what etcd to start. The zero value is one member that asks for nothing.
type Options struct {
	// Members is their number; 0 is one.
	Members int
	// TLS asks for certificates on both sides.
	TLS bool
	// Auth asks for a password. User may use the keys below /calico/ alone.
	Auth bool
}

// The users with Options.Auth.
const (
	User     = "calico"
	Password = "secret"
	root     = "root"
)

// Cluster is a running etcd.
type Cluster struct {
	// Config is the configuration of a client with all rights that Options leave it.
	Config etcd.Config

	options Options
	dir     string
	program string
	members []*member
	admin   *clientv3.Client
}

// member is one process. Its name and addresses stay when it is started again.
type member struct {
	name         string
	client, peer string // URLs
	process      *process.Process
}

// Start builds etcd, starts it and waits until it has a leader; it fails the test if it cannot. All of it is gone
// when the test has ended.
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	options.Members = max(options.Members, 1)
	c := &Cluster{options: options, dir: t.TempDir()}
	if err := c.start(t); err != nil {
		t.Fatalf("start etcd: %v", err)
	}
	return c
}

func (c *Cluster) start(t testing.TB) error {
	builder, err := build.Here(os.Stderr)
	if err != nil {
		return err
	}
	programs, err := builder.Module(t.Context(), "etcd")
	if err != nil {
		return err
	}
	c.program = filepath.Join(programs, "etcd")
	if c.options.TLS {
		if err := writeCertificates(c.dir); err != nil {
			return err
		}
		c.Config.CAFile = filepath.Join(c.dir, "ca.crt")
		c.Config.CertFile, c.Config.KeyFile = filepath.Join(c.dir, "tls.crt"), filepath.Join(c.dir, "tls.key")
	}
	ports, err := process.FreePorts(2 * c.options.Members)
	if err != nil {
		return err
	}
	scheme := "http"
	if c.options.TLS {
		scheme = "https"
	}
	var endpoints []string
	for i := range c.options.Members {
		m := &member{name: fmt.Sprintf("m%d", i), client: fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i]),
			peer: fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1])}
		c.members = append(c.members, m)
		endpoints = append(endpoints, m.client)
	}
	c.Config.Endpoints = strings.Join(endpoints, ",")
	t.Cleanup(func() {
		for _, m := range c.members {
			if m.process != nil {
				m.process.Kill()
			}
		}
	})
	for _, m := range c.members {
		if err := c.launch(m, "new"); err != nil {
			return err
		}
	}
	c.admin, err = c.connect("", "")
	if err != nil {
		return err
	}
	t.Cleanup(func() { c.admin.Close() })
	if err := c.ready(t.Context()); err != nil {
		return err
	}
	if c.options.Auth {
		return c.enableAuth(t)
	}
	return nil
}

func (c *Cluster) launch(m *member, state string) error {
	var peers []string
	for _, other := range c.members {
		peers = append(peers, other.name+"="+other.peer)
	}
	args := []string{"--name=" + m.name, "--data-dir=" + filepath.Join(c.dir, m.name),
		"--listen-client-urls=" + m.client, "--advertise-client-urls=" + m.client,
		"--listen-peer-urls=" + m.peer, "--initial-advertise-peer-urls=" + m.peer,
		"--initial-cluster=" + strings.Join(peers, ","), "--initial-cluster-state=" + state,
		"--unsafe-no-fsync", "--log-level=warn"}
	if c.options.TLS {
		args = append(args, "--client-cert-auth", "--trusted-ca-file="+c.Config.CAFile,
			"--cert-file="+c.Config.CertFile, "--key-file="+c.Config.KeyFile)
	}
	p, err := process.Launch(filepath.Join(c.dir, m.name+".log"), c.program, args...)
	m.process = p
	return err
}

// connect makes a client apart from what is tested.
func (c *Cluster) connect(user, password string) (*clientv3.Client, error) {
	settings := clientv3.Config{Username: user, Password: password, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
	for _, m := range c.members {
		settings.Endpoints = append(settings.Endpoints, m.client)
	}
	if c.options.TLS {
		var err error
		settings.TLS, err = clientTLS(c.dir)
		if err != nil {
			return nil, err
		}
	}
	return clientv3.New(settings)
}

// ready waits until every member that runs answers a read that a majority agreed on.
func (c *Cluster) ready(ctx context.Context) error {
	for _, m := range c.members {
		if m.process == nil {
			continue
		}
		if err := m.process.Until(ctx, "ready", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			status, err := c.admin.Status(ctx, m.client)
			if err == nil && status.Leader == 0 {
				return fmt.Errorf("%s has no leader", m.name)
			}
			if err == nil {
				_, err = c.admin.Get(ctx, "ready")
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) enableAuth(t testing.TB) error {
	ctx := t.Context()
	steps := []func() error{
		func() error { _, err := c.admin.UserAdd(ctx, root, Password); return err },
		func() error { _, err := c.admin.RoleAdd(ctx, root); return err },
		func() error { _, err := c.admin.UserGrantRole(ctx, root, root); return err },
		func() error { _, err := c.admin.UserAdd(ctx, User, Password); return err },
		func() error { _, err := c.admin.RoleAdd(ctx, User); return err },
		func() error {
			_, err := c.admin.RoleGrantPermission(ctx, User, "/calico/", clientv3.GetPrefixRangeEnd("/calico/"),
				clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.admin.UserGrantRole(ctx, User, User); return err },
		func() error { _, err := c.admin.AuthEnable(ctx); return err },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("ask for passwords, step %d: %w", i, err)
		}
	}
	admin, err := c.connect(root, Password)
	if err != nil {
		return err
	}
	t.Cleanup(func() { admin.Close() })
	c.admin, c.Config.Username, c.Config.Password = admin, User, Password
	return nil
}

// Admin returns a client with all rights, to look at what is stored and to change it behind the store's back.
func (c *Cluster) Admin() *clientv3.Client { return c.admin }

// Compact makes etcd forget all changes up to now.
func (c *Cluster) Compact(t testing.TB) {
	t.Helper()
	now, err := c.admin.Put(t.Context(), "now", "") // the compacted revision itself stays
	if err == nil {
		_, err = c.admin.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err != nil {
		t.Fatalf("compact etcd: %v", err)
	}
}

// Leader returns the index of the member that leads, and the number of its term, once those that run agree.
func (c *Cluster) Leader(t testing.TB) (index int, term uint64) {
	t.Helper()
	if err := c.ready(t.Context()); err != nil {
		t.Fatalf("find the leader: %v", err)
	}
	for i, m := range c.members {
		if m.process == nil {
			continue
		}
		status, err := c.admin.Status(t.Context(), m.client)
		if err != nil {
			t.Fatalf("find the leader: %v", err)
		}
		if status.Header.MemberId == status.Leader {
			return i, status.RaftTerm
		}
	}
	t.Fatal("find the leader: none that runs is")
	return 0, 0
}

// Kill ends a member at once.
func (c *Cluster) Kill(i int) {
	c.members[i].process.Kill()
	c.members[i].process = nil
}

// Restart starts a member that was killed, with the data it had, and waits until all that run have a leader.
func (c *Cluster) Restart(t testing.TB, i int) {
	t.Helper()
	err := c.launch(c.members[i], "existing")
	if err == nil {
		err = c.ready(t.Context())
	}
	if err != nil {
		t.Fatalf("start %s again: %v", c.members[i].name, err)
	}
}

// Wipe starts the only member anew with nothing in it, as after a backup that was empty.
func (c *Cluster) Wipe(t testing.TB) {
	t.Helper()
	c.Kill(0)
	err := os.RemoveAll(filepath.Join(c.dir, c.members[0].name))
	if err == nil {
		err = c.launch(c.members[0], "new")
	}
	if err == nil {
		err = c.ready(t.Context())
	}
	if err != nil {
		t.Fatalf("start etcd anew: %v", err)
	}
}

// Pause stops a member without breaking its connections, until the function that it gives is called.
func (c *Cluster) Pause(t testing.TB, i int) (resume func()) {
	t.Helper()
	p := c.members[i].process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("pause %s: %v", c.members[i].name, err)
	}
	return func() {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Errorf("resume %s: %v", c.members[i].name, err)
		}
	}
}

// Endpoint is the URL of one member.
func (c *Cluster) Endpoint(i int) string { return c.members[i].client }
