package stream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
)

// Observed is what a replica of Typha says of the nodes that it serves and of the resources that cannot be used.
type Observed struct {
	// Whole says that this is all that the replica knows, so that what it said before is void.
	Whole bool
	// Nodes are those that are new or whose status changed, by name. Of a node with several streams the newest counts.
	Nodes []NodeStatus
	// Gone are the nodes that have no stream from this replica any more, by name.
	Gone []string
	// Verdicts are those that changed. An empty Reason says that nothing is wrong any more, or that the resource is gone.
	Verdicts []calc.Verdict
}

// ObserverOptions say which replica to observe, and as whom.
type ObserverOptions struct {
	// Address is that of one replica, host:port.
	Address string
	TLS     TLS
	// TokenFile holds the observer's projected service-account token with the audience Audience. It is read when the stream
	// is opened, and again for as long as it lasts. Empty presents none.
	TokenFile string
	// ReadTimeout is how long a silent connection is trusted; pings keep it alive. 0 is 30 s.
	ReadTimeout time.Duration
	Logger      *slog.Logger // nil discards
}

// Observe follows one replica until ctx ends or the connection does, and gives why it ended. The first call of each, once the
// replica is in sync with the datastore, is with all that it knows; the others follow at most once a second, with what
// changed meanwhile. While each runs, nothing is read, and changes are merged.
func Observe(ctx context.Context, opts ObserverOptions, each func(Observed)) error {
	return errors.New("observe typha: this release cannot")
}
