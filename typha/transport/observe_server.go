package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/hub"
)

// observing serves an observer's stream.
func (s *Server) observing(stream grpc.ServerStream, peer auth.Identity) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	expiry := s.expiry(ctx, auth.Observer, peer, cancel)
	defer expiry.Release()
	defer cancel(nil)
	var hello observeHello
	if err := s.greet(stream, frameObserve, &hello); err != nil {
		return err
	}
	if err := understood(hello.Version); err != nil {
		return err
	}
	o, err := s.opts.Hub.Observe(ctx)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer o.Close()
	s.opts.Metrics.observers.Inc()
	defer s.opts.Metrics.observers.Dec()
	s.opts.Logger.Info("observer connected", "observer", peer.Name)
	go func() { // it ends with the stream
		cancel(receive(stream, func(kind int, body []byte) error {
			if kind == frameToken {
				return renewed(ctx, expiry, body)
			}
			return nil
		}))
	}()
	sent := make(chan error, 1)
	go func() { sent <- s.report(ctx, stream, o) }()
	select {
	case err := <-sent:
		return first(ended(ctx), err)
	case <-ctx.Done(): // a blocked send ends with the stream
		return ended(ctx)
	}
}

// report sends what the observer reads, with a pause after each message, until the stream ends.
func (s *Server) report(ctx context.Context, stream grpc.ServerStream, o *hub.Observer) error {
	w := observedWriter{stream: stream}
	if err := w.add(frameWelcome, s.welcome(nil, "")); err != nil {
		return err
	}
	for {
		seen, err := o.Next(ctx)
		switch {
		case err != nil && stream.Context().Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := w.observed(seen); err != nil {
			return err
		}
		select {
		case <-time.After(s.opts.ObserveInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

// observedWriter sends Observed in messages of a bounded size.
type observedWriter struct {
	stream grpc.ServerStream
	parts  [][]byte
	size   int // of parts, in octets
}

func (w *observedWriter) observed(seen hub.Observed) error {
	for _, n := range seen.Nodes {
		if err := w.add(frameNode, n); err != nil {
			return err
		}
	}
	for _, name := range seen.Gone {
		if err := w.add(frameGone, name); err != nil {
			return err
		}
	}
	for _, v := range seen.Problems {
		if err := w.add(frameProblem, problem(v)); err != nil {
			return err
		}
	}
	for _, a := range seen.Answers {
		body := nodeAnswer{Node: a.Node, Answer: a.StatusAnswer, AgeSeconds: time.Since(a.Said).Seconds()}
		if err := w.add(frameAnswered, body); err != nil {
			return err
		}
	}
	if err := w.add(frameObserved, observedMark{Whole: seen.Whole}); err != nil {
		return err
	}
	return w.flush()
}

func (w *observedWriter) add(kind int, body any) error {
	encoded, err := encodeFrame(kind, body)
	if err != nil {
		return err
	}
	w.parts = append(w.parts, encoded)
	w.size += len(encoded)
	if w.size < messageSize {
		return nil
	}
	return w.flush()
}

func (w *observedWriter) flush() error {
	err := w.stream.SendMsg(w.parts)
	w.parts, w.size = nil, 0 // the transport may still read the old slice
	return err
}
