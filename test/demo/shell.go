package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// shell runs command lines as a user would type them.
type shell struct {
	out io.Writer
	dir string
	env []string
}

// show prints a command line, runs it and prints what it says.
func (s shell) show(ctx context.Context, line string) (string, error) {
	fmt.Fprintf(s.out, "  \033[36m$ %s\033[0m\n", line)
	output, err := s.run(ctx, line, "")
	for l := range strings.Lines(output) {
		fmt.Fprintf(s.out, "    %s", l)
	}
	if output != "" && !strings.HasSuffix(output, "\n") {
		fmt.Fprintln(s.out)
	}
	return output, err
}

// showInput is show for a command that reads a manifest from its standard input; the manifest is printed too.
func (s shell) showInput(ctx context.Context, line, input string) (string, error) {
	fmt.Fprintf(s.out, "  \033[36m$ %s <<EOF\n", line)
	for l := range strings.Lines(input) {
		fmt.Fprintf(s.out, "  %s", l)
	}
	fmt.Fprint(s.out, "  EOF\033[0m\n")
	output, err := s.run(ctx, line, input)
	for l := range strings.Lines(output) {
		fmt.Fprintf(s.out, "    %s", l)
	}
	return output, err
}

// run runs a command line silently and gives its combined output.
func (s shell) run(ctx context.Context, line, input string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Dir, cmd.Env = s.dir, s.env
	if input != "" {
		cmd.Stdin = strings.NewReader(input)
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// A group of its own, so that cancellation ends the command's children too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if err != nil {
		return output.String(), fmt.Errorf("%s: %w: %s", line, err, lastLines(output.String(), 5))
	}
	return output.String(), nil
}

// until repeats a silent command until its output satisfies, or ctx or the deadline ends; it
// returns the last output.
func (s shell) until(ctx context.Context, timeout time.Duration, line string, satisfied func(string) error) (string,
	error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		output, err := s.run(ctx, line, "")
		if err == nil {
			err = satisfied(output)
			if err == nil {
				return output, nil
			}
		}
		select {
		case <-ctx.Done():
			return output, fmt.Errorf("after %s: %w", timeout, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// contains is a condition on output.
func contains(wants ...string) func(string) error {
	return func(output string) error {
		var errs []error
		for _, want := range wants {
			if !strings.Contains(output, want) {
				errs = append(errs, fmt.Errorf("output lacks %q", want))
			}
		}
		return errors.Join(errs...)
	}
}
