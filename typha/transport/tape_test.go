package transport

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/maneki-net/maneki/test/tokens"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

var rewrite = flag.Bool("update", false, "write golden files")

// tape reads the messages of a recorded stream: the files hold them one after the other, each a CBOR octet string. The
// files of a version were written by the release that introduced it and never change.
func tape(t *testing.T, name string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for len(data) > 0 {
		var m []byte
		data, err = frameDecoder.UnmarshalFirst(data, &m)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

// TestRecordedStreamsDecode: what a server of each earlier protocol version sent means today what it meant.
func TestRecordedStreamsDecode(t *testing.T) {
	for _, name := range []string{"v1-down", "v1-features-down"} {
		t.Run(name, func(t *testing.T) {
			c, err := NewClient(ClientOptions{Node: "n1", TLS: newSite(t).tls("felix", "typha")})
			if err != nil {
				t.Fatal(err)
			}
			messages := tape(t, name+".cbor")
			go func() {
				r := newReader(c, nil)
				for _, m := range messages {
					if err := r.frames(t.Context(), m); err != nil {
						t.Error(err)
					}
				}
				close(c.done)
			}()
			var got bytes.Buffer
			for {
				commit, err := c.Next(t.Context())
				if err != nil {
					break
				}
				got.WriteString(readable(t, commit))
			}
			golden(t, filepath.Join("testdata", name+".golden"), got.Bytes())
		})
	}
}

// readable gives a commit in the notation of RFC 8949 section 8, which leaves out fields that are not set.
func readable(t *testing.T, c wire.Commit) string {
	text := fmt.Sprintf("commit %d\n", c.Number)
	write := func(what string, v any) {
		data, err := wire.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		notation, err := cbor.Diagnose(data)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %s %s\n", what, notation)
	}
	for _, o := range c.Upserts {
		write(o.ID().String(), o)
	}
	for _, d := range c.Sets {
		write("change "+d.Name, d)
	}
	for _, id := range c.Deletes {
		text += "  delete " + id.String() + "\n"
	}
	write("versions", c.Versions)
	return text
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// nodeStream is the server's side of a stream whose client is a tape. It keeps what is sent.
type nodeStream struct {
	grpc.ServerStream
	ctx  context.Context
	up   [][]byte
	more chan []byte // after up
	sent chan []byte
}

func (n *nodeStream) Context() context.Context { return n.ctx }

func (n *nodeStream) RecvMsg(m any) error {
	if len(n.up) == 0 {
		select {
		case *m.(*[]byte) = <-n.more:
			return nil
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
	}
	*m.(*[]byte), n.up = n.up[0], n.up[1:]
	return nil
}

func (n *nodeStream) SendMsg(m any) error {
	select {
	case n.sent <- bytes.Join(m.([][]byte), nil):
	case <-n.ctx.Done():
	}
	return nil
}

// receive gives what is sent next.
func (n *nodeStream) receive(t *testing.T) []byte {
	t.Helper()
	select {
	case message := <-n.sent:
		return message
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is sent")
		return nil
	}
}

// TestRecordedClientIsServed: a client of each earlier version gets frames that it knows alone, and its reports count.
func TestRecordedClientIsServed(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("b", "n2", "db", "10.0.0.2"),
		hubtest.AllowFrom("db"))
	server, err := NewServer(ServerOptions{Hub: h, TLS: newSite(t).tls("typha", "felix"),
		Tokens: verifier(tokens.NewIssuer(t, "k1"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := &nodeStream{ctx: ctx, up: tape(t, "v1-up.cbor"), sent: make(chan []byte)}
	ended := make(chan error, 1)
	go func() { ended <- server.serve(n, auth.Identity{Name: "n1"}) }()
	known := map[int]bool{frameWelcome: true, frameObject: true, frameDelete: true, frameCommit: true}
	check := func() (objects int) {
		err := decodeFrames(n.receive(t), func(kind int, body []byte) error {
			if !known[kind] {
				t.Errorf("a frame of type %d", kind)
			}
			if kind == frameObject {
				objects++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return objects
	}
	if objects := check(); objects != 4 {
		t.Errorf("the first message has %d objects, want a set, the profile, the policy and the endpoint", objects)
	}
	hubtest.Update(t, h, 11, nil, hubtest.Pod("c", "n2", "db", "10.0.0.3"))
	if objects := check(); objects != 1 {
		t.Errorf("a set that changed gives %d objects, want the whole set", objects)
	}
	hubtest.WaitFor(t, "the report", func() bool {
		all, err := h.Status(t.Context())
		return err == nil && len(all) == 1 && all[0].Applied == 2 && len(all[0].Errors) == 1 && len(all[0].Lacks) > 0
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}
