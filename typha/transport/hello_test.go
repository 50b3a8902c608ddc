package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// served runs a server for a node that says what is in up, and reads as the test reads sent.
func served(t *testing.T, h *hub.Hub, up ...[]byte) (s *Server, n *nodeStream, ended chan error) {
	t.Helper()
	s, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"),
		Tokens: verifier(tokens.NewIssuer(t, "k1"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n, ended = &nodeStream{ctx: ctx, up: up, sent: make(chan []byte)}, make(chan error, 1)
	go func() { ended <- s.serve(n, auth.Identity{Name: "n1"}) }()
	t.Cleanup(cancel)
	return s, n, ended
}

func endOf(t *testing.T, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the stream goes on")
		return nil
	}
}

// TestHelloWaitsForAnAnswer: what nodes hold is not read, nor held, by a Typha that cannot serve them yet.
func TestHelloWaitsForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(hub.Options{Kinds: []string{calc.KindPod}})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- h.Run(ctx) }()
		_, n, ended := served(t, h, []byte("not a hello"))
		time.Sleep(time.Hour)
		if len(n.up) != 1 || len(ended) != 0 {
			t.Error("the hello was read before there is an answer")
		}
		if err := h.Update(t.Context(), hub.Update{Kind: calc.KindPod, Listed: true}); err != nil {
			t.Fatal(err)
		}
		if err := endOf(t, ended); status.Code(err) != codes.InvalidArgument {
			t.Errorf("the hello that is none: %v", err)
		}
		cancel()
		<-stopped
	})
}

// TestHelloIsDone: a node that reads nothing is in nobody's way once what it holds was compared.
func TestHelloIsDone(t *testing.T) {
	h, _ := hubtest.Start(t)
	hello, err := encodeFrame(frameHello, nodeHello{Version: ProtocolVersion, Hello: hub.Hello{Node: "n1",
		Held: []hub.HeldObject{{ID: wire.ID{Kind: wire.KindEndpoint, Name: "ns/gone"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	s, n, _ := served(t, h, hello)
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", "10.0.0.1"))
	hubtest.WaitFor(t, "the commit", func() bool {
		all, err := h.Status(t.Context())
		return err == nil && len(all) == 1 && all[0].Commit == 1
	})
	hubtest.WaitFor(t, "room", func() bool { return s.door.Inside() == 0 })
	_, deletes := hubtest.IDs(commitOf(t, n.receive(t)))
	if !slices.Equal(deletes, []string{"Endpoint/ns/gone"}) {
		t.Errorf("deleted are %v", deletes)
	}
}

// commitOf reads a message that is a whole commit.
func commitOf(t *testing.T, message []byte) (c wire.Commit) {
	t.Helper()
	err := decodeFrames(message, func(kind int, body []byte) error {
		if kind != frameDelete {
			return nil
		}
		var id wire.ID
		err := decodeBody(body, &id)
		c.Deletes = append(c.Deletes, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHelloTakesMemoryByItsSize: an element of one octet would be a struct of 64, and an entry of a map.
func TestHelloTakesMemoryByItsSize(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	hello := func(count int, element []byte) []byte {
		head := binary.BigEndian.AppendUint32([]byte{0x82, frameHello, 0xa3, 1, 0x62, 'n', '1', 2, ProtocolVersion, 4,
			0x9a}, uint32(count))
		return append(head, bytes.Repeat(element, count)...)
	}
	held, err := wire.Encode(hub.HeldObject{ID: wire.ID{Kind: wire.KindHost, Name: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, ended := served(t, h, hello(100_000, []byte{0xa0}))
	if err := endOf(t, ended); status.Code(err) != codes.InvalidArgument {
		t.Errorf("elements of one octet: %v", err)
	}
	_, n, _ := served(t, h, hello(100_000, held))
	if c := commitOf(t, n.receive(t)); len(c.Deletes) != 1 {
		t.Errorf("elements as they should be: %d deletions", len(c.Deletes))
	}
}

// TestReportTakesMemoryByItsSize: a stream whose report has more elements than any release sends ends.
func TestReportTakesMemoryByItsSize(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	hello, err := encodeFrame(frameHello, nodeHello{Version: ProtocolVersion, Hello: hub.Hello{Node: "n1"}})
	if err != nil {
		t.Fatal(err)
	}
	for many, want := range map[int]codes.Code{wire.MaxReportTexts: codes.OK, 100_000: codes.InvalidArgument} {
		report, err := encodeFrame(frameReport, wire.Report{Applied: 1, Errors: make([]string, many)})
		if err != nil {
			t.Fatal(err)
		}
		_, n, ended := served(t, h, hello, report)
		if want == codes.OK {
			n.receive(t) // of the other, the report may end the stream before anything is sent
			hubtest.WaitFor(t, "the report", func() bool {
				all, err := h.Status(t.Context())
				return err == nil && slices.ContainsFunc(all,
					func(s hub.NodeStatus) bool { return len(s.Errors) == many })
			})
		} else if err := endOf(t, ended); status.Code(err) != want {
			t.Errorf("%d errors: %v", many, err)
		}
	}
}

// TestHeadersAreBounded: a call's headers take memory before its token is looked at.
func TestHeadersAreBounded(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	refused := func(size int) error {
		c := s.client(fixed(address), func(o *ClientOptions) { o.TokenFile = s.tokenFile(strings.Repeat("x", size)) })
		return c.connectOnce(t.Context(), address)
	}
	if err := refused(32 << 10); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a long token: %v", err)
	}
	if err := refused(128 << 10); err == nil || !strings.Contains(err.Error(), "header list size") {
		t.Errorf("a token that is too long: %v", err)
	}
}

// deaf is a client's side of a stream that sends nowhere.
type deaf struct{ grpc.ClientStream }

func (deaf) SendMsg(any) error { return nil }

// TestMemberThatIsNone ends the stream, whether the set is new or held.
func TestMemberThatIsNone(t *testing.T) {
	for name, good := range map[string]bool{"good": true, "bad": false} {
		c := newSite(t).client(fixed("nowhere"), func(o *ClientOptions) {
			o.Held = map[wire.ID]wire.Object{{Kind: wire.KindIPSet, Name: "s"}: &wire.IPSet{Name: "s",
				Type: wire.SetNet,
				Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}
		})
		r := newReader(c, &call{stream: deaf{}})
		delta := wire.SetDelta{Name: "s", AddedNets: []netip.Prefix{{}}}
		if good {
			delta.AddedNets[0] = netip.MustParsePrefix("10.0.0.2/32")
		}
		frame, err := encodeFrame(frameSetDelta, setDeltaBody{SetDelta: delta})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.frames(t.Context(), frame); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestErrorsOfANodeThatEnforcesNothing reach Typha: such a report names no commit.
func TestErrorsOfANodeThatEnforcesNothing(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", "10.0.0.1"))
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{})
	c := s.client(fixed(address), nil)
	s.run(c)
	hubtest.Next(t, c)
	c.Report(wire.Report{Errors: []string{"iptables-restore: no such file"}})
	hubtest.WaitFor(t, "the errors", func() bool {
		all, err := h.Status(t.Context())
		return err == nil && len(all) == 1 && len(all[0].Errors) == 1 && all[0].Applied == 0
	})
	c.Report(wire.Report{Applied: 1})
	hubtest.WaitFor(t, "the commit", func() bool {
		all, err := h.Status(t.Context())
		return err == nil && len(all) == 1 && len(all[0].Errors) == 0 && all[0].Applied == 1
	})
}
