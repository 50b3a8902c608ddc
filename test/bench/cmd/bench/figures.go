package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
)

// Figures have no baseline that could be built here. They are measured by programs of their own, outside the namespace,
// and only printed.
var figures = []struct {
	name string
	args []string
}{
	{"engine snapshot", []string{"go", "test", "-run=^$", "-bench=Snapshot", "-benchtime=1x", "-timeout=30m",
		"./typha/calc"}},
	{"engine change", []string{"go", "test", "-run=^$", "-bench=Change|ManySelectors", "-benchmem", "-timeout=30m",
		"./typha/calc"}},
	{"engine beside hostile policies", []string{"go", "test", "-run=^$", "-bench=Hostile", "-benchtime=3x",
		"./typha/hub"}},
	{"node", []string{"go", "test", "-run=^$", "-bench=Node", "-benchtime=1x", "./felix/daemon"}},
	{"node change", []string{"go", "test", "-run=^$", "-bench=Change", "./felix/daemon"}},
	{"policies", []string{"go", "test", "-run=^$", "-bench=Policies", "-benchtime=1x", "./kube-controllers/daemon"}},
	{"fanout", []string{"go", "run", "./test/scale/fanout"}},
}

// showFigures reports whether any was wanted.
func showFigures(ctx context.Context, wanted *regexp.Regexp) (shown bool, err error) {
	for _, f := range figures {
		if !wanted.MatchString(f.name) {
			continue
		}
		shown = true
		cmd := exec.CommandContext(ctx, f.args[0], f.args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		if err := cmd.Run(); err != nil {
			return shown, fmt.Errorf("figures of %s: %w", f.name, err)
		}
	}
	return shown, nil
}
