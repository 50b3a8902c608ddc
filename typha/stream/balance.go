package stream

import (
	"context"
	"errors"
	"time"
)

// openStream is a node's stream, as far as Server may end it.
type openStream struct {
	node string
	end  context.CancelCauseFunc
}

// errElsewhere ends a stream whose node is to go to another replica.
var errElsewhere = errors.New("this replica hands the node over to another one")

// ended gives why Server, or what the node sent, ended a stream; nil if neither did.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// first gives the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) opened(o *openStream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errElsewhere
	}
	s.streams[o] = struct{}{}
	if s.handovers.opened(o.node, time.Now()) {
		s.opts.Metrics.returned.Inc()
		s.opts.Logger.Info("a node came back that was handed over: other replicas may be out of its reach", "node", o.node, "wait", s.handovers.wait)
	}
	return nil
}

func (s *Server) closed(o *openStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, o)
}

// Streams returns the number of streams that are open.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// SetMaxStreams says how many streams are this replica's share; 0 is any number. Streams beyond it are ended one by
// one, for their nodes to go to another replica, and more seldom while these come back.
func (s *Server) SetMaxStreams(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
}

// balance ends streams that are too many, until ctx ends.
func (s *Server) balance(ctx context.Context) {
	tick := time.NewTicker(s.opts.DropInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.handOver(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// handOver ends a stream if there are too many, of a node that has not come back lately.
func (s *Server) handOver(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most == 0 || len(s.streams) <= s.most || !s.handovers.due(now) {
		return
	}
	for o := range s.streams {
		if !s.handovers.rests(o.node, now) {
			s.handovers.begin(o.node, now)
			delete(s.streams, o)
			o.end(errElsewhere)
			return
		}
	}
}

// endOne ends any stream, and says whether there was one.
func (s *Server) endOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.streams {
		delete(s.streams, o)
		o.end(errElsewhere)
		return true
	}
	return false
}

// Draining reports whether the server is ending its streams and accepts no more.
func (s *Server) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// drain accepts no stream any more and ends those there are, spread over the time that there is for it.
func (s *Server) drain() {
	s.mu.Lock()
	s.closing = true
	n := len(s.streams)
	s.mu.Unlock()
	if n == 0 || s.opts.ShutdownTimeout == 0 || s.opts.Alone() {
		return
	}
	s.opts.Logger.Info("handing nodes over to other replicas", "nodes", n)
	tick := time.NewTicker(max(time.Microsecond, min(s.opts.ShutdownInterval, s.opts.ShutdownTimeout/time.Duration(n))))
	defer tick.Stop()
	for s.endOne() {
		<-tick.C
	}
}
