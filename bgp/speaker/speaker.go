// Package speaker runs BGP: it keeps the sessions of a bgp.Config, announces the node's own
// destinations and collects what the peers announce. It is the only package that
// imports GoBGP, so that a major version of it changes this package alone.
//
// It announces the node's own destinations; a route reflector also announces what it has learned. What it accepts
// depends on the peer (confirm.go): from a node what IPAM has on it, from a route reflector what is in the pools, and
// from a router outside everything that can be routed, including a default route. Package felix/routing refuses routes
// whose next hop contradicts IPAM.
//
// It never touches the kernel's routes; Felix's agent does, from Routes. Run owns the
// embedded server on its own goroutine; the other methods may be called from any.
// GoBGP keeps settings in process-wide variables: run one Speaker a process.
package speaker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/maneki-net/maneki/bgp"
)

// Options of a Speaker. The zero value is what production uses.
type Options struct {
	// DeferralTime is how long after the first configuration Status says Synced though a peer
	// has not sent its End-of-RIB; 0 is bgp.DefaultRestartTime.
	DeferralTime time.Duration
	// ExcessDelay is how long the session of a peer that exceeds a limit stays closed the first time; 0 is a minute.
	ExcessDelay time.Duration
}

// Speaker is a node's BGP speaker.
type Speaker struct {
	log      *slog.Logger
	deferral time.Duration
	// excessDelay is Options.ExcessDelay, or its default.
	excessDelay time.Duration
	// wanted holds the newest configuration that Run has not taken yet; depth 1, written by
	// Configure, which replaces what is in it.
	wanted  chan bgp.Config
	changes chan struct{}

	rib rib

	// mu guards what Run publishes.
	mu     sync.Mutex
	status bgp.Status
}

// New makes a Speaker that is off until Run is called and a configuration arrives.
func New(log *slog.Logger, options Options) *Speaker {
	return &Speaker{
		log:         log,
		deferral:    cmp.Or(options.DeferralTime, bgp.DefaultRestartTime),
		excessDelay: cmp.Or(options.ExcessDelay, firstExcessDelay),
		wanted:      make(chan bgp.Config, 1),
		changes:     make(chan struct{}, 1),
		rib:         newRIB(),
	}
}

// Run keeps the speaker going until ctx ends, and returns nil then. It leaves the sessions open: the
// end of the process closes them without a CEASE, so that peers keep the node's routes for the
// restart time (RFC 4724). To withdraw everything instead, Configure a zero Config first and
// wait until Status says so.
func (s *Speaker) Run(ctx context.Context) error {
	r := &run{Speaker: s, server: newEmbedded(s.log, s.rib.forget), wake: make(chan struct{}, 1),
		since:   map[netip.Addr]observed{},
		started: time.Now(), excesses: map[netip.Addr]excess{}}
	if err := r.watch(ctx); err != nil {
		return fmt.Errorf("watch BGP server: %w", err)
	}
	return r.loop(ctx)
}

// Configure makes config the speaker's configuration as soon as Run gets to it; the newest wins.
// Sessions that it does not change go on undisturbed. It does not block. The first one with
// peers should have all of Announce: a peer drops what it kept of an earlier process and is not announced
// again.
func (s *Speaker) Configure(config bgp.Config) {
	for {
		select {
		case s.wanted <- config:
			return
		default:
		}
		select {
		case <-s.wanted:
		default:
		}
	}
}

// Changes receives when Routes or Status may have changed; several changes give one
// message. It is never closed and is for one reader.
func (s *Speaker) Changes() <-chan struct{} { return s.changes }

// Routes are the best routes learned from peers, sorted by destination, without the node's own
// destinations. Those of a peer that restarts gracefully stay until it has sent its End-of-RIB, or its
// restart time is over (RFC 4724). The slice must not be modified. Until Status says Synced, a
// route of an earlier process that is not among them must not be taken from the kernel; so ask for the
// Status before the Routes.
func (s *Speaker) Routes() []bgp.Route {
	return s.rib.snapshot()
}

// Status is the speaker's present state. Its slices must not be modified.
func (s *Speaker) Status() bgp.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}
