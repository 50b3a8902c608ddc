package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/maneki-net/maneki/api/backoff"
	"github.com/maneki-net/maneki/api/build"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/initial"
)

// The time between two attempts to make the initial resources, which doubles.
const (
	firstInitialRetry = time.Second
	lastInitialRetry  = time.Minute
)

// makeInitial makes the resources that users' commands presuppose, once. It tries again until it can, and ends then, or
// when ctx ends: nothing else waits for it.
func makeInitial(ctx context.Context, store datastore.Store, log *slog.Logger) error {
	waits := backoff.Backoff{First: firstInitialRetry, Last: lastInitialRetry}
	for {
		made, err := initial.Ensure(ctx, store, build.Version())
		if len(made) > 0 {
			log.Info("made initial resources", "resources", made)
		}
		if err == nil {
			return nil
		}
		retry := waits.Next()
		log.Warn("initial resources not made, will retry", "error", err, "retry", retry)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil
		}
	}
}
