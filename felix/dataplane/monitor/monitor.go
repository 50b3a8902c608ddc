// Package monitor tells what changes in the kernel's network state: links, addresses, routes, neighbours, and
// iptables-nft chains.
//
// It owns its netlink sockets and changes nothing. One goroutine of the agent's errgroup calls Run, which is the only
// writer of the channel; the agent's loop reads it and passes each event to the drivers' Observe.
package monitor

import (
	"context"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Monitor is a subscription to the kernel's notifications in the network namespace it was opened in.
type Monitor struct {
	events chan dataplane.Event
}

// Open subscribes in the calling thread's network namespace. What happens from now on will be reported, so read the
// kernel's state after Open.
func Open() (*Monitor, error) { panic("not built yet") }

// Events is where Run sends. When nobody reads it the kernel queues, and drops when its
// queue is full; an EventLost says so. Run closes the channel when it returns.
func (m *Monitor) Events() <-chan dataplane.Event { return m.events }

// Run reports until the context ends, and closes the sockets. It returns nil when the context
// ended, otherwise why the subscription broke.
func (m *Monitor) Run(ctx context.Context) error { panic("not built yet") }
