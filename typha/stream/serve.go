package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/wire"
)

// greet receives the hello, which has to come in time.
func (s *Server) greet(stream grpc.ServerStream) (Hello, error) {
	type outcome struct {
		hello Hello
		err   error
	}
	received := make(chan outcome, 1)
	go func() { // it ends with the stream
		hello, err := receiveHello(stream)
		received <- outcome{hello, err}
	}()
	timer := time.NewTimer(s.opts.HandshakeTimeout)
	defer timer.Stop()
	select {
	case o := <-received:
		return o.hello, o.err
	case <-timer.C:
		return Hello{}, status.Errorf(codes.DeadlineExceeded, "no hello came within %s", s.opts.HandshakeTimeout)
	}
}

func receiveHello(stream grpc.ServerStream) (Hello, error) {
	var message []byte
	var hello Hello
	if err := stream.RecvMsg(&message); err != nil {
		return hello, err
	}
	found := false
	err := decodeFrames(message, func(kind int, body []byte) error {
		if kind == frameHello {
			found = true
			return decodeBody(body, &hello)
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("it holds none")
	}
	if err != nil {
		return hello, status.Errorf(codes.InvalidArgument, "the first message has to be a hello: %v", err)
	}
	return hello, nil
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

// receiveReports passes on what the node says until the stream ends. Its error is nil if that is how it ended.
func receiveReports(stream grpc.ServerStream, session *Session, pings *pings) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return nil // the sending side sees how the stream ended
		}
		err := decodeFrames(message, func(kind int, body []byte) error {
			switch kind {
			case frameReport:
				var r wire.Report
				if err := decodeBody(body, &r); err != nil {
					return err
				}
				session.Report(r)
			case framePing:
				var p ping
				if err := decodeBody(body, &p); err != nil {
					return err
				}
				pings.answered(p)
			}
			return nil
		})
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "report: %v", err)
		}
	}
}

// send streams the session's batches, and pings while there is nothing to say.
func (s *Server) send(ctx context.Context, stream grpc.ServerStream, session *Session, pings *pings) error {
	w := messageWriter{stream: stream, metrics: s.opts.Metrics, cache: s.cache, lacks: session.lacks}
	if err := w.addFrame(frameWelcome, welcome{Version: ProtocolVersion, Features: wire.AllFeatures.Names()}); err != nil {
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
