package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/test/bench"
)

// pairs are all benchmarks; each is set up just before it is measured.
var pairs = []func(context.Context) (bench.Pair, error){fillSet, growSet, addRoutes}

const setMembers = 10_000

// host returns the i-th address of 10.0.0.0/8 as a network of one.
func host(i int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i+1))
	return netip.PrefixFrom(netip.AddrFrom4(b), 32)
}

func members(n int) []filter.Member {
	all := make([]filter.Member, n)
	for i := range all {
		all[i] = filter.Member{Net: host(i)}
	}
	return all
}

func command(ctx context.Context, stdin []byte, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, output)
	}
	return nil
}

func fillSet(context.Context) (bench.Pair, error) {
	sets, err := ipset.Open(ipset.Config{Family: dataplane.IPv4})
	if err != nil {
		return bench.Pair{}, err
	}
	var script bytes.Buffer
	fmt.Fprintln(&script, "create baseline hash:net maxelem 1048576")
	for i := range setMembers {
		fmt.Fprintln(&script, "add baseline", host(i))
	}
	name := ipset.SetName(dataplane.IPv4, "bench")
	wanted := ipset.Set{Name: name, Type: ipset.HashNet, Members: members(setMembers)}
	return bench.Pair{
		Name: fmt.Sprintf("ipset: %d members into an empty set", setMembers),
		Baseline: bench.Subject{Name: "ipset restore",
			Prepare: func(ctx context.Context) error {
				_ = command(ctx, nil, "ipset", "destroy",
					"baseline")
				return nil
			},
			Run: func(ctx context.Context) error { return command(ctx, script.Bytes(), "ipset", "restore") }},
		Candidate: bench.Subject{Name: "felix ipset driver",
			Prepare: func(ctx context.Context) error { sets.Remove(name); return sets.Apply(ctx) },
			Run:     func(ctx context.Context) error { sets.Set(wanted); return sets.Apply(ctx) }},
		Cleanup: func() { _ = sets.Close() },
	}, nil
}

func growSet(ctx context.Context) (bench.Pair, error) {
	sets, err := ipset.Open(ipset.Config{Family: dataplane.IPv4})
	if err != nil {
		return bench.Pair{}, err
	}
	name := ipset.SetName(dataplane.IPv4, "bench")
	sets.Set(ipset.Set{Name: name, Type: ipset.HashNet, Members: members(setMembers)})
	if err := sets.Apply(ctx); err != nil {
		return bench.Pair{}, err
	}
	next := setMembers
	return bench.Pair{
		Name: fmt.Sprintf("ipset: one member more in a set of %d", setMembers),
		Baseline: bench.Subject{Name: "ipset add",
			Run: func(ctx context.Context) error {
				next++
				return command(ctx, nil, "ipset", "add", name, host(next).String())
			}},
		Candidate: bench.Subject{Name: "felix ipset driver",
			Run: func(ctx context.Context) error {
				next++
				sets.AddMembers(name, filter.Member{Net: host(next)})
				return sets.Apply(ctx)
			}},
		Cleanup: func() { _ = sets.Close() },
	}, nil
}

const routes = 1_000

func addRoutes(ctx context.Context) (bench.Pair, error) {
	kernel, err := route.Open()
	if err != nil {
		return bench.Pair{}, err
	}
	if err := command(ctx, nil, "ip", "link", "set", "lo", "up"); err != nil {
		return bench.Pair{}, err
	}
	table := route.New(kernel, route.Config{Family: dataplane.IPv4, Protocols: []int{route.ProtocolFelix}})
	var wanted []route.Route
	var script bytes.Buffer
	for i := range routes {
		wanted = append(wanted, route.Route{Dst: host(i), Protocol: route.ProtocolFelix,
			Hops: []route.Hop{{Device: "lo"}}})
		fmt.Fprintf(&script, "route add %s dev lo proto 81\n", host(1_000_000+i))
	}
	return bench.Pair{
		Name: fmt.Sprintf("route: each of %d routes added together", routes), Operations: routes,
		Baseline: bench.Subject{Name: "ip -batch",
			Prepare: func(ctx context.Context) error {
				return command(ctx, nil, "ip", "route", "flush", "proto",
					"81")
			},
			Run: func(ctx context.Context) error { return command(ctx, script.Bytes(), "ip", "-batch", "-") }},
		Candidate: bench.Subject{Name: "felix route driver",
			Prepare: func(ctx context.Context) error { table.Replace(nil); return table.Apply(ctx) },
			Run:     func(ctx context.Context) error { table.Replace(wanted); return table.Apply(ctx) }},
		Cleanup: kernel.Close,
	}, nil
}
