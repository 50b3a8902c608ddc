package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/backoff"
	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/wire"
)

// How long to wait after an attempt: after one that failed, doubling, and after one that did not.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	recheck    = 90 * time.Second
)

// IPAM allocates tunnel addresses; an *ipam.Client does.
type IPAM interface {
	EnsureTunnelAddress(ctx context.Context, host ipam.Host, pools []ipam.Pool, kind encap.Kind,
		family ipam.Family) (netip.Addr, error)
	ReleaseTunnelAddress(ctx context.Context, node string, kind encap.Kind, family ipam.Family) error
}

// Options of a Watcher; all but Written are required.
type Options struct {
	Node       string
	Store      datastore.Store
	IPAM       IPAM
	Interfaces Interfaces
	// Families are those that Felix programs.
	Families   []dataplane.Family
	MTUPattern *regexp.Regexp
	// Written is the file that keeps which addresses Felix wrote, and not a user; empty for none.
	Written string
	Log     *slog.Logger
}

// Watcher keeps the facts up to date.
type Watcher struct {
	opts  Options
	pools chan TunnelPools // depth 1, the newest; written by SetTunnelPools, read by Run
	check chan struct{}    // depth 1; written by Check, read by Run
	facts chan Facts       // unbuffered; written by Run
	used  atomic.Pointer[[]block.Lease]

	// The rest is Run's.
	tunnelPools TunnelPools // as SetTunnelPools said last
	poolsKnown  bool        // it said something
	published   *Facts      // the last; nil before the first
	written     *written    // nil before Run
}

// NewWatcher makes a Watcher; Run does the work.
func NewWatcher(opts Options) *Watcher {
	return &Watcher{opts: opts, pools: make(chan TunnelPools, 1), check: make(chan struct{}, 1),
		facts: make(chan Facts)}
}

// TunnelPools are the pools that use tunnels, by the tunnel's kind.
type TunnelPools map[encap.Kind][]ipam.Pool

// SetTunnelPools says which pools use tunnels. Until it was called no tunnel address is allocated or released. It does
// not block; one goroutine calls it.
func (w *Watcher) SetTunnelPools(pools TunnelPools) {
	select {
	case <-w.pools:
	default:
	}
	w.pools <- pools
}

// Check looks again soon: an address of the node may have changed. It does not block.
func (w *Watcher) Check() {
	select {
	case w.check <- struct{}{}:
	default:
	}
}

// Leases returns the addresses of the node's tunnels, whatever IPAM says. It may be called from any goroutine.
func (w *Watcher) Leases() []block.Lease {
	if leases := w.used.Load(); leases != nil {
		return *leases
	}
	return nil
}

// Facts is where Run sends each new state.
func (w *Watcher) Facts() <-chan Facts { return w.facts }

// Run works until ctx ends, and returns nil then.
func (w *Watcher) Run(ctx context.Context) error {
	var err error
	w.written, err = readWritten(w.opts.Written)
	if err != nil {
		w.opts.Log.Warn("addresses that differ from the Node's are taken for a user's", "error", err)
	}
	retries := backoff.Backoff{First: firstRetry, Last: lastRetry}
	for {
		wait := recheck
		if err := w.update(ctx); err != nil && ctx.Err() == nil {
			wait = retries.Next()
			w.opts.Log.Warn("node facts incomplete, will retry", "node", w.opts.Node, "error", err, "retry", wait)
		} else {
			retries.Reset()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case w.tunnelPools = <-w.pools:
			w.poolsKnown = true
		case <-w.check:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (w *Watcher) publish(ctx context.Context, facts Facts) {
	var leases []block.Lease
	for _, a := range derive.TunnelAnnotations {
		if addr := facts.Of(dataplane.Family(a.Family)).Tunnels[a.Kind]; addr.IsValid() {
			handle := ipam.TunnelHandle(a.Kind, ipam.Family(a.Family), w.opts.Node)
			leases = append(leases, block.Lease{Handle: handle, Addr: addr})
		}
	}
	w.used.Store(&leases)
	if w.published != nil && reflect.DeepEqual(*w.published, facts) {
		return
	}
	select {
	case w.facts <- facts:
		w.published = &facts
	case <-ctx.Done():
	}
}

// update makes and publishes the facts, and tells the cluster. The addresses are published before
// the tunnel's are known: routes within the subnet need no more.
func (w *Watcher) update(ctx context.Context) error {
	node, err := datastore.Get[*corev1.Node](ctx, w.opts.Store, datastore.Nodes, datastore.Key{Name: w.opts.Node})
	if err != nil {
		return fmt.Errorf("read own Node: %w", err)
	}
	facts, err := discover(w.opts.Interfaces, w.opts.Node, w.opts.MTUPattern)
	if err == nil {
		err = w.written.own(&facts, node, w.internalAddrs(node), w.opts.Families)
	}
	if err != nil {
		return err
	}
	facts.Refused, err = w.written.note(annotations(&facts), &facts)
	if err != nil {
		return err
	}
	facts.Labels = node.Labels
	w.knownTunnels(&facts, node)
	w.publish(ctx, facts)
	if w.poolsKnown {
		err = w.allocateTunnels(ctx, &facts)
	}
	err = errors.Join(err, w.annotate(ctx, node.Annotations, annotations(&facts)))
	w.publish(ctx, facts)
	return err
}

func (w *Watcher) internalAddrs(node *corev1.Node) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range node.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if a.Type == corev1.NodeInternalIP && err == nil && slices.Contains(w.opts.Families,
			dataplane.FamilyOf(addr.Unmap())) {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// knownTunnels sets the tunnel addresses that the node has had so far.
func (w *Watcher) knownTunnels(facts *Facts, node *corev1.Node) {
	for _, a := range derive.TunnelAnnotations {
		family := dataplane.Family(a.Family)
		if !slices.Contains(w.opts.Families, family) {
			continue
		}
		addr, _ := netip.ParseAddr(node.Annotations[a.Address])
		if w.published != nil {
			addr = w.published.Of(family).Tunnels[a.Kind] // the Node may not say it yet
		}
		facts.Of(family).SetTunnel(a.Kind, addr)
	}
}

// allocateTunnels sets the tunnel addresses. One is allocated while a pool uses the tunnel, and released otherwise.
func (w *Watcher) allocateTunnels(ctx context.Context, facts *Facts) error {
	var errs []error
	for _, a := range derive.TunnelAnnotations {
		family := dataplane.Family(a.Family)
		if !slices.Contains(w.opts.Families, family) {
			continue
		}
		addr, err := w.allocateTunnel(ctx, facts, a.Kind, family)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		facts.Of(family).SetTunnel(a.Kind, addr)
	}
	return errors.Join(errs...)
}

// allocateTunnel returns the tunnel address of a kind and family, invalid if none is to be there.
func (w *Watcher) allocateTunnel(ctx context.Context, facts *Facts, kind encap.Kind, family dataplane.Family) (
	netip.Addr, error) {
	var used []ipam.Pool
	for _, p := range w.tunnelPools[kind] {
		if dataplane.FamilyOf(p.CIDR.Addr()) == family {
			used = append(used, p)
		}
	}
	if len(used) > 0 && facts.Of(family).Addr.IsValid() {
		host := ipam.Host{Name: w.opts.Node, Labels: facts.Labels}
		addr, err := w.opts.IPAM.EnsureTunnelAddress(ctx, host, used, kind, ipam.Family(family))
		if err != nil {
			return netip.Addr{}, fmt.Errorf("allocate %s tunnel address: %w", family, err)
		}
		return addr, nil
	}
	if facts.Of(family).Tunnels[kind].IsValid() {
		if err := w.opts.IPAM.ReleaseTunnelAddress(ctx, w.opts.Node, kind, ipam.Family(family)); err != nil {
			return netip.Addr{}, fmt.Errorf("release %s tunnel address: %w", family, err)
		}
	}
	return netip.Addr{}, nil
}

// addressAnnotation returns the annotation that has the node's address of a family.
func addressAnnotation(family dataplane.Family) string {
	if family == dataplane.IPv6 {
		return v3.NodeIPv6Address
	}
	return v3.NodeIPv4Address
}

// annotations returns what the Node is to say; an empty value is that the key is absent.
func annotations(facts *Facts) map[string]string {
	values := map[string]string{}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		key, a := addressAnnotation(family), facts.Of(family)
		values[key] = ""
		if a.Addr.IsValid() {
			values[key] = cmp.Or(a.User, a.Addr.String())
		}
	}
	for _, t := range derive.TunnelAnnotations {
		addr, mac := "", ""
		if a := facts.Of(dataplane.Family(t.Family)).Tunnels[t.Kind]; a.IsValid() {
			addr, mac = a.String(), wire.TunnelMAC(facts.Name, t.Family).String()
		}
		values[t.Address] = addr
		if t.MAC != "" {
			values[t.MAC] = mac
		}
	}
	return values
}

// annotate makes the Node say these values, if what it said last differs.
func (w *Watcher) annotate(ctx context.Context, said, values map[string]string) error {
	if maps.Equal(said, merged(said, values)) {
		return nil
	}
	_, err := datastore.Modify(ctx, w.opts.Store, datastore.Nodes, datastore.Key{Name: w.opts.Node},
		func(node *corev1.Node) error {
			node.Annotations = merged(node.Annotations, values)
			return nil
		})
	if err != nil {
		return fmt.Errorf("annotate own Node: %w", err)
	}
	w.opts.Log.Info("node annotations written", "node", w.opts.Node)
	return nil
}

// merged returns the annotations with the values in place.
func merged(annotations, values map[string]string) map[string]string {
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range values {
		all[key] = value
		if value == "" {
			delete(all, key)
		}
	}
	return all
}
