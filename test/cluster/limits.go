package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// inotifyInstances is how many inotify instances root needs for several clusters: a kubelet, a
// containerd and a kube-proxy have a handful each, and the kernel's default is 128 for a user.
const inotifyInstances = 4096

const inotifyPath = "/proc/sys/fs/inotify/max_user_instances"

// limitRecord keeps the machine's own limit while there are clusters.
var limitRecord = filepath.Join(recordDir, "max_user_instances")

// raiseLimits makes room for one more cluster. The caller holds the index lock.
func raiseLimits() error {
	before, err := os.ReadFile(inotifyPath)
	if err != nil {
		return fmt.Errorf("read limit: %w", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(before)))
	if err != nil {
		return fmt.Errorf("read limit %s: %w", inotifyPath, err)
	}
	if limit >= inotifyInstances {
		return nil
	}
	if err := os.WriteFile(limitRecord, before, 0o644); err != nil {
		return fmt.Errorf("record limit: %w", err)
	}
	if err := os.WriteFile(inotifyPath, []byte(strconv.Itoa(inotifyInstances)), 0o644); err != nil {
		return fmt.Errorf("raise limit: %w", err)
	}
	return nil
}

// restoreLimits gives the machine its own limit back when the last cluster is gone.
func restoreLimits(ctx context.Context) error {
	unlock, err := lock(ctx, filepath.Join(recordDir, "index.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	clusters, err := filepath.Glob(filepath.Join(recordDir, "*.json"))
	if err != nil || len(clusters) > 0 {
		return err
	}
	before, err := os.ReadFile(limitRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read recorded limit: %w", err)
	}
	if err := os.WriteFile(inotifyPath, before, 0o644); err != nil {
		return fmt.Errorf("restore limit: %w", err)
	}
	return os.Remove(limitRecord)
}
