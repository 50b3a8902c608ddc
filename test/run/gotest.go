package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/maneki-net/maneki/"

// Packages whose tests work on the real kernel or start a cluster, an API server or etcd; all others are unit tests.
var (
	kernelPatterns  = []string{"bgp/speaker", "felix/..."}
	clusterPatterns = []string{"api/crds", "calicoctl", "datastore/etcd/...", "datastore/kubernetes/...",
		"kube-controllers/daemon",
		"kube-controllers/status", "test/chart", "test/cluster/...", "test/e2e", "test/etcd", "typha",
		"typha/discovery"}
)

// tally counts tests; subtests count as tests.
type tally struct {
	passed          int
	failed, skipped []string
}

func (t *tally) add(other tally) {
	t.passed += other.passed
	t.failed = append(t.failed, other.failed...)
	t.skipped = append(t.skipped, other.skipped...)
}

// within knows patterns as go list does: a folder, or with /... all below it, too.
func within(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, all := strings.CutSuffix(p, "/...")
		return pkg == below || all && strings.HasPrefix(pkg, below+"/")
	})
}

func kernelPackages(pkg string) bool  { return within(pkg, kernelPatterns) }
func clusterPackages(pkg string) bool { return within(pkg, clusterPatterns) }
func unitPackages(pkg string) bool    { return !kernelPackages(pkg) && !clusterPackages(pkg) }

// event is a line of go test -json (cmd/test2json).
type event struct {
	Action, Package, Test, Output string
}

// goTest runs the tests of the packages that belong, shows what packages and failed tests print, and counts.
func goTest(ctx context.Context, o options, belongs func(string) bool, flags ...string) tally {
	packages, err := listPackages(ctx, o, belongs)
	if err != nil || len(packages) == 0 {
		return failure(fmt.Errorf("list packages: %d found, %w", len(packages), err))
	}
	args := append([]string{"test", "-json", "-count=1"}, flags...)
	if o.run != "" {
		args = append(args, "-run="+o.run)
	}
	if o.long {
		args = append(args, "-shuffle=on") // no test depends on another
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Stderr, cmd.Dir = os.Stderr, o.module
	if o.long {
		cmd.Env = append(os.Environ(), "MANEKI_LONG=1")
	}
	// An interrupt reaches the tests too, which then clean up; killing go would orphan them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return failure(err)
	}
	if err := cmd.Start(); err != nil {
		return failure(err)
	}
	t := follow(bufio.NewScanner(stdout), slices.Contains(flags, "-v"))
	if err := cmd.Wait(); err != nil && len(t.failed) == 0 {
		t.add(failure(err))
	}
	return t
}

func failure(err error) tally {
	fmt.Println(err)
	return tally{failed: []string{"go test"}}
}

func listPackages(ctx context.Context, o options, belongs func(string) bool) ([]string, error) {
	patterns := strings.Fields(o.pkg)
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, patterns...)...)
	cmd.Dir = o.module
	output, err := cmd.Output()
	var packages []string
	for _, p := range strings.Fields(string(output)) {
		// An explicit choice of packages is not narrowed.
		if o.pkg != "" || belongs(strings.TrimPrefix(p, module)) {
			packages = append(packages, p)
		}
	}
	return packages, err
}

// follow reads events: a test's output is held until it fails, unless all is to be shown.
func follow(lines *bufio.Scanner, all bool) tally {
	lines.Buffer(nil, 16<<20)
	var t tally
	held := map[string][]string{}
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text())
			continue
		}
		name := strings.TrimPrefix(e.Package, module) + "/" + e.Test
		switch e.Action {
		case "output", "build-output":
			if all || e.Test == "" {
				if !strings.Contains(e.Output, "[no test files]") {
					fmt.Print(e.Output)
				}
			} else {
				held[name] = append(held[name], e.Output)
			}
		case "pass":
			if e.Test != "" {
				t.passed++
			}
			delete(held, name)
		case "skip":
			if e.Test != "" {
				t.skipped = append(t.skipped, name)
			}
		case "fail":
			fmt.Print(strings.Join(held[name], ""))
			t.failed = append(t.failed, strings.TrimSuffix(name, "/"))
		}
	}
	return t
}
