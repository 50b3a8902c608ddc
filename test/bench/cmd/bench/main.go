// Command bench measures Maneki against named baselines and prints the ratios. It runs in a network
// namespace of its own and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"

	"github.com/maneki-net/maneki/test/bench"
)

// insideNamespace marks the process that was started again in the namespace, and says whether something was measured
// before.
const insideNamespace = "MANEKI_BENCH_INSIDE"

func main() {
	pattern := flag.String("run", ".", "pairs to measure, a regular expression")
	runs := flag.Int("runs", 15, "measured runs of each side")
	file := flag.String("json", filepath.Join(".cache", "bench.json"), "file that the results go to as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *pattern, *runs, *file); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string, runs int, file string) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if inside := os.Getenv(insideNamespace); inside != "" {
		return measure(ctx, wanted, runs, file)
	}
	if os.Geteuid() != 0 {
		return errors.New("benchmarks need root: they make network namespaces")
	}
	if err := buildSelectors(ctx); err != nil {
		return err
	}
	shown, err := showFigures(ctx, wanted)
	if err != nil {
		return err
	}
	return again(ctx, shown)
}

// again starts this program in a new network namespace, which goes when it ends.
// shown says that the pattern has been of use, and need not select a pair.
func again(ctx context.Context, shown bool) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%t", insideNamespace, shown))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}

func measure(ctx context.Context, wanted *regexp.Regexp, runs int, file string) error {
	// Namespaces belong to threads.
	runtime.LockOSThread()
	var results []bench.Result
	for _, define := range pairs {
		pair, err := define(ctx)
		if err != nil {
			return err
		}
		if wanted.MatchString(pair.Name) {
			result, err := bench.Measure(ctx, pair, runs)
			if err != nil {
				return err
			}
			result.Print(os.Stdout)
			results = append(results, result)
		}
		if pair.Cleanup != nil {
			pair.Cleanup()
		}
	}
	selectors, err := measureSelectors(ctx, wanted.String(), runs)
	if err != nil {
		return err
	}
	results = append(results, selectors...)
	if len(results) == 0 {
		if os.Getenv(insideNamespace) == "true" {
			return nil
		}
		return fmt.Errorf("-run %s selects no pair", wanted)
	}
	return write(file, results)
}

func write(file string, results []bench.Result) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(bench.WriteJSON(out, results), out.Close())
}
