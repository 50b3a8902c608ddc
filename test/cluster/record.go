package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recordDir holds the records of this machine's clusters. It is emptied by a
// reboot, as is all else that a cluster has outside its state directory.
const recordDir = "/run/maneki"

// record is what must be known to take a cluster away again. It is written
// before anything of the cluster is made and removed last.
type record struct {
	Config Config
	// Index is the cluster's number on this machine.
	Index int
	// State is the state directory, absolute.
	State string
}

func recordPath(name string) string { return filepath.Join(recordDir, name+".json") }

// readRecord returns fs.ErrNotExist when there is no such cluster.
func readRecord(name string) (record, error) {
	var r record
	body, err := os.ReadFile(recordPath(name))
	if err != nil {
		return r, fmt.Errorf("read record of cluster %s: %w", name, err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("decode record of cluster %s: %w", name, err)
	}
	return r, nil
}

// claim finds or makes the record of the cluster. A cluster keeps its index.
func claim(ctx context.Context, c Config) (record, error) {
	unlock, err := lock(ctx, filepath.Join(recordDir, "index.lock"))
	if err != nil {
		return record{}, err
	}
	defer unlock()
	if err := raiseLimits(); err != nil {
		return record{}, err
	}
	r := record{Config: c, State: stateDir(c)}
	used := map[int]bool{}
	names, err := filepath.Glob(filepath.Join(recordDir, "*.json"))
	if err != nil {
		return r, fmt.Errorf("list clusters: %w", err)
	}
	for _, n := range names {
		other, err := readRecord(strings.TrimSuffix(filepath.Base(n), ".json"))
		if err != nil {
			return r, err
		}
		used[other.Index] = true
		if other.Config.Name != c.Name {
			continue
		}
		if other.State != r.State {
			return r, fmt.Errorf("cluster %s belongs to another checkout, whose state is in %s", c.Name, other.State)
		}
		if err := compatible(other.Config, c); err != nil {
			return r, err
		}
		r.Index = other.Index
		return r, writeRecord(r)
	}
	for used[r.Index] {
		r.Index++
	}
	if r.Index >= maxClusters {
		return r, fmt.Errorf("%d clusters exist on this machine already: take one down first", maxClusters)
	}
	// State without a record is of before the machine was restarted.
	if err := os.RemoveAll(r.State); err != nil {
		return r, fmt.Errorf("remove old state: %w", err)
	}
	return r, writeRecord(r)
}

// compatible refuses what a running cluster cannot be converged to.
func compatible(have, want Config) error {
	if have.IP != want.IP || have.Subnets != want.Subnets || have.CNI != want.CNI || want.Nodes < have.Nodes {
		return fmt.Errorf("cluster %s exists with %d nodes, %d subnets, IP %s, CNI %s: only nodes can be added; "+
			"take it down first to change the rest",
			have.Name, have.Nodes, have.Subnets, have.IP, have.CNI)
	}
	return nil
}

func writeRecord(r record) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	return writeFile(recordPath(r.Config.Name), body, 0o644)
}

// writeFile replaces the file in one step, so that a crash leaves the old or the new.
func writeFile(name string, body []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	temporary := name + ".new"
	if err := os.WriteFile(temporary, body, mode); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// lockRetry is the pause between two attempts to take a lock that another
// process holds.
const lockRetry = 100 * time.Millisecond

// lock takes the file lock, waiting for its holder. Unlocking removes the file,
// which is why a lock counts only while its name still leads to the same file.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of lock: %w", err)
	}
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isCurrent(f, name) {
			return func() {
				os.Remove(name)
				f.Close()
			}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s, which another process holds: %w", name, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

func isCurrent(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(name)
	return err == nil && os.SameFile(opened, current)
}

func stateDir(c Config) string { return filepath.Join(c.Root, ".cluster", c.Name) }
