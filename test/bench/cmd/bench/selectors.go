package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/maneki-net/maneki/test/bench"
)

// Selectors are measured by a program of the module test/compat, which alone depends on Calico's library.
const selectorsModule = "test/compat"

var selectorsProgram = filepath.Join(".cache", "bench-selectors")

// buildSelectors builds the program, for which it may need the network: it is called outside the namespace.
func buildSelectors(ctx context.Context) error {
	program, err := filepath.Abs(selectorsProgram)
	if err != nil {
		return err
	}
	if output, err := exec.CommandContext(ctx, "go", "-C", selectorsModule, "build", "-o", program,
		"./bench").CombinedOutput(); err != nil {
		return fmt.Errorf("build %s/bench: %w: %s", selectorsModule, err, output)
	}
	return nil
}

func measureSelectors(ctx context.Context, pattern string, runs int) ([]bench.Result, error) {
	cmd := exec.CommandContext(ctx, selectorsProgram, "-run="+pattern, fmt.Sprintf("-runs=%d", runs))
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure selectors: %w", err)
	}
	var results []bench.Result
	if err := json.Unmarshal(output, &results); err != nil {
		return nil, fmt.Errorf("measure selectors: %w", err)
	}
	for _, r := range results {
		r.Print(os.Stdout)
	}
	return results, nil
}
