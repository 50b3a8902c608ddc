package transport

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// recording is what a node and a replica said to each other over two connections: the hellos, and the messages down.
type recording struct {
	Hellos []nodeHello `cbor:"1,keyasint"`
	Down   [][][]byte  `cbor:"2,keyasint"`
}

// kept keeps the messages that are sent.
type kept struct {
	grpc.ServerStream
	messages [][]byte
}

func (k *kept) SendMsg(m any) error {
	k.messages = append(k.messages, bytes.Join(m.([][]byte), nil))
	return nil
}

// TestRecordings: to a node with the features of a release that was recorded, a replica says what it said then; and a
// node that hears it takes it for what it did then. There is a recording of a node with all features, of one with none,
// and of one for each feature that it lacks. -update records them anew, which is right until the release they stand for
// is out.
func TestRecordings(t *testing.T) {
	variants := map[string]wire.Features{"all": wire.AllFeatures, "none": 0}
	for _, name := range wire.AllFeatures.Names() {
		variants["without-"+name] = wire.AllFeatures &^ wire.ParseFeatures([]string{name})
	}
	seen := map[int]bool{}
	for name, features := range variants {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "v1-talk-"+name)
			if *rewrite {
				var r recording
				r.Down = converse(t, func(i int) nodeHello {
					r.Hellos = append(r.Hellos, helloAfter(t, features, r.Down))
					return r.Hellos[i]
				}, func(messages [][]byte) { r.Down = append(r.Down, messages) })
				data, err := wire.Encode(r)
				if err == nil {
					err = os.WriteFile(path+".cbor", data, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			var then recording
			data, err := os.ReadFile(path + ".cbor")
			if err == nil {
				err = wire.Decode(data, &then)
			}
			if err != nil {
				t.Fatal(err)
			}
			now := converse(t, func(i int) nodeHello { return then.Hellos[i] }, func([][]byte) {})
			if diff := gocmp.Diff(frameText(t, then.Down, nil), frameText(t, now, nil)); diff != "" {
				t.Errorf("the replica says (-then +now):\n%s", diff)
			}
			_, text := replay(t, features, then.Down)
			golden(t, path+".golden", []byte(text))
			frameText(t, then.Down, seen)
		})
	}
	for kind := frameWelcome; kind <= frameCluster; kind++ {
		if forNodes := kind <= frameSetPieces || kind == frameCluster; forNodes && !seen[kind] {
			t.Errorf("no recording has a frame of type %d", kind)
		}
	}
}

// helloAfter is what a client says that was told this before.
func helloAfter(t *testing.T, features wire.Features, before [][][]byte) nodeHello {
	c, _ := replay(t, features, before)
	hello := nodeHello{Hello: c.holding.hello(c.opts), Version: ProtocolVersion}
	slices.SortFunc(hello.Held, func(a, b hub.HeldObject) int { return a.ID.Compare(b.ID) })
	return hello
}

// replay has a client read recorded connections. It gives the client and what it handed out.
func replay(t *testing.T, features wire.Features, connections [][][]byte) (*Client, string) {
	t.Helper()
	c, err := NewClient(ClientOptions{Node: "n1", TLS: newSite(t).tls("felix", "typha")})
	if err != nil {
		t.Fatal(err)
	}
	c.opts.Features = features
	go func() {
		defer close(c.done)
		for _, messages := range connections {
			r := newReader(c, nil)
			for _, m := range messages {
				err := decodeFrames(m, func(kind int, body []byte) error {
					if kind == framePing { // it would be answered
						return nil
					}
					return r.frame(t.Context(), kind, body)
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
	}()
	text := ""
	for {
		commit, err := c.Next(t.Context())
		if err != nil {
			return c, text
		}
		text += readable(t, commit)
	}
}

// frameText gives the frames in the notation of RFC 8949 section 8, compressed ones by what is in them, and the welcome
// without the features of the replica. It notes their types.
func frameText(t *testing.T, connections [][][]byte, types map[int]bool) []string {
	t.Helper()
	var text []string
	var handle func(kind int, body []byte) error
	handle = func(kind int, body []byte) error {
		if types != nil {
			types[kind] = true
		}
		switch kind {
		case frameDeflate:
			inner, err := inflate(body)
			if err != nil {
				return err
			}
			text = append(text, "compressed")
			return decodeFrames(inner, handle)
		case frameWelcome:
			var w welcome
			err := decodeBody(body, &w)
			text = append(text, "welcome, of the datastore "+w.Datastore)
			return err
		}
		notation, err := cbor.Diagnose(body)
		text = append(text, fmt.Sprint(kind, " ", notation))
		return err
	}
	for _, m := range slices.Concat(connections...) {
		if err := decodeFrames(m, handle); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// converse has a replica with a small cluster talk to a node that connects, reads two commits, and connects again after
// more has changed. It gives the messages of each connection, which heard is told of too.
func converse(t *testing.T, hello func(int) nodeHello, heard func([][]byte)) [][][]byte {
	t.Helper()
	others := []string{calc.KindGlobalNetworkPolicy, calc.KindHostEndpoint, calc.KindNode}
	h, _ := hubtest.Start(t, others...)
	hand := func(kind string, revision int, gone []hub.Name, objects ...metav1.Object) {
		t.Helper()
		at := fmt.Sprint(revision)
		if err := h.Update(t.Context(), hub.Update{Kind: kind, Changed: at, Seen: at, Listed: true, Upserts: objects,
			Deletes: gone, Datastore: "recorded"}); err != nil {
			t.Fatal(err)
		}
	}
	cluster := recordedCluster()
	hubtest.List(t, h, 10, cluster.pods...)
	hand(calc.KindGlobalNetworkPolicy, 10, nil, cluster.policies...)
	hand(calc.KindHostEndpoint, 10, nil, cluster.hostEndpoint)
	hand(calc.KindNode, 10, nil, cluster.node)

	var all [][][]byte
	connect := func() (*hub.Session, *messageWriter, *kept) {
		s, err := h.Connect(t.Context(), hello(len(all)).Hello)
		if err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		w := &messageWriter{stream: k, metrics: NewMetrics(nil), cache: newPartCache(), lacks: s.Lacks()}
		if err := w.addFrame(frameWelcome, welcome{Version: ProtocolVersion, Features: wire.AllFeatures.Names(),
			Datastore: s.Datastore()}); err != nil {
			t.Fatal(err)
		}
		cluster := clusterWriter{writer: w, hub: h}
		if err := cluster.addChanged(); err != nil {
			t.Fatal(err)
		}
		return s, w, k
	}
	say := func(s *hub.Session, w *messageWriter) {
		t.Helper()
		b, err := s.NextBatch(t.Context(), nil)
		if err == nil {
			err = w.batch(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, w, k := connect()
	say(s, w)
	hand(calc.KindPod, 11, []hub.Name{{Namespace: "ns", Name: "db1"}}, hubtest.Pod("late", "n2", "db", "10.0.3.1"))
	say(s, w)
	if s.Lacks()&wire.FeaturePing == 0 {
		if err := cmp.Or(w.addFrame(framePing, ping{Number: 1}), w.flush()); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	all = append(all, k.messages)
	heard(k.messages)

	hand(calc.KindPod, 12, []hub.Name{{Namespace: "ns", Name: "late"}, {Namespace: "ns", Name: "gone"}},
		hubtest.Pod("later", "n2", "db", "10.0.3.2"))
	s, w, k = connect()
	defer s.Close()
	say(s, w)
	heard(k.messages)
	return append(all, k.messages)
}

type smallCluster struct {
	pods, policies     []metav1.Object
	hostEndpoint, node metav1.Object
}

// recordedCluster has endpoints and a host endpoint of n1, a set of several pieces of which one is worth compressing,
// and rules with a field that is a feature.
func recordedCluster() smallCluster {
	icmp, eight := intstr.FromString("ICMP"), 8
	c := smallCluster{
		hostEndpoint: &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "eth0",
			Labels: map[string]string{"app": "web"}},
			Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth0"}},
		node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
			Annotations: map[string]string{v3.NodeIPv4Address: "172.30.0.11/24"}}},
		pods: []metav1.Object{hubtest.Pod("web", "n1", "web", "10.0.0.1"), hubtest.Pod("gone", "n1", "web", "10.0.0.2"),
			hubtest.AllowFrom("db")},
	}
	not := func(action v3.Action) v3.Rule {
		return v3.Rule{Action: action, Protocol: &icmp, NotICMP: &v3.ICMPFields{Type: &eight}}
	}
	guard := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "guard"}, Spec: v3.GlobalNetworkPolicySpec{
		Selector: "app == 'web'", Ingress: []v3.Rule{not(v3.Allow), not(v3.Deny), not(v3.Pass), {Action: v3.Pass}}}}
	c.policies = []metav1.Object{guard}
	for i := range 120 {
		c.pods = append(c.pods, hubtest.Pod(fmt.Sprint("db", i), "n2", "db", fmt.Sprint("10.0.1.", i)))
	}
	first := netip.MustParsePrefix("10.0.1.0/32")
	for a := netip.MustParseAddr("10.0.2.0"); len(c.pods) < 125; a = a.Next() {
		set := wire.Pack(&wire.IPSet{Name: "s", Type: wire.SetNet,
			Nets: []netip.Prefix{first, netip.PrefixFrom(a, 32)}})
		if set.PieceHashes() != nil {
			c.pods = append(c.pods, hubtest.Pod("begins-"+a.String(), "n2", "db", a.String()))
		}
	}
	return c
}
