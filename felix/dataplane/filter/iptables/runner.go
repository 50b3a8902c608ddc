package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
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

// commands runs the save and restore commands of one family and variant.
type commands struct {
	family  dataplane.Family
	variant Variant
	runner  Runner
	counts  Counts
}

// run runs one of the commands, "save" or "restore".
func (c *commands) run(ctx context.Context, verb string, stdin []byte, args ...string) ([]byte, error) {
	out, _, err := c.start(ctx, verb, stdin, args...)()
	return out, err
}

func (c *commands) start(ctx context.Context, verb string, stdin []byte, args ...string) func() ([]byte, int, error) {
	wait := c.runner.Start(ctx, Command{Name: command(c.family, c.variant, verb), Args: args, Stdin: stdin})
	return func() ([]byte, int, error) {
		out, pid, err := wait()
		done, failed := &c.counts.Saves, &c.counts.SaveErrors
		if verb == "restore" {
			done, failed = &c.counts.Restores, &c.counts.RestoreErrors
		}
		done.Add(1)
		if err != nil {
			failed.Add(1)
		}
		return out, pid, err
	}
}

// restore starts a command that executes transactions, each of a table of its own, one after the other. Finish waits
// for its end. If it fails, those before the one that failed are done, and their tables have to be read back.
func (c *commands) restore(ctx context.Context, all []*transaction) (finish func() error) {
	var stdin strings.Builder
	var tables []string
	for _, x := range all {
		if x.text.Len() > 0 {
			stdin.WriteString("*" + string(x.table.name) + "\n" + x.text.String() + "COMMIT\n")
			tables = append(tables, string(x.table.name))
		}
	}
	if len(tables) == 0 {
		return func() error { return nil }
	}
	text := stdin.String()
	wait := c.start(ctx, "restore", []byte(text), "--noflush", fmt.Sprintf("--wait=%d", waitSeconds))
	return func() error {
		_, pid, err := wait()
		if err != nil {
			return fmt.Errorf("change table %s: %w%s", strings.Join(tables, ", "), err, culprit(text, err))
		}
		for _, x := range all {
			if x.text.Len() > 0 {
				x.table.finish(x, pid)
			}
		}
		return nil
	}
}
