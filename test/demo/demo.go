// Package demo walks through what Maneki does on a real cluster: every step prints the
// command a user would type, runs it, and checks what came out. It is the main job of the
// project from end to end, for a newcomer (make demo) and for the cluster tests alike.
//
// It owns nothing of the cluster but what its steps create, and leaves the cluster up. All
// of it runs on the caller's goroutine, but for the probes of a matrix.
package demo

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/maneki-net/maneki/test/cluster"
	"github.com/maneki-net/maneki/test/deploy"
)

// stepTimeout bounds one step, so that a demo that hangs ends with the name of the step.
const stepTimeout = 5 * time.Minute

// Demo is a walk over one cluster.
type Demo struct {
	cluster *cluster.Cluster
	shell   shell
	out     io.Writer
}

// New prepares a walk on a cluster without a network plugin. root is the checkout, out takes
// what a user sees.
func New(c *cluster.Cluster, tools deploy.Tools, root string, out io.Writer) *Demo {
	return &Demo{cluster: c, out: out, shell: shell{out: out, dir: root, env: tools.Environ(c)}}
}

type step struct {
	title string
	run   func(context.Context) error
}

// Run takes every step in order and stops at the first whose check fails.
func (d *Demo) Run(ctx context.Context) error {
	steps := []step{
		{"Install Maneki with Helm", d.Install},
		{"Nodes, pools and the pods of a small shop", d.shop},
		{"Who reaches whom, before and after NetworkPolicy", d.policy},
		{"A router outside the cluster learns the pod networks", d.bgp},
		{"Felix is killed while pods talk", d.restart},
		{"Felix's metrics, as Prometheus scrapes them", d.metrics},
	}
	start := time.Now()
	for i, s := range steps {
		fmt.Fprintf(d.out, "\n\033[1m%d. %s\033[0m\n", i, s.title)
		if err := d.step(ctx, s); err != nil {
			return fmt.Errorf("step %d (%s): %w", i, s.title, err)
		}
	}
	fmt.Fprintf(d.out, "\n\033[1mAll checks passed\033[0m in %s.\n", time.Since(start).Round(time.Second))
	return nil
}

func (d *Demo) step(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return s.run(ctx)
}

// say prints a sentence between commands.
func (d *Demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "  "+format+"\n", args...)
}

// check prints what was checked, and whether it held.
func (d *Demo) check(what string, err error) error {
	if err != nil {
		fmt.Fprintf(d.out, "  \033[31m✗ %s\033[0m\n", what)
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(d.out, "  \033[32m✓ %s\033[0m\n", what)
	return nil
}

// address returns the address of a family from a list, for a cluster that has it.
func address(prefixes []netip.Prefix, is4 bool) (netip.Addr, bool) {
	for _, p := range prefixes {
		if p.Addr().Is4() == is4 {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}
