// Package chart renders the Helm chart for tests, and holds the tests of it that need no node: what it renders, which
// values it refuses, that the components understand what it tells them, and, on a real API server, what its roles and
// admission policies let whom do.
//
// It builds Helm where that was not done.
package chart

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/maneki-net/maneki/test/build"
)

// Render returns the chart's objects, without its CRDs, for a release in a namespace with the values set, each
// "path=value".
func Render(t testing.TB, namespace string, set ...string) []*unstructured.Unstructured {
	t.Helper()
	stdout, stderr, err := helm(t, templateArgs(t, namespace, set)...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr)
	}
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(stdout), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		switch {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatalf("the chart renders something that is not YAML: %v", err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// templateArgs are Helm's arguments to render the chart.
func templateArgs(t testing.TB, namespace string, set []string) []string {
	args := []string{"template", "maneki", dir(t), "--namespace=" + namespace, "--kube-version=1.36.0"}
	for _, value := range set {
		args = append(args, "--set="+value)
	}
	return args
}

// dir is the chart's folder.
func dir(t testing.TB) string { return filepath.Join(builder(t).Root, "charts", "maneki") }

func builder(t testing.TB) build.Builder {
	t.Helper()
	b, err := build.Here(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// helm runs Helm in a home of its own.
func helm(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	programs, err := builder(t).Module(t.Context(), "helm")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "helm"), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
