// Command fanout measures one Typha that serves many nodes: a real Hub and gRPC server on one core in this process, and
// in another process as many simulated Felixes, each with a connection of its own, which read and acknowledge
// everything and keep nothing.
//
//	go run ./test/scale/fanout [-felixes 500,2000,5000] [-seconds 20]
//
// The cluster is that of scale.Cluster, with an IP pool and a block on every node. Pods come and go at a steady rate; a
// pod carries the time of its making in its name and in its address, from which the Felixes tell how long its endpoint
// took to its own node, and the change of an IP set to each node whose policies name the set.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// load says what is measured.
type load struct {
	Nodes, Pods, Policies int
	Felixes               []int
	Changes               int // a second
	Duration              time.Duration
}

func main() {
	felixes := flag.String("felixes", "500,2000,5000", "numbers of connected nodes, one measurement each")
	nodes := flag.Int("nodes", 5000, "nodes of the cluster")
	pods := flag.Int("pods", 100_000, "pods of the cluster")
	policies := flag.Int("policies", 10_000, "policies of the cluster")
	changes := flag.Int("changes", 50, "pods that come or go, a second")
	seconds := flag.Int("seconds", 20, "how long they do so")
	dir := flag.String("simulate", "", "be the Felixes, with certificates in this folder (for the program itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l := load{Nodes: *nodes, Pods: *pods, Policies: *policies, Changes: *changes,
		Duration: time.Duration(*seconds) * time.Second}
	err := l.parse(*felixes)
	switch {
	case err != nil:
	case *dir != "":
		err = simulate(ctx, *dir)
	default:
		err = measure(ctx, l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
}

func (l *load) parse(felixes string) error {
	for text := range strings.SplitSeq(felixes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > l.Nodes {
			return fmt.Errorf("-felixes: %q is not a number from 1 to the %d nodes", text, l.Nodes)
		}
		l.Felixes = append(l.Felixes, n)
	}
	return nil
}

// order tells the simulating process what to do next; answer is what it did.
type order struct {
	// Connect that many nodes to Address, the first ones; 0 disconnects all.
	Connect int
	Address string
	// Endpoints is how many pods on connected nodes have been announced since: to be waited for.
	Endpoints int
}

type answer struct {
	Snapshot, Endpoint, Set latencies
	Bytes                   int64 // received as the messages have it
	Commits                 int64
	Error                   string
}

// latencies are of one kind of event.
type latencies struct {
	Count            int
	Median, P99, Max time.Duration
}

func (l latencies) String() string {
	if l.Count == 0 {
		return "none"
	}
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("median %v, 99th percentile %v, most %v (%d)", round(l.Median), round(l.P99), round(l.Max),
		l.Count)
}
