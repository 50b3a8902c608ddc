// Package deploy prepares a test cluster for Maneki: it builds the product's images, loads them
// into every node, and builds the command-line tools that a user would have.
//
// It never installs the product: what is tested does that, with Helm. Called by the
// demo, the end-to-end tests and benchmarks, on their goroutine.
package deploy

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/cluster"
	"github.com/maneki-net/maneki/test/images"
)

// productImages are what the chart runs.
var productImages = []string{"node", "typha", "kube-controllers"}

// Tools are the user's commands.
type Tools struct {
	// Dirs hold kubectl, helm and calicoctl, to put in front of PATH.
	Dirs []string
}

// Prepare builds and loads the images and builds the tools. root is the checkout; progress takes a line a step.
func Prepare(ctx context.Context, c *cluster.Cluster, root string, progress io.Writer) (Tools, error) {
	builder := build.Builder{Root: root, Progress: progress}
	archives, err := images.Builder{Programs: builder, Version: images.DefaultVersion}.Build(ctx, productImages...)
	if err != nil {
		return Tools{}, err
	}
	for _, a := range archives {
		fmt.Fprintf(progress, "load %s into every node\n", a.Reference)
		if err := c.LoadImage(ctx, a.Path); err != nil {
			return Tools{}, fmt.Errorf("load %s: %w", a.Reference, err)
		}
	}
	return buildTools(ctx, builder)
}

func buildTools(ctx context.Context, builder build.Builder) (Tools, error) {
	kubernetes, err := builder.Module(ctx, "kubernetes")
	if err != nil {
		return Tools{}, err
	}
	helm, err := builder.Module(ctx, "helm")
	if err != nil {
		return Tools{}, err
	}
	calicoctl, err := builder.Program(ctx, "./cmd/calicoctl")
	if err != nil {
		return Tools{}, err
	}
	return Tools{Dirs: []string{filepath.Dir(calicoctl), kubernetes, helm}}, nil
}

// Environ is the environment of a user who works on the cluster: the tools are on PATH, KUBECONFIG
// names the cluster, and caches stay in the cluster's folder.
func (t Tools) Environ(c *cluster.Cluster) []string {
	path := ""
	for _, dir := range t.Dirs {
		path += dir + string(os.PathListSeparator)
	}
	return append(os.Environ(),
		"PATH="+path+os.Getenv("PATH"),
		"KUBECONFIG="+c.Kubeconfig(),
		"HOME="+c.Dir(),
	)
}
