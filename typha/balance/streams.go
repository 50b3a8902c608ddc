package balance

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Options configure Streams. The zero value of a field is its default.
type Options struct {
	// DropInterval is the time between two streams that are ended because the replica has more than its share; 0 is 1
	// s.
	DropInterval time.Duration
	// ShutdownTimeout is the time over which Drain ends the streams. Two of them end no more than ShutdownInterval
	// apart; 0 is 1 s. Zero, or Alone() == true, closes all streams at once.
	ShutdownTimeout, ShutdownInterval time.Duration
	// Alone reports whether there is no other replica for the nodes to go to; nil is a function that returns false.
	Alone func() bool
	// Returned is called when a node comes back that was handed over; nil is nobody. It must not block.
	Returned func()
	Logger   *slog.Logger // nil discards
}

func (o *Options) setDefaults() {
	if o.DropInterval == 0 {
		o.DropInterval = time.Second
	}
	if o.ShutdownInterval == 0 {
		o.ShutdownInterval = time.Second
	}
	if o.Alone == nil {
		o.Alone = func() bool { return false }
	}
	if o.Returned == nil {
		o.Returned = func() {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Streams are the streams of one replica. It is safe for concurrent use.
type Streams struct {
	opts Options

	mu        sync.Mutex
	open      map[*stream]struct{}
	most      int // the replica's share; 0 is any number
	handovers *handovers
	draining  bool
}

// stream is a node's stream, and how to end it.
type stream struct {
	node string
	end  context.CancelCauseFunc
}

// ErrElsewhere is why a stream ends whose node is to go to another replica.
var ErrElsewhere = errors.New("this replica hands the node over to another one")

// New returns Streams without a stream.
func New(opts Options) *Streams {
	opts.setDefaults()
	return &Streams{opts: opts, open: map[*stream]struct{}{}, handovers: newHandovers(opts.DropInterval)}
}

// Add adds a stream of a node. Call remove when it has ended. end is called with ErrElsewhere, once at most, to end it;
// it must not block. Add returns ErrElsewhere while the replica drains.
func (s *Streams) Add(node string, end context.CancelCauseFunc) (remove func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, ErrElsewhere
	}
	added := &stream{node: node, end: end}
	s.open[added] = struct{}{}
	returned := s.handovers.opened(node, time.Now())
	if returned {
		s.opts.Returned()
		s.opts.Logger.Info("a node came back that was handed over: other replicas may be out of its reach",
			"node", node, "wait", s.handovers.wait)
	}
	return func() { s.remove(added) }, nil
}

func (s *Streams) remove(ended *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, ended)
}

// Count returns the number of streams.
func (s *Streams) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// SetMax sets how many streams are this replica's share; 0 is any number. Run ends surplus streams one after the other,
// and less often while their nodes come back.
func (s *Streams) SetMax(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
}

// Run ends surplus streams until ctx ends.
func (s *Streams) Run(ctx context.Context) {
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

// handOver ends one stream if there are too many. It spares nodes that came back not long ago.
func (s *Streams) handOver(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most == 0 || len(s.open) <= s.most || !s.handovers.due(now) {
		return
	}
	for o := range s.open {
		if !s.handovers.resting(o.node, now) {
			s.handovers.begin(o.node, now)
			s.endStream(o)
			return
		}
	}
}

// endStream removes a stream and ends it. The caller holds mu.
func (s *Streams) endStream(o *stream) {
	delete(s.open, o)
	o.end(ErrElsewhere)
}

// EndOne ends any one of the streams, and reports whether there was one.
func (s *Streams) EndOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.open {
		s.endStream(o)
		return true
	}
	return false
}

// Draining reports whether Drain has been called.
func (s *Streams) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// Drain refuses new streams from now on, and ends the present ones one after the other within the ShutdownTimeout. It
// leaves them to the caller to close at once if there is no time, or no other replica.
func (s *Streams) Drain() {
	s.mu.Lock()
	s.draining = true
	n := len(s.open)
	s.mu.Unlock()
	if n == 0 || s.opts.ShutdownTimeout == 0 || s.opts.Alone() {
		return
	}
	s.opts.Logger.Info("handing nodes over to other replicas", "nodes", n)
	interval := min(s.opts.ShutdownInterval, s.opts.ShutdownTimeout/time.Duration(n))
	tick := time.NewTicker(max(time.Microsecond, interval))
	defer tick.Stop()
	for s.EndOne() {
		<-tick.C
	}
}
