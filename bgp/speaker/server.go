package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	gobgp "github.com/osrg/gobgp/v3/pkg/server"

	"github.com/maneki-net/maneki/bgp"
)

// embedded is a GoBGP server and what it has been told so far. Run's goroutine owns it.
type embedded struct {
	bgp *gobgp.BgpServer
	log *slog.Logger
	// global is the configuration that the server was started with; only its ASNumber, RouterID,
	// ListenPort, ListenOn and PassOn mean something. Zero while stopped.
	global bgp.Config
	// in, without Confirmed, and out are the policies.
	in, out direction
	// confirmed is what the sets of in have, by peer.
	confirmed map[netip.Addr][]netip.Prefix
	// ttlRules are those that the listeners were given (gtsm.go), by whether they are of IPv6.
	ttlRules  map[bool][]ttlRule
	announced map[netip.Prefix]bool
	peers     map[netip.Addr]bgp.Peer
	// restarting: peers may still hold the routes of an earlier process and are told that this one
	// restarts (RFC 4724 section 4.1); until endRestart.
	restarting bool
	anchor     *anchor
	// removed is called after a peer was removed, because it is no longer wanted or has changed.
	removed func(netip.Addr)
}

// newEmbedded makes a server that is stopped. GoBGP v3 has no way to end the goroutine; it
// lives until the process ends.
func newEmbedded(log *slog.Logger, removed func(netip.Addr)) *embedded {
	server := gobgp.NewBgpServer(gobgp.LoggerOption(&serverLog{log: log}))
	go server.Serve()
	return &embedded{
		bgp: server, log: log, restarting: true, removed: removed,
		ttlRules: map[bool][]ttlRule{}, announced: map[netip.Prefix]bool{}, peers: map[netip.Addr]bgp.Peer{},
	}
}

// apply makes the least changes that lead to config. What failed is missing from the embedded's
// fields, so that the next apply tries it again.
func (e *embedded) apply(ctx context.Context, config bgp.Config) error {
	if config.ASNumber == 0 {
		return e.stop(ctx)
	}
	if !sameGlobal(e.global, config) || lost(e.global.PassOn, config.PassOn) {
		if err := e.stop(ctx); err != nil {
			return err
		}
	}
	// Without peers the server does not listen. Peers are removed before their limits are.
	if len(config.Peers) == 0 {
		return e.stop(ctx)
	}
	if err := e.start(ctx, config); err != nil {
		return err
	}
	removed := e.removePeers(ctx, config.Peers)
	if err := e.applyPolicies(ctx, config); err != nil {
		return errors.Join(removed, err)
	}
	// Own destinations come first, so that a new session's first updates, and the End-of-RIB after
	// them, are complete.
	if err := e.applyAnnounced(ctx, config.Announce); err != nil {
		return errors.Join(removed, err)
	}
	e.applyTTLSecurity(config.Peers)
	return errors.Join(removed, e.addPeers(ctx, config.Peers))
}

// sameGlobal reports whether b can be reached from a without a new server.
func sameGlobal(a, b bgp.Config) bool {
	return a.ASNumber == b.ASNumber && a.RouterID == b.RouterID && a.ListenPort == b.ListenPort &&
		slices.Equal(a.ListenOn, b.ListenOn)
}

// lost reports whether a pool of before is not in after. GoBGP does not withdraw what a
// stricter export policy stops, so the sessions have to start anew.
func lost(before, after []netip.Prefix) bool {
	return slices.ContainsFunc(before, func(p netip.Prefix) bool { return !slices.Contains(after, p) })
}

// stop ends every session with a CEASE.
func (e *embedded) stop(ctx context.Context) error {
	if e.global.ASNumber == 0 {
		return nil
	}
	e.raiseAnchor(ctx)
	if err := e.bgp.StopBgp(ctx, &api.StopBgpRequest{}); err != nil {
		return fmt.Errorf("stop BGP server: %w", err)
	}
	e.global, e.in, e.out, e.confirmed = bgp.Config{}, direction{}, direction{}, nil
	clear(e.ttlRules)
	clear(e.announced)
	for addr := range e.peers {
		e.removed(addr)
	}
	clear(e.peers)
	return nil
}

func (e *embedded) start(ctx context.Context, config bgp.Config) error {
	if e.global.ASNumber != 0 {
		e.global.PassOn = config.PassOn
		return nil
	}
	err := e.bgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: config.ASNumber, RouterId: config.RouterID.String(),
		ListenPort: int32(config.ListenPort), ListenAddresses: listenOn(config), UseMultiplePaths: true,
	}})
	if err != nil {
		// Listeners that were opened before the failure are closed by StopBgp alone.
		return errors.Join(fmt.Errorf("start BGP server on port %d: %w", config.ListenPort, err),
			e.bgp.StopBgp(ctx, &api.StopBgpRequest{}))
	}
	e.global = config
	return nil
}

// listenOn are the addresses to listen on, with that of the restart anchor; none is all.
func listenOn(config bgp.Config) (addrs []string) {
	if len(config.ListenOn) == 0 {
		return nil
	}
	for _, addr := range append([]netip.Addr{anchorAddr}, config.ListenOn...) {
		addrs = append(addrs, addr.String())
	}
	return addrs
}

func (e *embedded) applyPolicies(ctx context.Context, config bgp.Config) error {
	lasting := config
	lasting.Confirmed = nil // applyConfirmed
	in, out := importPolicy(lasting), exportPolicy(config)
	sameIn, sameOut := reflect.DeepEqual(in, e.in), reflect.DeepEqual(out, e.out)
	if sameIn && sameOut {
		return e.applyConfirmed(ctx, config)
	}
	if err := e.setPolicies(ctx, importPolicy(config), out); err != nil {
		return err
	}
	e.in, e.out, e.confirmed = in, out, map[netip.Addr][]netip.Prefix{}
	for _, peer := range config.Peers {
		e.confirmed[peer.Addr] = config.Confirmed[peer.Node]
	}
	if len(e.peers) > 0 && !sameIn {
		if err := e.judgeAgain(ctx, ""); err != nil {
			return err
		}
	}
	if len(e.peers) == 0 || sameOut {
		return nil
	}
	err := e.bgp.ResetPeer(ctx, &api.ResetPeerRequest{Soft: true, Direction: api.ResetPeerRequest_OUT})
	if err != nil {
		return fmt.Errorf("announce again under a new export policy: %w", err)
	}
	return nil
}

func (e *embedded) setPolicies(ctx context.Context, in, out direction) error {
	err := e.bgp.SetPolicies(ctx, &api.SetPoliciesRequest{DefinedSets: slices.Concat(in.sets, out.sets),
		Policies: []*api.Policy{
			{Name: importPolicyName, Statements: in.statements}, {Name: exportPolicyName, Statements: out.statements}}})
	if err != nil {
		return fmt.Errorf("set BGP policies: %w", err)
	}
	for _, a := range []*api.PolicyAssignment{
		{Direction: api.PolicyDirection_IMPORT, Policies: []*api.Policy{{Name: importPolicyName}},
			DefaultAction: api.RouteAction_ACCEPT},
		{Direction: api.PolicyDirection_EXPORT, Policies: []*api.Policy{{Name: exportPolicyName}},
			DefaultAction: api.RouteAction_REJECT},
	} {
		a.Name = "global"
		if err := e.bgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: a}); err != nil {
			return fmt.Errorf("assign BGP policy %s: %w", a.Policies[0].Name, err)
		}
	}
	return nil
}

func (e *embedded) applyAnnounced(ctx context.Context, want []netip.Prefix) error {
	for dst := range e.announced {
		if slices.Contains(want, dst) {
			continue
		}
		if err := e.bgp.DeletePath(ctx, &api.DeletePathRequest{Path: ownPath(dst)}); err != nil {
			return fmt.Errorf("withdraw %s: %w", dst, err)
		}
		delete(e.announced, dst)
	}
	for _, dst := range want {
		if e.announced[dst] {
			continue
		}
		if _, err := e.bgp.AddPath(ctx, &api.AddPathRequest{Path: ownPath(dst)}); err != nil {
			return fmt.Errorf("announce %s: %w", dst, err)
		}
		e.announced[dst] = true
	}
	return nil
}

// removePeers removes peers that are no longer wanted or have changed. Like addPeers, it continues after a failure: one
// bad peer must not affect the others.
func (e *embedded) removePeers(ctx context.Context, want []bgp.Peer) error {
	var errs []error
	wanted := map[netip.Addr]bgp.Peer{}
	for _, peer := range want {
		wanted[peer.Addr] = peer
	}
	for addr, old := range e.peers {
		peer, keep := wanted[addr]
		old.Name, old.Global = peer.Name, peer.Global
		if keep && reflect.DeepEqual(old, peer) {
			e.peers[addr] = peer
			continue
		}
		if err := e.removePeer(ctx, addr); err != nil {
			errs = append(errs, err)
			continue
		}
		e.removed(addr)
	}
	return errors.Join(errs...)
}

func (e *embedded) addPeers(ctx context.Context, want []bgp.Peer) error {
	var errs []error
	if e.restarting {
		if err := e.dropAnchor(ctx); err != nil {
			e.log.Warn("graceful restart may lose routes at some peers", "error", err)
		}
	}
	for _, peer := range want {
		if _, ok := e.peers[peer.Addr]; ok {
			continue
		}
		errs = append(errs, e.addPeer(ctx, peer))
	}
	return errors.Join(errs...)
}

func (e *embedded) removePeer(ctx context.Context, addr netip.Addr) error {
	if err := e.bgp.DeletePeer(ctx, &api.DeletePeerRequest{Address: addr.String()}); err != nil {
		return fmt.Errorf("remove BGP peer %s: %w", addr, err)
	}
	delete(e.peers, addr)
	return nil
}

func (e *embedded) addPeer(ctx context.Context, peer bgp.Peer) error {
	if err := e.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: e.session(peer)}); err != nil {
		return fmt.Errorf("add BGP peer %s (%s): %w", peer.Name, peer.Addr, err)
	}
	e.peers[peer.Addr] = peer
	return nil
}

// renew makes a peer ready at once for the next session. After one has ended, or an attempt has failed, GoBGP turns its
// peer's connections away for five seconds, and when that makes the peer do the same the two may miss each other for
// long. No setting changes that, but a peer that was just added does not wait. The old one must be Idle: then there is
// nothing to send a CEASE to.
func (e *embedded) renew(ctx context.Context, peer bgp.Peer) error {
	if err := e.removePeer(ctx, peer.Addr); err != nil {
		return err
	}
	return e.addPeer(ctx, peer)
}

// endRestart tells GoBGP that this speaker's restart is over.
func (e *embedded) endRestart(ctx context.Context) {
	e.restarting = false
	e.raiseAnchor(ctx)
}
