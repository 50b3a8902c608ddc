package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockRetry is the interval between two attempts to get the lock.
const lockRetry = 100 * time.Millisecond

// lockNode waits until no other Felix works on the node: only one process may write the node's records, journal and
// kernel state. During an upgrade the former process may still be running. The kernel releases the lock when the
// process ends, however it ends.
func lockNode(ctx context.Context, path string, log *slog.Logger) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	ticker := time.NewTicker(lockRetry)
	defer ticker.Stop()
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock the node: flock %s: %w", path, err)
		}
		if !waiting {
			log.Warn("another felix runs on this node, waiting until it ends", "lock", path)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock the node: another felix has %s: %w", path, ctx.Err())
		case <-ticker.C:
		}
	}
}
