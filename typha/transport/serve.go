package transport

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
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// greet receives the hello, a frame of type kind, within the HandshakeTimeout.
func (s *Server) greet(stream grpc.ServerStream, kind int, hello any) error {
	received := make(chan error, 1)
	go func() { received <- receiveHello(stream, kind, hello) }() // ends with the stream
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

// pings measures how long nodes take to answer pings.
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

// The limits for a peer's messages after its hello. The longest that Felix sends are a report with wire.MaxReportTexts
// errors and an answer of wire.MaxStatusAnswer. The server reads a burst of messages, and then one every
// messageInterval.
const (
	maxLaterMessage = 256 << 10 // in octets
	messageBurst    = 100
	messageInterval = 50 * time.Millisecond
)

// receive calls frame with what the peer sends, until the stream ends. It returns nil if the stream ended for another
// reason than what the peer sent.
func receive(stream grpc.ServerStream, frame func(kind int, body []byte) error) error {
	pace := rate.NewLimiter(rate.Every(messageInterval), messageBurst)
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return nil // the sending goroutine learns how the stream ended
		}
		if len(message) > maxLaterMessage {
			return status.Errorf(codes.InvalidArgument,
				"the peer sent a message of %d octets after its hello: at most %d are read",
				len(message), maxLaterMessage)
		}
		if err := pace.Wait(stream.Context()); err != nil {
			return nil // as above
		}
		if err := decodeFrames(message, frame); err != nil {
			if _, isStatus := status.FromError(err); isStatus {
				return err
			}
			return status.Errorf(codes.InvalidArgument, "what the peer sent: %v", err)
		}
	}
}

// fromNode returns a function that handles the frames that a node sends.
func fromNode(
	ctx context.Context, session *hub.Session, pings *pings, expiry *auth.ExpiryTimer,
) func(kind int, body []byte) error {
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
			return renewed(ctx, expiry, body)
		}
		return nil
	}
}

// renewed resets the expiry of a stream with the token of a frame.
func renewed(ctx context.Context, expiry *auth.ExpiryTimer, body []byte) error {
	var b tokenBody
	if err := decodeShort(body, &b); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return expiry.Renew(ctx, b.Token)
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

// welcome returns the server's first frame.
func (s *Server) welcome(features []string, datastore string) welcome {
	if s.opts.Tokens != nil {
		features = append(features, featureToken)
	}
	return welcome{Version: ProtocolVersion, Features: features, Datastore: datastore}
}

// send sends the session's batches, and pings while there are none, until the stream ends.
func (s *Server) send(ctx context.Context, w *messageWriter, session *hub.Session, pings *pings) error {
	if err := w.addFrame(frameWelcome, s.welcome(wire.AllFeatures.Names(), session.Datastore())); err != nil {
		return err
	}
	cluster := clusterWriter{writer: w, hub: s.opts.Hub}
	if err := cluster.addChanged(); err != nil {
		return err
	}
	var idle <-chan time.Time
	if w.lacks&wire.FeaturePing == 0 {
		ticker := time.NewTicker(s.opts.PingInterval)
		defer ticker.Stop()
		idle = ticker.C
	}
	for first := true; ; {
		b, err := session.NextBatch(ctx, idle)
		switch {
		case errors.Is(err, hub.ErrIdle):
			if err := cluster.addChanged(); err != nil {
				return err
			}
			if err := w.ping(pings); err != nil {
				return err
			}
			continue
		case err != nil && w.stream.Context().Err() != nil:
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
