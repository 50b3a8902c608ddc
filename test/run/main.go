// Command run runs the tests by parts and sums them up: minutes and counts for each part, and every
// failure and skip by name. In continuous integration a skipped test is a failure.
//
//	go run ./test/run [-pkg ./ipam/...] [-run REGEXP] [-long] [part ...]
//
// Parts: checks, unit, compat, kernel, cluster, fuzz. Without any: all of them, in that order, and all are run even
// if one fails; fuzz only with -long.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/maneki-net/maneki/test/cluster"
)

// part is a group of tests that is run and reported together.
type part struct {
	name string
	run  func(context.Context, options) tally
	long bool // only with -long, if it is not asked for by name
}

type options struct {
	pkg, run string
	long     bool
	fuzzTime time.Duration
	module   string // the folder of the module, if it is not the main one
}

// parts in the order in which they run: what fails soonest first.
var parts = []part{
	{name: "checks", run: runChecks},
	{name: "unit", run: func(ctx context.Context, o options) tally {
		return goTest(ctx, o, unitPackages,
			"-timeout=20m")
	}},
	{name: "compat", run: func(ctx context.Context, o options) tally {
		o.module, o.pkg = "test/compat", ""
		return goTest(ctx, o, unitPackages, "-timeout=20m")
	}},
	{name: "kernel", run: func(ctx context.Context, o options) tally {
		return goTest(ctx, o, kernelPackages, "-timeout=30m", "-p=1")
	}},
	{name: "cluster", run: func(ctx context.Context, o options) tally {
		return goTest(ctx, o, clusterPackages, "-timeout=50m", "-p=1", "-v")
	}},
	{name: "fuzz", run: fuzz, long: true},
}

func main() {
	var o options
	flag.StringVar(&o.pkg, "pkg", "", "packages to test instead of all of the part's")
	flag.StringVar(&o.run, "run", "", "tests to run, as in go test -run")
	flag.DurationVar(&o.fuzzTime, "fuzztime", time.Minute, "how long each fuzz test looks for input that fails")
	flag.BoolVar(&o.long, "long", false, "run what takes longer: matrices, faults, long random histories")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "run tests:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, names []string) (bool, error) {
	for _, name := range names {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return false, fmt.Errorf("no part %q: want checks, unit, compat, kernel, cluster or fuzz", name)
		}
	}
	if os.Geteuid() == 0 {
		if err := cluster.InstallPackages(ctx, os.Stdout); err != nil {
			return false, err
		}
	}
	var total tally
	var summary bytes.Buffer
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) || len(names) == 0 && p.long && !o.long {
			continue
		}
		fmt.Printf("\n=== %s\n", p.name)
		start := time.Now()
		t := p.run(ctx, o)
		fmt.Fprintf(&summary, "%-8s %5.1f min  %d passed, %d failed, %d skipped\n", p.name, time.Since(start).Minutes(),
			t.passed, len(t.failed), len(t.skipped))
		total.add(t)
	}
	fmt.Printf("\n=== summary\n%s", summary.String())
	for _, name := range total.failed {
		fmt.Println("FAILED ", name)
	}
	for _, name := range total.skipped {
		fmt.Println("SKIPPED", name)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", total.passed, len(total.failed), len(total.skipped))
	skippedInCI := os.Getenv("CI") != "" && len(total.skipped) > 0
	return len(total.failed) == 0 && !skippedInCI && total.passed > 0, nil
}

// check is a command that must succeed. When silent is set, what it prints to standard output is what is wrong;
// standard error is progress, such as the modules that go downloads.
type check struct {
	name   string
	argv   []string
	silent bool
}

var checks = []check{
	{"gofmt", []string{"gofmt", "-l", "."}, true},
	{"go vet", []string{"go", "vet", "./..."}, false},
	{"staticcheck", []string{"go", "tool", "-modfile=hack/lint/go.mod", "staticcheck", "./..."}, false},
	{"generated files are current",
		[]string{"sh", "-c", "go generate ./... >&2 && git status --porcelain -- '*zz_generated*' 'api/crds' " +
			"'charts/maneki/crds'"}, true},
	{"go.mod is tidy", []string{"go", "mod", "tidy", "-diff"}, false},
	{"test/compat/go.mod is tidy", []string{"go", "-C", "test/compat", "mod", "tidy", "-diff"}, false},
}

func runChecks(ctx context.Context, _ options) tally {
	var t tally
	for _, c := range checks {
		if err := c.run(ctx); err != nil {
			fmt.Printf("--- FAIL: %s: %v\n", c.name, err)
			t.failed = append(t.failed, "checks/"+strings.ReplaceAll(c.name, " ", "-"))
			continue
		}
		fmt.Println("ok  ", c.name)
		t.passed++
	}
	return t
}

// run returns an error that has all output of the check if the check fails.
func (c check) run(ctx context.Context) error {
	var found, progress bytes.Buffer
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Stdout, cmd.Stderr = &found, &progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s%s", err, found.String(), progress.String())
	}
	if c.silent && len(bytes.TrimSpace(found.Bytes())) > 0 {
		return fmt.Errorf("want no difference\n%s%s", found.String(), progress.String())
	}
	return nil
}
