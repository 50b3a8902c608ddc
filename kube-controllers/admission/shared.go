package admission

import (
	"context"
	"sync"
	"time"
)

// shared reads a value for all concurrent callers of get together. The read for a caller begins after the call, so that
// the value is as new as if it were read for that caller alone. There is one read at a time, and at least the time
// every lies between the beginnings of two reads.
type shared[T any] struct {
	read  func(context.Context) (T, error)
	every time.Duration

	mu   sync.Mutex
	next *reading[T] // not begun yet; a caller of get waits for it
	last *reading[T] // the last one that began
}

// reading is one read, whether it is still to begin, running or done.
type reading[T any] struct {
	began time.Time
	done  chan struct{} // closed by run when value and err are set
	value T
	err   error
}

// readingTime limits a read. API servers wait no longer than that for the webhook's answer.
const readingTime = 5 * time.Second

func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	r := s.next
	if r == nil {
		r = &reading[T]{done: make(chan struct{})}
		s.next = r
		go s.run(context.WithoutCancel(ctx), r, s.last) // it ends readingTime after the one before it, or after every
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (s *shared[T]) run(ctx context.Context, r, before *reading[T]) {
	defer close(r.done)
	if before != nil {
		<-before.done
		time.Sleep(time.Until(before.began.Add(s.every)))
	}
	s.mu.Lock()
	r.began = time.Now()
	s.next, s.last = nil, r
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readingTime)
	defer cancel()
	r.value, r.err = s.read(ctx)
}
