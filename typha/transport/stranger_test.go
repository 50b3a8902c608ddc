package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/inbound"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
	"github.com/maneki-net/maneki/typha/wire"
)

// dialTCP connects and says nothing.
func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// closedWithin reports whether the server ends a connection.
func closedWithin(conn net.Conn, limit time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	_, err := io.Copy(io.Discard, conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestStrangersLeaveRoom: an address has so many connections on which nobody has proved who he is; a node that has a
// stream does not count among them, and one that comes when they are gone is served.
func TestStrangersLeaveRoom(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	registry := prometheus.NewRegistry()
	address, _ := s.serve(h, ServerOptions{Strangers: inbound.Limits{PerAddress: 2}, Metrics: NewMetrics(registry),
		TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
	n1 := s.client(fixed(address), nil)
	s.run(n1)
	hubtest.Next(t, n1)
	waiting := []net.Conn{dialTCP(t, address), dialTCP(t, address)}
	if !closedWithin(dialTCP(t, address), 20*time.Second) {
		t.Error("a third stranger is let in")
	}
	n2 := s.client(fixed(address), func(o *ClientOptions) {
		o.Node, o.TokenFile = "n2", s.tokenFile(s.issuer.Token("n2", nil))
	})
	if err := n2.connectOnce(t.Context(), address); status.Code(err) != codes.Unavailable {
		t.Errorf("a node of the address that has too many: %v", err)
	}
	if got := metrictest.Value(t, registry, "typha_connections_turned_away"); got < 2 {
		t.Errorf("%v connections were turned away", got)
	}
	for _, conn := range waiting {
		conn.Close()
	}
	s.run(n2)
	hubtest.Next(t, n2)
	if _, err := h.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	hubtest.List(t, h, 2, hubtest.Pod("web", "n1", "web", "10.0.0.1"))
	if c := hubtest.Next(t, n1); len(c.Upserts) == 0 {
		t.Error("the stream that was open did not go on")
	}
}

// TestConnectionWithoutAStream: a certificate is not enough to stay.
func TestConnectionWithoutAStream(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := newSite(t)
	address, _ := s.serve(h, ServerOptions{HandshakeTimeout: 500 * time.Millisecond})
	files := s.tls("felix", "typha")
	cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(dialTCP(t, address), &tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !closedWithin(conn, 20*time.Second) {
		t.Error("the connection lasts")
	}
}

// TestLongMessage: what a node says after its hello is short.
func TestLongMessage(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	hello, err := encodeFrame(frameHello, nodeHello{Version: ProtocolVersion, Hello: hub.Hello{Node: "n1"}})
	if err != nil {
		t.Fatal(err)
	}
	report, err := encodeFrame(frameReport, wire.Report{Errors: []string{strings.Repeat("x", maxLaterMessage)}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, ended := served(t, h, hello, report)
	err = endOf(t, ended)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "at most 262144 are read") {
		t.Errorf("the stream ended with %v", err)
	}
	long := wire.Report.Shortened(wire.Report{Errors: make([]string, 2*wire.MaxReportTexts)})
	for i := range long.Errors {
		long.Errors[i] = strings.Repeat("ä", wire.MaxReportText)
	}
	if sent, err := encodeFrame(frameReport, wire.Report.Shortened(long)); err != nil || len(sent) > maxLaterMessage {
		t.Errorf("the longest report that Felix sends has %d octets, %v", len(sent), err)
	}
}

// TestReportsComeAtAPace: a node that reports without pause is read slowly, and what it says last is what is known.
func TestReportsComeAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		report, err := encodeFrame(frameReport, wire.Report{})
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		began := time.Now()
		err = receive(&flood{ctx: ctx, message: report, left: 1000}, func(int, []byte) error { read++; return nil })
		if took := time.Since(began); err != nil || read != 1000 || took < 800*messageInterval {
			t.Errorf("%d reports were read in %s, %v", read, took, err)
		}
	})
}

// flood is a server's side of a stream whose client says the same so many times.
type flood struct {
	nodeStream
	ctx     context.Context
	message []byte
	left    int
}

func (f *flood) Context() context.Context { return f.ctx }

func (f *flood) RecvMsg(m any) error {
	f.left--
	if f.left < 0 {
		return io.EOF
	}
	*m.(*[]byte) = f.message
	return nil
}

// TestStatusOf: a client can tell why its stream was refused or ended.
func TestStatusOf(t *testing.T) {
	for err, want := range map[error]codes.Code{
		hub.ErrBehind: codes.FailedPrecondition, hub.ErrManyObservers: codes.ResourceExhausted,
		hub.ErrClosed: codes.Unavailable,
		hub.ErrSlow:   codes.Unavailable, hub.ErrReplaced: codes.Unavailable, balance.ErrElsewhere: codes.Unavailable,
		io.EOF: codes.Unknown, nil: codes.OK,
	} {
		wrapped := err
		if err != nil {
			wrapped = fmt.Errorf("node n1: %w", err)
		}
		if got := status.Code(statusOf(wrapped)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
