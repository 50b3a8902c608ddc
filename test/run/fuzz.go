package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// fuzz runs every fuzz test of the unit packages for a while, one after the other.
func fuzz(ctx context.Context, o options) tally {
	packages, err := listPackages(ctx, o, unitPackages)
	if err != nil {
		return failure(fmt.Errorf("list packages: %w", err))
	}
	listed, err := exec.CommandContext(ctx, "go", append([]string{"test", "-list=^Fuzz"}, packages...)...).Output()
	if err != nil {
		return failure(fmt.Errorf("list fuzz tests: %w: %s", err, listed))
	}
	var t tally
	var names []string
	for line := range strings.Lines(string(listed)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok": // the package of the names before
			for _, name := range names {
				t.add(fuzzOne(ctx, o, fields[1], name))
			}
			names = nil
		}
	}
	return t
}

func fuzzOne(ctx context.Context, o options, pkg, name string) tally {
	full := strings.TrimPrefix(pkg, module) + "/" + name
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+name+"$", "-fuzztime="+o.fuzzTime.String(), pkg)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		fmt.Printf("--- FAIL: %s: %v\n%s", full, err, output.String())
		return tally{failed: []string{full}}
	}
	last := ""
	for line := range strings.Lines(output.String()) {
		if strings.HasPrefix(line, "fuzz: elapsed") {
			last = strings.TrimPrefix(line, "fuzz: ")
		}
	}
	fmt.Printf("ok   %s %s", full, last)
	return tally{passed: 1}
}
