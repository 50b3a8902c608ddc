package hub

import (
	"context"
	"errors"

	"github.com/maneki-net/maneki/typha/wire"
)

// Source is where Felix gets its commits from: a Session of a Hub in its own process, or a transport.Client.
type Source interface {
	// Next waits for the next commit. The first one is everything that the node needs and does not hold yet, and has
	// InSync set. What changes while the caller does not call is merged into one commit. Next is for one goroutine at a
	// time. It returns ctx's error, or ErrClosed when there will be no more commits.
	Next(ctx context.Context) (wire.Commit, error)
	// Report passes upward what was applied. It does not wait for the network; a report that was not sent yet is
	// replaced. It may be called from any goroutine.
	Report(wire.Report)
	// Answer passes upward what a wire.StatusRequest asks for, in the same way.
	Answer(wire.StatusAnswer)
}

// ErrClosed is returned when a Source, or the Hub behind it, has ended.
var ErrClosed = errors.New("stream closed")
