package transport

import (
	"context"
	"sync"
)

// upward is the latest value that a node reports. A value that was not sent yet is replaced by a later one.
type upward[T any] struct {
	changed chan struct{} // depth 1; written by set, read by the goroutine that sends, never closed

	mu     sync.Mutex
	latest T
}

func newUpward[T any]() upward[T] { return upward[T]{changed: make(chan struct{}, 1)} }

// set sets the value to send. Any goroutine may call it. It does not block.
func (u *upward[T]) set(value T) {
	u.mu.Lock()
	u.latest = value
	u.mu.Unlock()
	select {
	case u.changed <- struct{}{}:
	default: // the sender has not read the last element yet, and will find this value
	}
}

// next waits until the value was set, and returns the latest. It fails when ctx ends.
func (u *upward[T]) next(ctx context.Context) (value T, err error) {
	select {
	case <-ctx.Done():
		return value, ctx.Err()
	case <-u.changed:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.latest, nil
}

// sendReports sends the latest report whenever it was set, until ctx or the stream ends. base is the number of the last
// commit before this connection, since the server counts its own from 1.
func (c *Client) sendReports(ctx context.Context, up *call, base uint64) {
	for {
		r, err := c.reports.next(ctx)
		if err != nil {
			return
		}
		switch {
		case r.Applied > base:
			r.Applied -= base
		case r.Applied > 0:
			continue // it is about a commit of another connection
		} // 0 means that the kernel enforces no commit, and the errors say why
		if err := up.send(frameReport, r.Shortened()); err != nil {
			return // RecvMsg returns why the stream ended
		}
	}
}

// sendAnswers sends the latest answer whenever it was set, even if it is the same as before: Typha may have dropped one
// that it received between two requests.
func (c *Client) sendAnswers(ctx context.Context, up *call) {
	for {
		a, err := c.answers.next(ctx)
		if err != nil {
			return
		}
		if err := up.send(frameAnswer, a); err != nil {
			return // RecvMsg returns why the stream ended
		}
	}
}
