package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// site is an authority, an issuer of tokens and directories with certificates.
type site struct {
	t         *testing.T
	authority *pki.Authority
	issuer    *tokens.Issuer
}

// siteLasts is for how long its certificates are good: longer than a test of the tokens' renewal, in its own time,
// takes.
const siteLasts = 7 * 24 * time.Hour

func newSite(t *testing.T) *site {
	t.Helper()
	a, err := pki.New("test authority", siteLasts)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, a, tokens.NewIssuer(t, "k1")}
}

// tls issues a certificate and gives the configuration of its owner.
func (s *site) tls(cn, peerCN string, uris ...string) auth.TLS {
	s.t.Helper()
	dir := s.t.TempDir()
	s.write(dir, cn, uris...)
	return auth.TLS{CAFile: filepath.Join(dir, pki.CAFile), CertFile: filepath.Join(dir, pki.CertFile),
		KeyFile: filepath.Join(dir, pki.KeyFile), PeerCN: peerCN}
}

func (s *site) write(dir, cn string, uris ...string) {
	s.t.Helper()
	pair, err := s.authority.Issue(cn, siteLasts, uris...)
	if err == nil {
		err = s.authority.Write(dir, pair)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// serve runs a server for a hub and gives its address.
func (s *site) serve(h *hub.Hub, opts ServerOptions) (address string, stop func()) {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return listener.Addr().String(), s.serveOn(listener, h, opts)
}

func (s *site) serveOn(listener net.Listener, h *hub.Hub, opts ServerOptions) (stop func()) {
	s.t.Helper()
	opts.Hub = h
	if opts.TLS.CAFile == "" {
		opts.TLS = s.tls("typha", "felix")
		opts.Tokens = verifier(s.issuer)
	}
	server, err := NewServer(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Serve: %v", err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *site) tokenFile(token string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// client makes a client of node n1 with everything right, which change may spoil.
func (s *site) client(address func() string, change func(*ClientOptions)) *Client {
	s.t.Helper()
	opts := ClientOptions{
		Node: "n1", TLS: s.tls("felix", "typha"), TokenFile: s.tokenFile(s.issuer.Token("n1", nil)),
		Replicas: asked(address),
	}
	if change != nil {
		change(&opts)
	}
	c, err := NewClient(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) run(c *Client) {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			s.t.Errorf("Client.Run: %v", err)
		}
	})
}

// asked is a replica whose address is asked for each time.
type asked func() string

func (a asked) Addresses() ([]string, error) { return []string{a()}, nil }
func (a asked) Changed() <-chan struct{}     { return nil }

func fixed(address string) func() string { return func() string { return address } }

func TestClientReadsWhatALocalSessionReads(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("b", "n2", "db", "10.0.0.2"),
		hubtest.AllowFrom("db"))
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	c, local := s.client(fixed(address), nil), h.Source("n1")
	s.run(c)
	for revision := 11; revision < 14; revision++ {
		want, got := hubtest.Next(t, local), hubtest.Next(t, c)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b wire.Object) bool {
			x, _ := wire.Encode(a)
			y, _ := wire.Encode(b)
			return string(x) == string(y)
		})); diff != "" {
			t.Errorf("commit differs (-local +client):\n%s", diff)
		}
		hubtest.Update(t, h, revision, nil, hubtest.Pod("b", "n2", "db", fmt.Sprint("10.0.0.", revision)))
	}
	c.Report(wire.Report{Applied: 3})
	hubtest.WaitFor(t, "the report", func() bool {
		all, err := h.Status(t.Context())
		return err == nil && slices.ContainsFunc(all, func(s hub.NodeStatus) bool { return s.Applied == 3 })
	})
}

func TestStrangersAreRefused(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"))
	s, other := newSite(t), newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	for name, c := range map[string]struct {
		change func(*ClientOptions)
		code   codes.Code
		want   string
	}{
		"client with another CN": {func(o *ClientOptions) { o.TLS = s.tls("mallory", "typha") }, codes.Unavailable,
			""},
		"client of another authority": {func(o *ClientOptions) { o.TLS = other.tls("felix", "typha") },
			codes.Unavailable, ""},
		"server with another CN": {func(o *ClientOptions) { o.TLS = s.tls("felix", "someone-else") },
			codes.Unavailable, "not that of the expected peer"},
		"no token": {func(o *ClientOptions) { o.TokenFile = "" }, codes.Unauthenticated, "no service-account token"},
		"token of another issuer": {func(o *ClientOptions) { o.TokenFile = s.tokenFile(other.issuer.Token("n1", nil)) },
			codes.Unauthenticated, "verify token"},
		"stream of another node": {func(o *ClientOptions) { o.Node = "n2" },
			codes.PermissionDenied, "is node n1 and asks for the stream of node n2"},
		"node ahead of the replica": {func(o *ClientOptions) { o.Versions = map[string]string{calc.KindPod: "11"} },
			codes.FailedPrecondition, "behind"},
	} {
		t.Run(name, func(t *testing.T) {
			client := s.client(fixed(address), c.change)
			err := client.connectOnce(t.Context(), address)
			if status.Code(err) != c.code || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got %v, want code %v and %q", err, c.code, c.want)
			}
			if client.holding.number != 0 {
				t.Error("a commit was delivered")
			}
		})
	}
}

func TestURISANIdentifiesAPeerToo(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	const uri = "spiffe://cluster/typha"
	named, _ := s.serve(h, ServerOptions{TLS: s.tls("anything", "felix", uri), Tokens: verifier(s.issuer)})
	change := func(o *ClientOptions) { o.TLS.PeerCN, o.TLS.PeerURISAN = "", uri }
	if err := s.client(fixed(address), change).connectOnce(t.Context(), address); !strings.Contains(fmt.Sprint(err),
		"not that of the expected peer") {
		t.Errorf("a server without the URI: %v", err)
	}
	c := s.client(fixed(named), change)
	s.run(c)
	hubtest.Next(t, c)
}

func TestCertificateMayNameTheNode(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{TLS: s.tls("typha", "")})
	withCN := func(cn string) func(*ClientOptions) {
		return func(o *ClientOptions) { o.TLS, o.TokenFile = s.tls(cn, "typha"), "" }
	}
	for _, cn := range []string{"felix", "node:n2"} {
		if err := s.client(fixed(address), withCN(cn)).connectOnce(t.Context(),
			address); status.Code(err) != codes.PermissionDenied {
			t.Errorf("CN %s asked for n1: %v", cn, err)
		}
	}
	c := s.client(fixed(address), withCN("node:n1"))
	s.run(c)
	hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/a"}, nil)
}

func TestReconnectSendsOnlyWhatDiffers(t *testing.T) {
	s := newSite(t)
	old, stopOld := hubtest.Start(t)
	hubtest.List(t, old, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("gone", "n1", "db", "10.0.0.2"),
		hubtest.AllowFrom("db"))
	oldAddress, stopServer := s.serve(old, ServerOptions{})
	var address atomic.Value
	address.Store(oldAddress)
	c := s.client(func() string { return address.Load().(string) }, nil)
	s.run(c)
	first := hubtest.Next(t, c)
	if len(first.Upserts) != 5 {
		t.Fatalf("the first commit is %v", first)
	}

	// Meanwhile, in another replica: one pod is gone, so its address is; the other pod and the policy
	// are as they were; a third pod is new.
	young, _ := hubtest.Start(t)
	hubtest.List(t, young, 20, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("new", "n1", "x", "10.0.0.3"),
		hubtest.AllowFrom("db"))
	youngAddress, _ := s.serve(young, ServerOptions{})
	address.Store(youngAddress)
	stopServer()
	stopOld()

	c.Report(wire.Report{Applied: 1}) // of the first connection, which the second must not take for its own
	second := hubtest.Next(t, c)
	hubtest.Expect(t, second, []string{"IPSet/" + hubtest.SetName(t, first), "Endpoint/ns/new"},
		[]string{"Endpoint/ns/gone"})
	if second.Number <= first.Number {
		t.Errorf("number %d after %d", second.Number, first.Number)
	}
	hubtest.Update(t, young, 21, nil, hubtest.Pod("late", "n1", "x", ""))
	hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/late"}, nil)
}

func TestHeldObjectsOfAnEarlierRunAreNotSentAgain(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", ""), hubtest.Pod("b", "n1", "web", ""))
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	held := map[wire.ID]wire.Object{}
	for _, o := range []wire.Object{&wire.Policy{Name: "old"},
		&wire.Endpoint{Namespace: "ns", Pod: "a", UID: "u", Node: "n1", Profiles: []string{"profile/kns."}},
		&wire.Endpoint{Namespace: "ns", Pod: "b", UID: "of another pod", Node: "n1"}} {
		held[o.ID()] = o
	}
	c := s.client(fixed(address), func(o *ClientOptions) { o.Held = held })
	s.run(c)
	hubtest.Expect(t, hubtest.Next(t, c), []string{"Endpoint/ns/b"}, []string{"Policy/old"})
}

// TestSlowClientDelaysNobody changes a large policy while one client does not read: another one is
// served on, and the slow one then gets the last state in few commits.
func TestSlowClientDelaysNobody(t *testing.T) {
	h, _ := hubtest.Start(t)
	const blocks, changes = 3000, 150
	policy := func(revision int) *networkingv1.NetworkPolicy { // every change sends all of it, some 30 kB
		p := hubtest.AllowFrom("db")
		p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{Port: ptr(intstr.FromInt32(int32(revision)))}}
		for i := range blocks {
			p.Spec.Ingress[0].From = append(p.Spec.Ingress[0].From,
				networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("10.%d.%d.0/24", i/250,
					i%250)}})
		}
		return p
	}
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", ""), hubtest.Pod("z", "n2", "web", ""), policy(1))
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	slow := s.client(fixed(address), nil)
	quick := s.client(fixed(address), func(o *ClientOptions) {
		o.Node, o.TokenFile = "n2", s.tokenFile(s.issuer.Token("n2", nil))
	})
	s.run(slow)
	s.run(quick)
	hubtest.Next(t, slow)
	hubtest.Next(t, quick)

	revision := func(c wire.Commit, before int) int {
		for _, o := range c.Upserts {
			if p, ok := o.(*wire.Policy); ok && p.Tier != "" {
				return int(p.Ingress[0].Dst.Ports[0].First)
			}
		}
		return before
	}
	for i := 2; i <= changes; i++ {
		u := hub.Update{Kind: calc.KindNetworkPolicy, Upserts: []metav1.Object{policy(i)}, Changed: fmt.Sprint(i),
			Seen: fmt.Sprint(i)}
		if err := h.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		for got := 0; got != i; {
			got = revision(hubtest.Next(t, quick), got)
		}
	}
	commits, got := 0, 0
	for got != changes {
		got = revision(hubtest.Next(t, slow), got)
		commits++
	}
	if commits > changes/3 {
		t.Errorf("the slow client was given %d commits for %d changes: nothing was merged", commits, changes)
	}
}

func ptr[T any](v T) *T { return &v }

func TestCertificatesAreReadAgain(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	serverTLS := s.tls("typha", "felix")
	address, _ := s.serve(h, ServerOptions{TLS: serverTLS, Tokens: verifier(s.issuer)})
	c := s.client(fixed(address), func(o *ClientOptions) { o.TLS.PeerCN = "typha-renewed" })
	if err := c.connectOnce(t.Context(), address); !strings.Contains(fmt.Sprint(err), "not that of the expected peer") {
		t.Fatalf("before the renewal: %v", err)
	}
	s.write(filepath.Dir(serverTLS.CertFile), "typha-renewed")
	s.run(c)
	hubtest.Next(t, c)
}

// TestHandshakesReadNoFiles takes the files away: what both sides know of them is in memory.
func TestHandshakesReadNoFiles(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	serverTLS := s.tls("typha", "felix")
	address, _ := s.serve(h, ServerOptions{TLS: serverTLS, Tokens: verifier(s.issuer)})
	var clientTLS auth.TLS
	c := s.client(fixed(address), func(o *ClientOptions) { clientTLS = o.TLS })
	for _, file := range []string{serverTLS.CAFile, serverTLS.CertFile, serverTLS.KeyFile, clientTLS.CAFile,
		clientTLS.CertFile, clientTLS.KeyFile} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	s.run(c)
	hubtest.Next(t, c)
}

func TestServerRefusesToStartWithoutAWayToKnowItsClients(t *testing.T) {
	s := newSite(t)
	h := hub.New(hub.Options{})
	if _, err := NewServer(ServerOptions{Hub: h, TLS: s.tls("typha", ""), Tokens: verifier(s.issuer)}); err == nil {
		t.Error("neither CN nor URI of clients is set")
	}
	missing := s.tls("typha", "felix")
	missing.KeyFile += ".missing"
	if _, err := NewServer(ServerOptions{Hub: h, TLS: missing, Tokens: verifier(s.issuer)}); err == nil ||
		!strings.Contains(err.Error(), missing.KeyFile) {
		t.Errorf("a missing key file gives %v", err)
	}
}

// verifier verifies the tokens of an issuer.
func verifier(i *tokens.Issuer) *auth.Tokens {
	return &auth.Tokens{Fetch: i.Fetch, Subjects: []string{tokens.FelixAccount},
		Observers: []string{tokens.ObserverAccount}}
}
