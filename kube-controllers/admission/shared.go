package admission

import (
	"context"
	"sync"
	"time"
)

// shared reads something for all who ask at a time. A reading begins after the question, so that its answer is as new
// as one made for it alone; there is one at a time, and they begin every so often at most.
type shared[T any] struct {
	read  func(context.Context) (T, error)
	every time.Duration

	mu   sync.Mutex
	next *reading[T] // has yet to begin: who asks now waits for it
	last *reading[T] // that began
}

// reading is read or being read.
type reading[T any] struct {
	began time.Time
	done  chan struct{} // closed by run when value and err are set
	value T
	err   error
}

// readingTime bounds a reading. API servers wait no longer than that for the webhook's answer.
const readingTime = 5 * time.Second

func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	r := s.next
	if r == nil {
		r = &reading[T]{done: make(chan struct{})}
		s.next = r
		go s.run(context.WithoutCancel(ctx), r, s.last) // it ends with the one before it, and readingTime
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
