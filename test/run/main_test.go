package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestCheckJudgesStandardOutputAlone(t *testing.T) {
	for _, c := range []struct {
		name, script string
		silent       bool
		want         string // a part of the error, or nothing
	}{
		{"progress on standard error", "echo 'go: downloading x' >&2", true, ""},
		{"a difference", "echo ' M api/crds/x.yaml'", true, "M api/crds/x.yaml"},
		{"output of a check that may print", "echo fine", false, ""},
		{"a failure shows both streams", "echo out; echo err >&2; exit 3", false, "exit status 3\nout\nerr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check{name: c.name, argv: []string{"sh", "-c", c.script}, silent: c.silent}.run(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestServersAreStartedInTheClusterPart: a package whose tests start servers is no unit package, whose tests need
// nothing.
func TestServersAreStartedInTheClusterPart(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-f",
		"{{.ImportPath}} {{join .TestImports \" \"}} {{join .XTestImports \" \"}}", "./...")
	list.Dir = "../.."
	output, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	servers := 0
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(strings.TrimPrefix(line, module))
		pkg, imports := fields[0], fields[1:]
		for _, server := range []string{"test/apiserver", "test/etcdserver", "test/cluster"} {
			if !slices.Contains(imports, module+server) {
				continue
			}
			servers++
			if unitPackages(pkg) {
				t.Errorf("%s starts servers of %s in its tests: add it to clusterPatterns", pkg, server)
			}
		}
	}
	if servers == 0 {
		t.Error("no package starts servers")
	}
}
