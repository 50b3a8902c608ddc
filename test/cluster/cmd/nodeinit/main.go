// Command nodeinit is process 1 of a node of the test cluster, and what starts
// it. The cluster library runs it; nobody types it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/maneki-net/maneki/test/cluster/nodeinit"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "nodeinit:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		return nodeinit.Run()
	}
	var spec nodeinit.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("decode spec: %w", err)
	}
	return nodeinit.Start(spec)
}
