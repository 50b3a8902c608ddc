package hub

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestBusyIsNotStuck asks a hub that answers, one that does not because it is at work, and one that does nothing at
// all.
func TestBusyIsNotStuck(t *testing.T) {
	h := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	ask := func() error {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		return h.Alive(ctx)
	}
	if err := ask(); err != nil {
		t.Errorf("an idle hub: %v", err)
	}
	// occupy has the hub do something until the function that it returns is called.
	occupy := func(work func()) (release func()) {
		started, over, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
		h.post(func() {
			defer close(left)
			close(started)
			for {
				select {
				case <-over:
					return
				default:
					work()
				}
			}
		})
		<-started
		return func() { close(over); <-left }
	}
	release := occupy(func() { h.progress.Add(1) })
	if err := ask(); err != nil {
		t.Errorf("a hub that is at work: %v", err)
	}
	release()
	release = occupy(func() {})
	if err := ask(); !errors.Is(err, errStuck) {
		t.Errorf("a hub that does not get on: %v", err)
	}
	release()
	if err := ask(); err != nil {
		t.Errorf("a hub that is idle again: %v", err)
	}
}
