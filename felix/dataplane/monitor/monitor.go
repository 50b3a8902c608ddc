// Package monitor tells what changes in the kernel's network state: links, addresses, routes, neighbours, and
// iptables-nft chains.
//
// It owns its netlink sockets and changes nothing. One goroutine of the agent's errgroup calls Run, which alone
// writes to the channel; the agent's loop reads it and passes each event to the drivers' Observe.
package monitor

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// receiveBuffer is how much the kernel queues for us, in bytes, before it drops notifications.
const receiveBuffer = 4 << 20

// Monitor is a subscription to the kernel's notifications in the network namespace it was opened in.
type Monitor struct {
	sources []source
	// events is written by Run's goroutines and closed when Run ends. A few places only: what waits, waits in
	// the kernel.
	events chan dataplane.Event
}

// source is one socket and what makes events of its messages.
type source struct {
	conn   *netlink.Conn
	decode func(netlink.Message) []dataplane.Event
}

func mask(groups ...uint) (m uint32) {
	for _, g := range groups {
		m |= 1 << (g - 1)
	}
	return m
}

// Open subscribes in the calling thread's network namespace. What happens from now on will be reported, so read the
// kernel's state after Open.
func Open() (*Monitor, error) {
	m := &Monitor{events: make(chan dataplane.Event, 64)}
	chains := &chainDecoder{}
	for _, s := range []struct {
		protocol int
		groups   uint32
		decode   func(netlink.Message) []dataplane.Event
	}{
		{unix.NETLINK_ROUTE, mask(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE), decodeRoute},
		{unix.NETLINK_NETFILTER, mask(unix.NFNLGRP_NFTABLES), chains.decode},
	} {
		conn, err := netlink.Dial(s.protocol, &netlink.Config{Groups: s.groups})
		if err == nil {
			m.sources = append(m.sources, source{conn, s.decode})
			err = conn.SetReadBuffer(receiveBuffer)
		}
		if err != nil {
			m.close()
			return nil, fmt.Errorf("subscribe to netlink protocol %d: %w", s.protocol, err)
		}
	}
	return m, nil
}

// Events is where Run sends. When nobody reads it the kernel queues, and drops when its queue is full; an
// EventLost says so, after which there are no gaps until the next. Run closes the channel when it returns.
func (m *Monitor) Events() <-chan dataplane.Event { return m.events }

// Run reports until the context ends, and closes the sockets. It returns nil when the context
// ended, otherwise why the subscription broke. It can run once.
func (m *Monitor) Run(ctx context.Context) error {
	defer close(m.events)
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, m.close) // which ends the goroutines' reads
	defer stop()
	for _, s := range m.sources {
		group.Go(func() error { return m.read(ctx, s) })
	}
	return group.Wait()
}

func (m *Monitor) close() {
	for _, s := range m.sources {
		s.conn.Close()
	}
}

func (m *Monitor) read(ctx context.Context, s source) error {
	for {
		msgs, err := s.conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			if err := s.drain(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			if !m.send(ctx, dataplane.Event{Kind: dataplane.EventLost}) {
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("receive netlink notifications: %w", err)
		}
		for _, msg := range msgs {
			for _, e := range s.decode(msg) {
				if !m.send(ctx, e) {
					return nil
				}
			}
		}
	}
}

// drain empties the queue, since the kernel goes on dropping, and says so no more, until then (Linux
// 6.18): what is read back from now on is missed by no notification.
func (s source) drain(ctx context.Context) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("empty the netlink queue: %w", err)
	}
	err = raw.Control(func(fd uintptr) {
		var one [1]byte // the rest of each message is discarded
		for ctx.Err() == nil {
			_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_DONTWAIT)
			if err != nil && err != unix.ENOBUFS && err != unix.EINTR {
				return // EAGAIN: it is empty; the next Receive says what else it is
			}
		}
	})
	if err != nil {
		return fmt.Errorf("empty the netlink queue: %w", err)
	}
	return nil
}

// send reports whether the event was taken before the context ended.
func (m *Monitor) send(ctx context.Context, e dataplane.Event) bool {
	select {
	case m.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
