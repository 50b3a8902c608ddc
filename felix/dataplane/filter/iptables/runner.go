package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Command is one program to run.
type Command struct {
	Name  string
	Args  []string
	Stdin []byte
}

// String returns the command line.
func (c Command) String() string { return strings.Join(append([]string{c.Name}, c.Args...), " ") }

// Runner runs commands: Exec, or a Fake.
type Runner interface {
	// Start starts the command, whose end finish waits for. finish returns what the command wrote to its standard
	// output and its process id (0 if it did not start). The error contains what it wrote to its standard error.
	Start(ctx context.Context, c Command) (finish func() (stdout []byte, pid int, err error))
}

// Run starts a command and waits for it.
func Run(ctx context.Context, r Runner, c Command) (stdout []byte, pid int, err error) {
	return r.Start(ctx, c)()
}

// Exec runs programs of the machine, in the calling thread's network namespace.
type Exec struct {
	Started func(took time.Duration) // called with how long it took to start a program; nil is nobody
}

// Start implements Runner.
func (e Exec) Start(ctx context.Context, c Command) func() ([]byte, int, error) {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &out, &errs
	began := time.Now()
	started := cmd.Start()
	if e.Started != nil {
		e.Started(time.Since(began))
	}
	return func() ([]byte, int, error) {
		if started != nil {
			return nil, 0, fmt.Errorf("start %s: %w", c, started)
		}
		pid := cmd.Process.Pid
		if err := cmd.Wait(); err != nil {
			return nil, pid, fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(errs.String()))
		}
		return out.Bytes(), pid, nil
	}
}
