package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
	"github.com/maneki-net/maneki/typha/wire"
)

// observer gives options with everything right, which change may spoil.
func (s *site) observer(address string, change func(*ObserverOptions)) ObserverOptions {
	s.t.Helper()
	opts := ObserverOptions{Address: address, TLS: s.tls("felix", "typha"),
		TokenFile: s.tokenFile(s.issuer.Token("", tokens.ForObserver))}
	if change != nil {
		change(&opts)
	}
	return opts
}

// observe follows a replica until the test ends, or until stop is called, which gives why it ended.
func (s *site) observe(opts ObserverOptions) (seen chan hub.Observed, stop func() error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	seen = make(chan hub.Observed)
	ended := make(chan error, 1)
	go func() {
		ended <- Observe(ctx, opts, func(o hub.Observed) {
			select {
			case seen <- o:
			case <-ctx.Done():
			}
		})
	}()
	stop = func() error { cancel(); err := <-ended; ended <- err; return err }
	s.t.Cleanup(func() { _ = stop() })
	return seen, stop
}

// told waits for the next message.
func told(t *testing.T, seen <-chan hub.Observed) hub.Observed {
	t.Helper()
	select {
	case o := <-seen:
		return o
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was observed")
		return hub.Observed{}
	}
}

// TestObserve follows what nodes report and what cannot be used, over the network.
func TestObserve(t *testing.T) {
	for name, identity := range map[string]func(s *site, o *ServerOptions, c *ClientOptions, w *ObserverOptions){
		"tokens": func(*site, *ServerOptions, *ClientOptions, *ObserverOptions) {},
		"tokens bound to a pod": func(s *site, _ *ServerOptions, _ *ClientOptions, w *ObserverOptions) {
			w.TokenFile = s.tokenFile(s.issuer.Token("n7",
				func(c map[string]any) { c["sub"] = tokens.ObserverAccount }))
		},
		"certificates": func(s *site, o *ServerOptions, c *ClientOptions, w *ObserverOptions) {
			o.TLS, o.Tokens = s.tls("typha", ""), nil
			c.TLS, c.TokenFile = s.tls("node:n1", "typha"), ""
			w.TLS, w.TokenFile = s.tls("observer:kube-controllers", "typha"), ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := hubtest.Start(t)
			hubtest.List(t, h, 1)
			hubtest.Refuse(t, h, "a", "no CIDR")
			registry, s := prometheus.NewRegistry(), newSite(t)
			server := ServerOptions{TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer),
				Metrics: NewMetrics(registry), ObserveInterval: time.Millisecond}
			watch := s.observer("", nil)
			c := s.client(nil, func(o *ClientOptions) { identity(s, &server, o, &watch) })
			address, _ := s.serve(h, server)
			c.chooser = balance.NewChooser(balance.Fixed(address))
			watch.Address = address
			seen, stop := s.observe(watch)
			problem := calc.Problem{Kind: calc.KindIPPool, Name: "a", Reason: "no CIDR"}
			if diff := cmp.Diff(hub.Observed{Whole: true, Problems: []calc.Problem{problem}},
				told(t, seen)); diff != "" {
				t.Errorf("at first (-want +got):\n%s", diff)
			}
			if n := metrictest.Value(t, registry, "typha_observers"); n != 1 {
				t.Errorf("%v observers are counted", n)
			}

			s.run(c)
			hubtest.Next(t, c)
			c.Report(wire.Report{Applied: 1, Errors: []string{"add route 10.0.0.0/26: no such device"},
				Notices: []string{"kube-proxy is in IPVS mode"}})
			m := hubtest.NewMirror(t)
			m.Heard = 1
			for m.Nodes["n1"].Applied != 1 {
				m.Hear(told(t, seen))
			}
			if diff := cmp.Diff(hubtest.Steady(hubtest.Statuses(t, h)), hubtest.Steady(m.Nodes)); diff != "" ||
				m.Nodes["n1"].Reported.IsZero() {
				t.Errorf("a node (-hub +observed):\n%s", diff)
			}
			hubtest.Refuse(t, h, "a", "")
			problem.Reason = ""
			if diff := cmp.Diff(hub.Observed{Problems: []calc.Problem{problem}}, told(t, seen)); diff != "" {
				t.Errorf("when nothing is wrong any more (-want +got):\n%s", diff)
			}
			if err := stop(); !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
			hubtest.WaitFor(t, "the end", func() bool { return metrictest.Value(t, registry, "typha_observers") == 0 })

			again, _ := s.observe(watch)
			o := told(t, again)
			if diff := cmp.Diff(hubtest.Steady(hubtest.Statuses(t, h)),
				hubtest.Steady(map[string]hub.NodeStatus{"n1": o.Nodes[0]})); diff != "" || !o.Whole ||
				len(o.Problems) > 0 {
				t.Errorf("after the observer came back: %+v", o)
			}
		})
	}
}

// TestNodesAndObserversAreNotConfused: neither opens the other's method, and a stranger opens none.
func TestNodesAndObserversAreNotConfused(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s, other := newSite(t), newSite(t)
	byToken, _ := s.serve(h, ServerOptions{})
	changedTokens := func(change func(*auth.Tokens)) string {
		accepted := verifier(s.issuer)
		change(accepted)
		address, _ := s.serve(h, ServerOptions{TLS: s.tls("typha", "felix"), Tokens: accepted})
		return address
	}
	anyNode, noObserver := changedTokens(func(t *auth.Tokens) { t.Subjects = nil }),
		changedTokens(func(t *auth.Tokens) { t.Observers = nil })
	byCertificate, _ := s.serve(h, ServerOptions{TLS: s.tls("typha", "")})
	node, watcher := s.issuer.Token("n1", nil), s.issuer.Token("", tokens.ForObserver)
	bound := s.issuer.Token("n1", func(c map[string]any) { c["sub"] = tokens.ObserverAccount })
	changed := func(change func(map[string]any)) string {
		return s.issuer.Token("", func(c map[string]any) { tokens.ForObserver(c); change(c) })
	}
	for _, c := range []struct {
		name, address, cn, token string
		stream, observe          codes.Code
	}{
		{"node", byToken, "felix", node, codes.OK, codes.Unauthenticated},
		{"observer", byToken, "felix", watcher, codes.Unauthenticated, codes.OK},
		{"observer whose pod is on the node", byToken, "felix", bound, codes.Unauthenticated, codes.OK},
		{"observer with another CN", byToken, "mallory", watcher, codes.Unavailable, codes.Unavailable},
		{"no token", byToken, "felix", "", codes.Unauthenticated, codes.Unauthenticated},
		{"token of another issuer", byToken, "felix", other.issuer.Token("", tokens.ForObserver), codes.Unauthenticated,
			codes.Unauthenticated},
		{"expired", byToken, "felix", changed(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
			codes.Unauthenticated, codes.Unauthenticated},
		{"never expires", byToken, "felix", changed(func(c map[string]any) { delete(c, "exp") }), codes.Unauthenticated,
			codes.Unauthenticated},
		{"another audience", byToken, "felix", changed(func(c map[string]any) { c["aud"] = []string{"api"} }),
			codes.Unauthenticated, codes.Unauthenticated},
		{"another account", byToken, "felix",
			changed(func(c map[string]any) { c["sub"] = "system:serviceaccount:default:default" }),
			codes.Unauthenticated, codes.Unauthenticated},
		{"node, where any account may be one", anyNode, "felix", node, codes.OK, codes.Unauthenticated},
		{"observer, where any account may be a node", anyNode, "felix", bound, codes.Unauthenticated, codes.OK},
		{"node, where nobody may observe", noObserver, "felix", node, codes.OK, codes.Unauthenticated},
		{"observer, where nobody may observe", noObserver, "felix", watcher, codes.Unauthenticated,
			codes.Unauthenticated},
		{"certificate of a node", byCertificate, "node:n1", "", codes.OK, codes.PermissionDenied},
		{"certificate of an observer", byCertificate, "observer:x", "", codes.PermissionDenied, codes.OK},
		{"certificate of an observer without name", byCertificate, "observer:", "", codes.PermissionDenied,
			codes.PermissionDenied},
		{"certificate of neither", byCertificate, "felix", watcher, codes.PermissionDenied, codes.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := ""
			if c.token != "" {
				file = s.tokenFile(c.token)
			}
			pki := s.tls(c.cn, "typha")
			check := func(what string, want codes.Code, open func(ctx context.Context, got func()) error) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				served := false
				err := open(ctx, func() { served = true; cancel() })
				if served != (want == codes.OK) || !served && status.Code(err) != want {
					t.Errorf("%s: served %v, %v; want %s", what, served, err, want)
				}
			}
			check("Stream", c.stream, func(ctx context.Context, got func()) error {
				client := s.client(fixed(c.address), func(o *ClientOptions) { o.TLS, o.TokenFile = pki, file })
				go func() {
					if _, err := client.Next(ctx); err == nil {
						got()
					}
				}()
				return client.connectOnce(ctx, c.address)
			})
			check("Observe", c.observe, func(ctx context.Context, got func()) error {
				return Observe(ctx, ObserverOptions{Address: c.address, TLS: pki, TokenFile: file},
					func(hub.Observed) { got() })
			})
		})
	}
}

func TestObserveRefusesAnotherServer(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	err := Observe(t.Context(), s.observer(address, func(o *ObserverOptions) { o.TLS.PeerCN = "someone-else" }),
		func(hub.Observed) { t.Error("it was told something") })
	if !strings.Contains(fmt.Sprint(err), "not that of the expected peer") ||
		!strings.Contains(fmt.Sprint(err), address) {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(*ObserverOptions){
		"common name":   func(o *ObserverOptions) { o.TLS.PeerCN = "" },
		"no such file":  func(o *ObserverOptions) { o.TLS.KeyFile += ".missing" },
		"token.missing": func(o *ObserverOptions) { o.TokenFile += ".missing" },
	} {
		if err := Observe(t.Context(), s.observer(address, change), nil); !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
}

// TestAccountIsOfNodesOrOfObservers: with one of both, nothing would keep a node from observing.
func TestAccountIsOfNodesOrOfObservers(t *testing.T) {
	s := newSite(t)
	accepted := verifier(s.issuer)
	start := func() error {
		_, err := NewServer(ServerOptions{TLS: s.tls("typha", "felix"), Tokens: accepted})
		return err
	}
	if err := start(); err != nil {
		t.Error(err)
	}
	accepted.Observers = append(accepted.Observers, tokens.FelixAccount)
	if err := start(); !strings.Contains(fmt.Sprint(err), tokens.FelixAccount) {
		t.Errorf("an account of both gives %v", err)
	}
}

// TestObserverOutlivesNoReplica: it learns that a replica ended, and from the next one all.
func TestObserverOutlivesNoReplica(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, stopServer := s.serve(h, ServerOptions{})
	ended := make(chan error, 1)
	began := make(chan struct{})
	go func() { ended <- Observe(t.Context(), s.observer(address, nil), func(hub.Observed) { close(began) }) }()
	<-began
	stopServer()
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("it ended with %v", err)
	}
}

// TestObserverIsToldOnceASecond, however much happens, and at once after a pause.
func TestObserverIsToldOnceASecond(t *testing.T) {
	server, err := NewServer(ServerOptions{TLS: newSite(t).tls("typha", "felix"),
		Tokens: verifier(tokens.NewIssuer(t, "k1"))})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1)
		server.opts.Hub = h
		hello, err := encodeFrame(frameObserve, observeHello{Version: ProtocolVersion})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n := &nodeStream{ctx: ctx, up: [][]byte{hello}, sent: make(chan []byte)}
		ended := make(chan error, 1)
		go func() { ended <- server.observing(n, auth.Identity{Name: "o"}) }()
		var times []time.Time
		m := hubtest.NewMirror(t)
		go func() {
			r := observedReader{each: func(o hub.Observed) { m.Hear(o); times = append(times, time.Now()) },
				renew: func() {}}
			for {
				select {
				case message := <-n.sent:
					if err := decodeFrames(message, r.frame); err != nil {
						t.Error(err)
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		s, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		hubtest.Next(t, s)
		for i := range 1000 { // over 10 s
			s.Report(wire.Report{Applied: uint64(i)})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		began := time.Now()
		s.Report(wire.Report{Applied: 5000})
		synctest.Wait()
		m.Lock()
		defer m.Unlock()
		if len(times) < 11 || len(times) > 13 || m.Nodes["n1"].Applied != 5000 {
			t.Errorf("%d messages, the last of %+v", len(times), m.Nodes)
		}
		for i, at := range times[1:] {
			if gap := at.Sub(times[i]); gap < time.Second {
				t.Errorf("%s between two messages", gap)
			}
		}
		if times[len(times)-1] != began {
			t.Error("what came after a pause had to wait")
		}
		cancel()
		<-ended
		for range hub.MaxObservers {
			if _, err := h.Observe(t.Context()); err != nil {
				t.Errorf("the observer is left: %v", err)
			}
		}
	})
}

// TestLargeClusterIsObserved: what does not fit into one message comes as one.
func TestLargeClusterIsObserved(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	const nodes = 3000
	for i := range nodes {
		s, err := h.Connect(t.Context(), hub.Hello{Node: fmt.Sprintf("n%04d", i)})
		if err != nil {
			t.Fatal(err)
		}
		s.Report(wire.Report{Errors: []string{strings.Repeat("e", 500)}})
	}
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	seen, _ := s.observe(s.observer(address, nil))
	o := told(t, seen)
	if len(o.Nodes) != nodes || !o.Whole || o.Nodes[nodes-1].Errors[0] != strings.Repeat("e", 500) {
		t.Errorf("%d nodes, whole: %v", len(o.Nodes), o.Whole)
	}
}
