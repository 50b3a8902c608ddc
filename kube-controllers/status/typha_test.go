package status

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/transport"
	"github.com/maneki-net/maneki/typha/wire"
)

// site has certificates of one authority, by common name.
type site struct {
	t         *testing.T
	authority *pki.Authority
}

func (s site) tls(name, peer string) auth.TLS {
	s.t.Helper()
	pair, err := s.authority.Issue(name, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	if err := s.authority.Write(dir, pair); err != nil {
		s.t.Fatal(err)
	}
	return auth.TLS{CAFile: dir + "/" + pki.CAFile, CertFile: dir + "/" + pki.CertFile,
		KeyFile: dir + "/" + pki.KeyFile, PeerCN: peer}
}

// typha runs a real replica over a store until stop is called.
func (s site) typha(store datastore.Store) (address string, stop func()) {
	s.t.Helper()
	local := typha.NewLocal(typha.LocalOptions{Store: store})
	server, err := transport.NewServer(transport.ServerOptions{Hub: local.Hub(), TLS: s.tls("typha", ""),
		ObserveInterval: time.Millisecond})
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 2)
	go func() { ended <- local.Run(ctx) }()
	go func() { ended <- server.Serve(ctx, listener) }()
	return listener.Addr().String(), func() { cancel(); <-ended; <-ended }
}

// TestRealTyphas are followed: two replicas over one store, and a node that goes from one to the other.
func TestRealTyphas(t *testing.T) {
	authority, err := pki.New("authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s, store := site{t, authority}, memory.New()
	create := func(kind datastore.Kind, o datastore.Object) {
		t.Helper()
		if _, err := store.Create(t.Context(), kind, o); err != nil {
			t.Fatal(err)
		}
	}
	create(datastore.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	create(datastore.GlobalNetworkPolicies, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "bad"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "role == "}})
	a, stopA := s.typha(store)
	b, stopB := s.typha(store)
	defer stopB()

	replicas, p := newTyphas(), newPicture()
	looked := make(chan struct{}, 1)
	f := &follower{replicas: replicas, picture: p, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		followed: map[string]bool{},
		say: func(context.Context, change) {
			select {
			case looked <- struct{}{}:
			default:
			}
		},
		observe: func(ctx context.Context, address string, each func(hub.Observed)) error {
			return transport.Observe(ctx, transport.ObserverOptions{Address: address,
				TLS: s.tls("observer:kube-controllers", "typha")}, each)
		}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	defer func() { cancel(); <-ended }()
	until := func(what string, is func() bool) {
		t.Helper()
		deadline := time.After(time.Minute)
		for !is() {
			select {
			case <-looked:
			case <-deadline:
				status, connected, known := p.node("n1")
				t.Fatalf("%s: problems %v, node %+v, connected %t, known %t", what, p.problems, status, connected,
					known)
			}
		}
	}
	state := func(want string) func() bool {
		return func() bool {
			status, connected, known := p.node("n1")
			return fmt.Sprintf("%t %t %s", connected, known, judgeConnected(status).reason) == want
		}
	}
	replicas.list("a@"+a, "b@"+b)
	bad := resource{Kind: calc.KindGlobalNetworkPolicy, Name: "bad"}
	until("the policy is unusable", func() bool { v, _ := p.problem(bad); return v.reason != "" && v.inherited })
	until("nobody has the node", state("false true Starting"))

	connect := func(address string) (report func(errs ...string), stop func()) {
		client, err := transport.NewClient(transport.ClientOptions{Node: "n1", Replicas: balance.Fixed(address),
			TLS: s.tls("node:n1", "typha")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- client.Run(ctx) }()
		if _, err := client.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		return func(errs ...string) { client.Report(wire.Report{Applied: 1, Errors: errs}) },
			func() { cancel(); <-ended }
	}
	report, leave := connect(a)
	until("it has yet to apply", state("true true Starting"))
	report()
	until("it has applied", state("true true Programmed"))
	report("no route")
	until("it fails", state("true true Failing"))
	leave()
	until("it has gone", state("false true Starting"))
	report, leave = connect(b)
	defer leave()
	report()
	until("it is with the other", state("true true Programmed"))

	stopA()
	replicas.list("b@" + b)
	if err := store.Delete(t.Context(), datastore.GlobalNetworkPolicies, datastore.Key{Name: "bad"},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	until("the policy has gone", func() bool { v, judged := p.problem(bad); return v.reason == "" && judged })
	until("the node has not", state("true true Programmed"))
}
