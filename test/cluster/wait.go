package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Limits of await.
const (
	awaitPoll  = 100 * time.Millisecond
	awaitLimit = 2 * time.Minute
)

// await repeats check until it succeeds. It gives up when a process that was
// started has ended, or after awaitLimit.
func (cl *Cluster) await(ctx context.Context, what string, check func(context.Context) error) error {
	err := poll(ctx, func(ctx context.Context) (done bool, err error) {
		err = check(ctx)
		if err == nil {
			return true, nil
		}
		dead := cl.dead(ctx)
		return dead != nil, errors.Join(err, dead)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	cl.step("%s: up", what)
	return nil
}

// poll calls check until it is done, and returns its last error. It stops after
// awaitLimit.
func poll(ctx context.Context, check func(context.Context) (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	for {
		done, err := check(ctx)
		if done {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// dead describes a process that ended by itself, with the end of its log.
func (cl *Cluster) dead(ctx context.Context) error {
	for _, n := range cl.nodes {
		processes, err := n.init.Status(ctx)
		if err != nil {
			continue // not booted yet
		}
		for _, p := range processes {
			if p.PID == 0 {
				log := filepath.Join(n.Dir, "log", filepath.Base(p.Log))
				return fmt.Errorf("%s of %s ended: %s; the end of %s:\n%s", p.Name, n.Name, p.Exit, log, tail(log, 10))
			}
		}
	}
	return nil
}

// tail returns the last lines of a file, or why it can't be read.
func tail(name string, lines int) string {
	body, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(body)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
