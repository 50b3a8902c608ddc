package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/wire"
)

// greet receives the hello, a frame of the type kind, which has to come in time.
func (s *Server) greet(stream grpc.ServerStream, kind int, hello any) error {
	received := make(chan error, 1)
	go func() { received <- receiveHello(stream, kind, hello) }() // it ends with the stream
	timer := time.NewTimer(s.opts.HandshakeTimeout)
	defer timer.Stop()
	select {
	case err := <-received:
		return err
	case <-timer.C:
		return status.Errorf(codes.DeadlineExceeded, "no hello came within %s", s.opts.HandshakeTimeout)
	}
}

func receiveHello(stream grpc.ServerStream, kind int, hello any) error {
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	found := false
	err := decodeFrames(message, func(k int, body []byte) error {
		if k == kind {
			found = true
			return decodeHello(body, hello)
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("it holds none")
	}
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "the first message has to be a hello: %v", err)
	}
	return nil
}

// pings measures how long answers to pings take.
type pings struct {
	metrics *Metrics

	mu     sync.Mutex
	number uint64
	sent   time.Time
}

func (p *pings) next() ping {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	p.sent = time.Now()
	return ping{Number: p.number}
}

func (p *pings) answered(a ping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Number == p.number {
		p.metrics.pingLatency.Observe(time.Since(p.sent).Seconds())
	}
}

// The limits for a peer's messages after its hello. They are short: the longest are a report with maxErrors
// errors and an answer of wire.MaxStatusAnswer. The
// rate of reading is limited to a burst, and then one message per saidInterval.
const (
	maxSaid      = 256 << 10 // octets of a message
	saidBurst    = 100
	saidInterval = 50 * time.Millisecond
)

// receive passes on what the peer sends until the stream ends. Its error is nil if that is how it ended.
func receive(stream grpc.ServerStream, frame func(kind int, body []byte) error) error {
	pace := rate.NewLimiter(rate.Every(saidInterval), saidBurst)
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return nil // the sending side sees how the stream ended
		}
		if len(message) > maxSaid {
			return status.Errorf(codes.InvalidArgument,
				"the peer sent a message of %d octets after its hello: at most %d are read", len(message), maxSaid)
		}
		if err := pace.Wait(stream.Context()); err != nil {
			return nil // likewise
		}
		if err := decodeFrames(message, frame); err != nil {
			if _, ours := status.FromError(err); ours {
				return err
			}
			return status.Errorf(codes.InvalidArgument, "what the peer sent: %v", err)
		}
	}
}

// fromNode returns what takes a node's frames.
func fromNode(ctx context.Context, session *Session, pings *pings, lease *auth.Lease) func(kind int, body []byte) error {
	return func(kind int, body []byte) error {
		switch kind {
		case frameReport:
			var r wire.Report
			if err := decodeShort(body, &r); err != nil {
				return fmt.Errorf("report: %w", err)
			}
			session.Report(r)
		case frameAnswer:
			var a wire.StatusAnswer
			if err := decodeShort(body, &a); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
			session.Answer(a)
		case framePing:
			var p ping
			if err := decodeShort(body, &p); err != nil {
				return fmt.Errorf("ping: %w", err)
			}
			pings.answered(p)
		case frameToken:
			return renewed(ctx, lease, body)
		}
		return nil
	}
}

// renewed extends a lease with the token of a frame.
func renewed(ctx context.Context, lease *auth.Lease, body []byte) error {
	var b tokenBody
	if err := decodeShort(body, &b); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return lease.Renew(ctx, b.Token)
}

// ended returns why the server, or what the peer sent, ended a stream; nil if neither did.
func ended(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// first returns the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// welcome says what the server understands, and of which datastore it speaks.
func (s *Server) welcome(features []string, datastore string) welcome {
	if s.opts.Tokens != nil {
		features = append(features, featureToken)
	}
	return welcome{Version: ProtocolVersion, Features: features, Datastore: datastore}
}

// send streams the session's batches, and pings while there is nothing to say.
func (s *Server) send(ctx context.Context, stream grpc.ServerStream, session *Session, pings *pings) error {
	w := messageWriter{stream: stream, metrics: s.opts.Metrics, cache: s.cache, lacks: session.lacks, settled: session.settled}
	if err := w.addFrame(frameWelcome, s.welcome(wire.AllFeatures.Names(), session.datastore)); err != nil {
		return err
	}
	cluster := clusterTeller{writer: &w, hub: session.hub}
	if err := cluster.tell(); err != nil {
		return err
	}
	var idle <-chan time.Time
	if session.lacks&wire.FeaturePing == 0 {
		ticker := time.NewTicker(s.opts.PingInterval)
		defer ticker.Stop()
		idle = ticker.C
	}
	for first := true; ; {
		b, err := session.next(ctx, idle)
		switch {
		case errors.Is(err, errIdle):
			if err := cluster.tell(); err != nil {
				return err
			}
			if err := w.ping(pings); err != nil {
				return err
			}
			continue
		case err != nil && stream.Context().Err() != nil:
			return nil
		case err != nil:
			return err
		}
		start := time.Now()
		if err := w.batch(b); err != nil {
			return err
		}
		if first {
			first = false
			s.opts.Metrics.snapshotSend.Observe(time.Since(start).Seconds())
			s.opts.Metrics.rawSize.Set(float64(w.raw))
			s.opts.Metrics.compressedSize.Set(float64(w.total))
			s.opts.Metrics.streaming.Inc()
			defer s.opts.Metrics.streaming.Dec()
		}
	}
}

func (w *messageWriter) ping(pings *pings) error {
	if err := w.addFrame(framePing, pings.next()); err != nil {
		return err
	}
	return w.flush()
}
