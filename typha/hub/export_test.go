package hub

import (
	"context"
	"time"
)

// What the tests of package hub_test need besides the API.
const (
	LagsAfter       = lagsAfter
	InspectInterval = inspectInterval
)

// DelayFlush delays the next flush.
func (h *Hub) DelayFlush(ctx context.Context, d time.Duration) error {
	return h.call(ctx, func() { h.nextFlush = time.Now().Add(d) })
}

// Flush computes and hands out what waits.
func (h *Hub) Flush(ctx context.Context) error {
	return h.call(ctx, func() { h.flush() })
}

// Observers returns the number of observers.
func (h *Hub) Observers(ctx context.Context) (n int, err error) {
	err = h.call(ctx, func() { n = len(h.observers.all) })
	return n, err
}

// Marks returns the number of marks of nodes and problems.
func (o *Observer) Marks(ctx context.Context) (n int, err error) {
	err = o.hub.call(ctx, func() { n = len(o.nodes) + len(o.problems) })
	return n, err
}

// HasAnswer reports whether an answer of the session's node is stored.
func (s *Session) HasAnswer(ctx context.Context) (has bool, err error) {
	err = s.hub.call(ctx, func() { has = s.answer.content != nil })
	return has, err
}
