package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// history makes random changes, each with a revision of its own.
type history struct {
	r       *rand.Rand
	updates []hub.Update
}

func (h *history) next() hub.Update {
	revision := fmt.Sprint(100 + len(h.updates))
	u := hub.Update{Kind: calc.KindPod, Changed: revision, Seen: revision}
	name := fmt.Sprint("p", h.r.IntN(60))
	switch h.r.IntN(10) {
	case 8:
		u.Kind = calc.KindGlobalNetworkPolicy
		u.Upserts = []metav1.Object{h.guard()}
	case 9:
		u.Kind, u.Deletes = calc.KindGlobalNetworkPolicy, []hub.Name{{Name: fmt.Sprint("guard", h.r.IntN(3))}}
	case 0:
		u.Kind = calc.KindNetworkPolicy
		p := hubtest.AllowFrom([]string{"db", "web", "cache"}[h.r.IntN(3)])
		p.Name = fmt.Sprint("np", h.r.IntN(3))
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": []string{"web", "db", "db"}[h.r.IntN(3)]}
		u.Upserts = []metav1.Object{p}
	case 1:
		u.Kind, u.Deletes = calc.KindNetworkPolicy, []hub.Name{{Namespace: "ns", Name: fmt.Sprint("np", h.r.IntN(3))}}
	case 2, 3:
		u.Deletes = []hub.Name{{Namespace: "ns", Name: name}}
	default:
		u.Upserts = []metav1.Object{hubtest.Pod(name, fmt.Sprint("n", 1+h.r.IntN(12)),
			[]string{"web", "db", "cache"}[h.r.IntN(3)],
			fmt.Sprintf("10.0.%d.%d", h.r.IntN(2), h.r.IntN(120)+1))}
	}
	h.updates = append(h.updates, u)
	return u
}

// guard is a policy with rules that an earlier release does not understand.
func (h *history) guard() *v3.GlobalNetworkPolicy {
	icmp, eight := intstr.FromString("ICMP"), 8
	rule := func(action v3.Action) v3.Rule {
		return v3.Rule{Action: action, Protocol: &icmp, NotICMP: &v3.ICMPFields{Type: &eight},
			Source: v3.EntityRule{Selector: []string{"", "app == 'db'", "app == 'cache'"}[h.r.IntN(3)]}}
	}
	actions := []v3.Action{v3.Allow, v3.Deny, v3.Pass}
	p := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("guard", h.r.IntN(3))}}
	p.Spec.Selector, p.Spec.Types = []string{"app == 'web'", "app == 'db'", "all()"}[h.r.IntN(3)],
		[]v3.PolicyType{v3.PolicyTypeIngress}
	p.Spec.Ingress = []v3.Rule{rule(actions[h.r.IntN(3)]), rule(actions[h.r.IntN(3)]), {Action: actions[h.r.IntN(3)]}}
	return p
}

// tick changes something that n1, n2 and n3 see.
func (h *history) tick() {
	revision := fmt.Sprint(100 + len(h.updates))
	u := hub.Update{Kind: calc.KindPod, Changed: revision, Seen: revision}
	for _, node := range []string{"n1", "n2", "n3"} {
		p := hubtest.Pod("tick-"+node, node, "web", "10.0.9.9")
		p.Annotations = map[string]string{"cni.projectcalico.org/ipAddrs": revision}
		u.Upserts = append(u.Upserts, p)
	}
	h.updates = append(h.updates, u)
}

// replica is a Hub that has seen a part of the history, and its server.
type replica struct {
	hub     *hub.Hub
	stop    func() // the hub
	seen    int
	address string
	down    func() // the server
}

func (r *replica) follow(t *testing.T, h *history, to int) {
	t.Helper()
	for ; r.seen < to; r.seen++ {
		u := h.updates[r.seen]
		if err := r.hub.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		// The watches of the other kinds reach the same revision by a bookmark.
		for _, kind := range []string{calc.KindPod, calc.KindNetworkPolicy, calc.KindGlobalNetworkPolicy} {
			if err := r.hub.Update(t.Context(), hub.Update{Kind: kind, Seen: u.Seen}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReplicasUnderChange changes the cluster at random while replicas lag, die and come back, and nodes of this and of
// earlier releases go from one to another. At each commit a node has exactly what the cluster was after some change, in
// the form that it understands; that point never goes back; it lets nothing in that was not allowed then; and what it
// has fits together.
func TestReplicasUnderChange(t *testing.T) {
	var all faults
	for seed := range uint64(long.Or(100, 3)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testReplicas(t, seed, &all) })
	}
	t.Logf("%d streams broke, %d replicas were refused as behind, of a node that is upgraded and goes back %d; %d "+
		"rules were closed, %d packets let in",
		all.broken.Load(), all.behind.Load(), all.changed.Load(), all.closed, all.admitted)
	if all.broken.Load() < 10 || all.behind.Load() < 3 || all.changed.Load() < 3 || all.closed == 0 ||
		all.admitted == 0 {
		t.Error("that is too few to prove anything")
	}
}

// faults are what has happened, as the nodes saw it.
type faults struct {
	broken, behind, changed atomic.Int64
	closed, admitted        int
}

// Enabled, Handle, WithAttrs and WithGroup make faults a slog.Handler, of a Client.
func (f *faults) Enabled(context.Context, slog.Level) bool { return true }
func (f *faults) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f *faults) WithGroup(string) slog.Handler            { return f }
func (f *faults) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			switch status.Code(errors.Unwrap(err)) {
			case codes.FailedPrecondition:
				f.behind.Add(1)
			case codes.Unavailable:
				f.broken.Add(1)
			}
		}
		return true
	})
	return nil
}

type several struct{ addresses *atomic.Value }

func (s *several) Addresses() ([]string, error) { return s.addresses.Load().([]string), nil }
func (s *several) Changed() <-chan struct{}     { return nil }

// shuffled are replicas that a node asks in any order. before is called on the client's goroutine, before it connects.
type shuffled struct {
	several
	before func()
	r      *rand.Rand
}

func (s *shuffled) Addresses() ([]string, error) {
	s.before()
	all := slices.Clone(s.addresses.Load().([]string))
	s.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// changingNode is a node and what it may announce.
type changingNode struct {
	name     string
	client   *Client
	model    *nodeModel
	features []wire.Features
}

// read applies the next commit and compares.
func (n *changingNode) read(t *testing.T, r *truth, all *faults) (at int) {
	t.Helper()
	n.model.apply(hubtest.Next(t, n.client))
	for _, version := range n.model.versions {
		revision, err := strconv.Atoi(version)
		if err != nil {
			t.Fatal(err)
		}
		at = max(at, revision-99)
	}
	should := r.states[at][n.name]
	var diff string
	for _, f := range n.features {
		form := should.downgraded(f)
		diff = cmp.Diff(form.text(), n.model.text())
		if diff == "" {
			break
		}
	}
	if diff != "" {
		t.Fatalf("%s, after change %d, has (-want +got):\n%s", n.name, at, diff)
	}
	for _, o := range should.objects {
		if _, ok := o.(*wire.Policy); ok && wire.Needs(o) != 0 && n.features[0] != wire.AllFeatures {
			all.closed++
		}
	}
	all.admitted += checkClosed(t, n.model.state, should)
	return at
}

// cluster is replicas under change.
type cluster struct {
	*history
	t        *testing.T
	site     *site
	replicas [3]*replica
	at       atomic.Value
}

func (c *cluster) start(i int) {
	c.replicas[i] = &replica{}
	r := c.replicas[i]
	r.hub, r.stop = hubtest.Start(c.t, calc.KindGlobalNetworkPolicy)
	hubtest.List(c.t, r.hub, 1)
	if err := r.hub.Update(c.t.Context(), hub.Update{Kind: calc.KindGlobalNetworkPolicy, Seen: "1",
		Listed: true}); err != nil {
		c.t.Fatal(err)
	}
	r.address, r.down = c.site.serve(r.hub, ServerOptions{})
}

func (c *cluster) announce() {
	c.at.Store([]string{c.replicas[0].address, c.replicas[1].address, c.replicas[2].address})
}

// kill ends a replica's server, and with it its streams. It comes back at once: as it was, or without anything, and
// then somewhere in the past.
func (c *cluster) kill(i int) {
	c.replicas[i].down()
	c.revive(i, c.r.IntN(2) == 0)
	c.replicas[i].follow(c.t, c.history, c.r.IntN(1+len(c.updates)))
}

func (c *cluster) revive(i int, empty bool) {
	old := c.replicas[i]
	if empty {
		old.stop()
		c.start(i)
	} else {
		old.address, old.down = c.site.serve(old.hub, ServerOptions{})
	}
	c.announce()
}

// fallBehind has one replica alone give the nodes the present and then die for good, so that all replicas lag behind
// them.
func (c *cluster) fallBehind(read func()) {
	newest := c.r.IntN(3)
	for i, r := range c.replicas {
		if i != newest {
			r.down()
		}
	}
	c.replicas[newest].follow(c.t, c.history, len(c.updates))
	read()
	c.replicas[newest].down()
	for i := range c.replicas {
		c.revive(i, i == newest || c.replicas[i].seen == len(c.updates) || c.r.IntN(2) == 0)
		if r := c.replicas[i]; r.seen == 0 {
			r.follow(c.t, c.history, c.r.IntN(len(c.updates)))
		}
	}
}

// node starts a client that announces one of the features at each connection.
func (c *cluster) node(name string, all *faults, features ...wire.Features) *changingNode {
	n := &changingNode{name: name, model: newNodeModel(c.t), features: features}
	random := rand.New(rand.NewPCG(c.r.Uint64(), 1))
	before := func() {
		f := features[random.IntN(len(features))]
		if n.client.opts.Features != f {
			all.changed.Add(1)
		}
		n.client.opts.Features = f
	}
	n.client = c.site.client(nil, func(o *ClientOptions) {
		o.Node, o.TokenFile = name, c.site.tokenFile(c.site.issuer.Token(name, nil))
		o.Replicas, o.Features, o.Logger = &shuffled{several{&c.at}, before, random}, features[0], slog.New(all)
	})
	c.site.run(n.client)
	return n
}

func testReplicas(t *testing.T, seed uint64, all *faults) {
	const base = wire.Features(1 << 31) // of no release
	c := &cluster{history: &history{r: rand.New(rand.NewPCG(seed, 7))}, t: t, site: newSite(t)}
	for i := range c.replicas {
		c.start(i)
	}
	c.announce()
	nodes := []*changingNode{c.node("n1", all, wire.AllFeatures), c.node("n2", all, base),
		c.node("n3", all, wire.AllFeatures&^wire.FeatureDeflate, base, wire.AllFeatures&^wire.FeatureNotICMP)}
	right := newTruth("n1", "n2", "n3")
	happen := func() {
		for range 1 + c.r.IntN(20) {
			c.next()
		}
		c.tick()
		for _, u := range c.updates[len(right.states)-1:] {
			right.follow(u)
		}
	}
	read := func() {
		for _, n := range nodes {
			for n.read(t, right, all) < len(c.updates) {
			}
		}
	}
	settle := func() {
		for _, r := range c.replicas {
			r.follow(t, c.history, len(c.updates))
		}
		read()
	}
	for range 25 {
		happen()
		for _, r := range c.replicas {
			r.follow(t, c.history, r.seen+c.r.IntN(1+len(c.updates)-r.seen))
		}
		switch i := c.r.IntN(8); {
		case i < 3:
			c.kill(i)
		case i == 3:
			c.fallBehind(read)
			before := all.behind.Load()
			hubtest.WaitFor(t, "a replica to be refused", func() bool { return all.behind.Load() > before })
			happen()
			settle()
		case i < 6:
			settle()
		}
	}
	happen()
	settle()
}

// TestSlowNodeUnderChange lets a node read now and then only, through the frames of its stream but without a network
// that would read ahead.
func TestSlowNodeUnderChange(t *testing.T) {
	for name, features := range map[string]wire.Features{"present": wire.AllFeatures, "no features": 0} {
		for seed := range uint64(long.Or(100, 5)) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) { testSlowNode(t, features, seed) })
		}
	}
}

func testSlowNode(t *testing.T, features wire.Features, seed uint64) {
	s := newSite(t)
	h := &history{r: rand.New(rand.NewPCG(seed, 11))}
	r := &replica{}
	r.hub, r.stop = hubtest.Start(t, calc.KindGlobalNetworkPolicy)
	hubtest.List(t, r.hub, 1, hubtest.AllowFrom("db"))
	if err := r.hub.Update(t.Context(), hub.Update{Kind: calc.KindGlobalNetworkPolicy, Seen: "1",
		Listed: true}); err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(ServerOptions{Hub: r.hub, TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := encodeFrame(frameHello, nodeHello{Version: ProtocolVersion,
		Hello: hub.Hello{Node: "n1", Features: features.Names()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := &nodeStream{ctx: ctx, up: [][]byte{hello}, sent: make(chan []byte)}
	ended := make(chan error, 1)
	go func() { ended <- server.serve(n, auth.Identity{Name: "n1"}) }()
	c := s.client(fixed(""), nil)
	frames, m, changes := newReader(c, nil), newNodeModel(t), 0
	read := func() {
		t.Helper()
		message, failed := <-n.sent, make(chan error, 1)
		go func() { failed <- frames.frames(t.Context(), message) }()
		commit := hubtest.Next(t, c)
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		m.apply(commit)
		changes += len(commit.Sets)
	}
	for range 60 {
		for range 1 + h.r.IntN(12) {
			h.next()
		}
		h.tick()
		r.follow(t, h, len(h.updates))
		if h.r.IntN(3) > 0 {
			read()
		}
	}
	h.tick()
	r.follow(t, h, len(h.updates))
	last := wire.ID{Kind: wire.KindEndpoint, Name: "ns/tick-n1"}
	want := newNodeModel(t)
	want.apply(hubtest.Next(t, r.hub.Source("n1")))
	for fmt.Sprint(m.objects[last].(*wire.Endpoint).Annotations) != fmt.Sprint(
		want.objects[last].(*wire.Endpoint).Annotations) {
		read()
	}
	if features == 0 {
		for id, o := range want.objects {
			want.objects[id] = wire.Downgrade(o, wire.AllFeatures)
		}
	}
	if diff := cmp.Diff(want.text(), m.text()); diff != "" {
		t.Errorf("the node has (-want +got):\n%s", diff)
	}
	if (changes > 0) != (features != 0) {
		t.Errorf("%d changes of sets were sent", changes)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
