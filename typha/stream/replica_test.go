package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// nodeModel is what a node has after the commits that it was given. Applying one checks what a node relies on.
type nodeModel struct {
	t        *testing.T
	objects  map[wire.ID]wire.Object
	sets     map[string]map[netip.Prefix]bool
	versions map[string]string
	number   uint64
}

func newNodeModel(t *testing.T) *nodeModel {
	return &nodeModel{t: t, objects: map[wire.ID]wire.Object{}, sets: map[string]map[netip.Prefix]bool{}, versions: map[string]string{}}
}

func (m *nodeModel) apply(c wire.Commit) {
	m.t.Helper()
	if c.Number <= m.number {
		m.t.Errorf("commit %d after %d", c.Number, m.number)
	}
	m.number = c.Number
	for kind, version := range c.Versions {
		if compareDecimal(version, m.versions[kind]) < 0 {
			m.t.Errorf("%s goes back from %s to %s", kind, m.versions[kind], version)
		}
		m.versions[kind] = version
	}
	if !slices.IsSortedFunc(c.Upserts, func(a, b wire.Object) int { return compareIDs(a.ID(), b.ID()) }) ||
		!slices.IsSortedFunc(c.Deletes, func(a, b wire.ID) int { return compareIDs(b, a) }) {
		m.t.Error("the commit is not in a safe order")
	}
	for _, o := range c.Upserts {
		m.objects[o.ID()] = o
		if s, ok := o.(*wire.IPSet); ok {
			m.sets[s.Name] = map[netip.Prefix]bool{}
			for _, n := range s.Nets {
				m.sets[s.Name][n] = true
			}
		}
	}
	for _, d := range c.Sets {
		m.change(d)
	}
	for _, id := range c.Deletes {
		if m.objects[id] == nil {
			m.t.Errorf("%s is deleted and was not there", id)
		}
		delete(m.objects, id)
		if id.Kind == wire.KindIPSet {
			delete(m.sets, id.Name)
		}
	}
	m.checkReferences()
}

func (m *nodeModel) change(d wire.SetDelta) {
	set := m.sets[d.Name]
	if set == nil {
		m.t.Errorf("change of set %s, which is not there", d.Name)
		return
	}
	for _, n := range d.AddedNets {
		if set[n] {
			m.t.Errorf("%s is added to set %s, which has it", n, d.Name)
		}
		set[n] = true
	}
	for _, n := range d.RemovedNets {
		if !set[n] {
			m.t.Errorf("%s is removed from set %s, which has it not", n, d.Name)
		}
		delete(set, n)
	}
}

// checkReferences: what is named is there.
func (m *nodeModel) checkReferences() {
	for id, o := range m.objects {
		switch o := o.(type) {
		case *wire.Policy:
			for _, r := range slices.Concat(o.Ingress, o.Egress) {
				for _, set := range slices.Concat(r.Src.Sets, r.Dst.Sets, r.Src.NotSets, r.Dst.NotSets) {
					if m.sets[set] == nil {
						m.t.Errorf("%s names set %s, which is not there", id, set)
					}
				}
			}
		case *wire.Endpoint:
			names := o.Profiles
			for _, tier := range o.Tiers {
				names = slices.Concat(names, tier.Ingress, tier.Egress)
			}
			for _, name := range names {
				if m.objects[wire.ID{Kind: wire.KindPolicy, Name: name}] == nil {
					m.t.Errorf("%s names policy %s, which is not there", id, name)
				}
			}
		}
	}
}

// text gives everything in a form to compare.
func (m *nodeModel) text() map[string]string {
	all := map[string]string{}
	for id, o := range m.objects {
		if s, ok := o.(*wire.IPSet); ok {
			var nets []string
			for n := range m.sets[s.Name] {
				nets = append(nets, n.String())
			}
			slices.Sort(nets)
			all[id.String()] = strings.Join(nets, " ")
			continue
		}
		all[id.String()] = fmt.Sprintf("%+v", o)
	}
	return all
}

// history makes random changes, each with a revision of its own.
type history struct {
	r       *rand.Rand
	updates []Update
}

func (h *history) next() Update {
	revision := fmt.Sprint(100 + len(h.updates))
	u := Update{Kind: calc.KindPod, Changed: revision, Seen: revision}
	name := fmt.Sprint("p", h.r.IntN(60))
	switch h.r.IntN(8) {
	case 0:
		u.Kind = calc.KindNetworkPolicy
		p := allowFrom([]string{"db", "web", "cache"}[h.r.IntN(3)])
		p.Name = fmt.Sprint("np", h.r.IntN(3))
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": []string{"web", "db", "db"}[h.r.IntN(3)]}
		u.Upserts = []metav1.Object{p}
	case 1:
		u.Kind, u.Deletes = calc.KindNetworkPolicy, []Name{{"ns", fmt.Sprint("np", h.r.IntN(3))}}
	case 2, 3:
		u.Deletes = []Name{{"ns", name}}
	default:
		u.Upserts = []metav1.Object{pod(name, fmt.Sprint("n", 1+h.r.IntN(12)), []string{"web", "db", "cache"}[h.r.IntN(3)],
			fmt.Sprintf("10.0.%d.%d", h.r.IntN(2), h.r.IntN(120)+1))}
	}
	h.updates = append(h.updates, u)
	return u
}

// tick changes something that n1 sees.
func (h *history) tick() {
	revision := fmt.Sprint(100 + len(h.updates))
	p := pod("tick", "n1", "web", "10.0.9.9")
	p.Annotations = map[string]string{"cni.projectcalico.org/ipAddrs": revision}
	h.updates = append(h.updates, Update{Kind: calc.KindPod, Changed: revision, Seen: revision, Upserts: []metav1.Object{p}})
}

// replica is a Hub that has seen a part of the history, and its server.
type replica struct {
	hub     *Hub
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
		// A watch of the other kind reaches the same revision by a bookmark.
		other := calc.KindPod
		if u.Kind == other {
			other = calc.KindNetworkPolicy
		}
		if err := r.hub.Update(t.Context(), Update{Kind: other, Seen: u.Seen}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplicasUnderChange changes the cluster at random while replicas lag, die and come back, and a node of this or an
// earlier release goes from one to another. It never goes back in time, what it has always fits together, and in the end it
// has what it needs.
func TestReplicasUnderChange(t *testing.T) {
	for name, features := range map[string]wire.Features{
		"present": wire.AllFeatures, "no features": 1 << 31, "no compression": wire.AllFeatures &^ wire.FeatureDeflate,
	} {
		for seed := range uint64(long.Or(50, 2)) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) { testReplicas(t, features, seed) })
		}
	}
}

func testReplicas(t *testing.T, features wire.Features, seed uint64) {
	s := newSite(t)
	h := &history{r: rand.New(rand.NewPCG(seed, 7))}
	start := func() *replica {
		r := &replica{}
		r.hub, r.stop = startHub(t)
		r.address, r.down = s.serve(r.hub, ServerOptions{})
		list(t, r.hub, 1)
		return r
	}
	replicas := []*replica{start(), start(), start()}
	var at atomic.Value
	at.Store([]string{replicas[0].address, replicas[1].address, replicas[2].address})
	c := s.client(nil, func(o *ClientOptions) { o.Replicas, o.Features = &several{&at}, features })
	s.run(c)
	m := newNodeModel(t)
	for range 25 {
		for range 1 + h.r.IntN(20) {
			h.next()
		}
		newest := replicas[h.r.IntN(3)]
		newest.follow(t, h, len(h.updates))
		for _, r := range replicas {
			r.follow(t, h, r.seen+h.r.IntN(1+len(h.updates)-r.seen))
		}
		if i := h.r.IntN(6); i < 3 { // one dies, with or without its hub
			old := replicas[i]
			old.down()
			if h.r.IntN(2) == 0 {
				old.stop()
				replicas[i] = start()
			} else {
				old.address, old.down = s.serve(old.hub, ServerOptions{})
			}
			replicas[i].follow(t, h, h.r.IntN(1+len(h.updates)))
			at.Store([]string{replicas[0].address, replicas[1].address, replicas[2].address})
		}
		if h.r.IntN(2) == 0 {
			h.tick()
			for _, r := range replicas {
				r.follow(t, h, len(h.updates))
			}
			m.apply(next(t, c))
		}
	}
	h.tick()
	for _, r := range replicas {
		r.follow(t, h, len(h.updates))
	}
	want := newNodeModel(t)
	local := replicas[0].hub.Source("n1")
	want.apply(next(t, local))
	if features != wire.AllFeatures {
		downgraded := newNodeModel(t)
		for _, o := range want.objects {
			if o := wire.Downgrade(o, wire.AllFeatures&^features); o != nil {
				downgraded.objects[o.ID()] = o
			}
		}
		downgraded.sets = want.sets
		want = downgraded
	}
	for diff := cmp.Diff(want.text(), m.text()); diff != ""; diff = cmp.Diff(want.text(), m.text()) {
		m.apply(next(t, c))
	}
}

type several struct{ addresses *atomic.Value }

func (s *several) Addresses() ([]string, error) { return s.addresses.Load().([]string), nil }
func (s *several) Changed() <-chan struct{}     { return nil }

// TestSlowNodeUnderChange lets a node read now and then only, through the frames of its stream but without a network that
// would read ahead.
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
	r.hub, r.stop = startHub(t)
	list(t, r.hub, 1, allowFrom("db"))
	server, err := NewServer(ServerOptions{Hub: r.hub, TLS: s.tls("typha", "felix"), Tokens: s.issuer.tokens()})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := encodeFrame(frameHello, Hello{Node: "n1", Version: 1, Features: features.Names()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := &nodeStream{ctx: ctx, up: [][]byte{hello}, sent: make(chan []byte)}
	ended := make(chan error, 1)
	go func() { ended <- server.serve(n, "n1") }()
	c := s.client(fixed(""), nil)
	frames, m, changes := newReader(c, nil), newNodeModel(t), 0
	read := func() {
		t.Helper()
		message, failed := <-n.sent, make(chan error, 1)
		go func() { failed <- frames.frames(t.Context(), message) }()
		commit := next(t, c)
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
	last := wire.ID{Kind: wire.KindEndpoint, Name: "ns/tick"}
	want := newNodeModel(t)
	want.apply(next(t, r.hub.Source("n1")))
	for fmt.Sprint(m.objects[last].(*wire.Endpoint).Annotations) != fmt.Sprint(want.objects[last].(*wire.Endpoint).Annotations) {
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
