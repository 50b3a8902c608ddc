package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Command is one program to run.
type Command struct {
	Name  string
	Args  []string
	Stdin []byte
}

// String gives the command line.
func (c Command) String() string { return strings.Join(append([]string{c.Name}, c.Args...), " ") }

// Runner runs commands: Exec, or a Fake.
type Runner interface {
	// Run returns what the command wrote to its standard output and its process id (0 if it did not start).
	// The error contains what it wrote to its standard error.
	Run(ctx context.Context, c Command) (stdout []byte, pid int, err error)
}

// Exec runs programs of the machine, in the calling thread's network namespace.
type Exec struct{}

// Run starts the command and waits for it.
func (Exec) Run(ctx context.Context, c Command) ([]byte, int, error) {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &out, &errs
	if err := cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start %s: %w", c, err)
	}
	pid := cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		return nil, pid, fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), pid, nil
}
