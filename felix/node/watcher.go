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

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/ipam"
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
	EnsureTunnelAddress(ctx context.Context, host ipam.Host, pools []ipam.Pool, kind ipam.TunnelKind, family ipam.Family) (netip.Addr, error)
	ReleaseTunnelAddress(ctx context.Context, node string, kind ipam.TunnelKind, family ipam.Family) error
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
	pools chan []ipam.Pool // depth 1, the newest; written by SetTunnelPools, read by Run
	check chan struct{}    // depth 1; written by Check, read by Run
	facts chan Facts       // unbuffered; written by Run
	used  atomic.Pointer[[]ipam.Lease]

	// The rest is Run's.
	tunnelPools []ipam.Pool // as SetTunnelPools said last
	poolsKnown  bool        // it said something
	published   *Facts      // the last; nil before the first
	written     *written    // nil before Run
}

// NewWatcher makes a Watcher; Run does the work.
func NewWatcher(opts Options) *Watcher {
	return &Watcher{opts: opts, pools: make(chan []ipam.Pool, 1), check: make(chan struct{}, 1), facts: make(chan Facts)}
}

// SetTunnelPools says which pools use VXLAN. Until it was called no tunnel address is allocated or released. It
// does not block; one goroutine calls it.
func (w *Watcher) SetTunnelPools(pools []ipam.Pool) {
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
func (w *Watcher) Leases() []ipam.Lease {
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
	if w.written, err = readWritten(w.opts.Written); err != nil {
		w.opts.Log.Warn("addresses that differ from the Node's are taken for a user's", "error", err)
	}
	retry := firstRetry
	for {
		wait := recheck
		if err := w.update(ctx); err != nil && ctx.Err() == nil {
			w.opts.Log.Warn("node facts incomplete, will retry", "node", w.opts.Node, "error", err, "retry", retry)
			wait, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
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
	var leases []ipam.Lease
	for _, family := range w.opts.Families {
		if tunnel := facts.Of(family).Tunnel; tunnel.IsValid() {
			handle := ipam.VXLAN.Handle(ipam.Family(family), w.opts.Node)
			leases = append(leases, ipam.Lease{Handle: handle, Addr: tunnel})
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
	if facts.Refused, err = w.written.note(annotations(&facts), &facts); err != nil {
		return err
	}
	facts.Labels = node.Labels
	for _, family := range w.opts.Families {
		if w.published != nil {
			facts.Of(family).Tunnel = w.published.Of(family).Tunnel // which the Node may not say yet
		} else {
			facts.Of(family).Tunnel, _ = netip.ParseAddr(node.Annotations[annotationsOf(family).tunnel])
		}
	}
	w.publish(ctx, facts)
	if w.poolsKnown {
		for _, family := range w.opts.Families {
			addr, tunnelErr := w.tunnel(ctx, &facts, family)
			if tunnelErr != nil {
				err = errors.Join(err, tunnelErr)
				continue
			}
			facts.Of(family).Tunnel = addr
		}
	}
	err = errors.Join(err, w.annotate(ctx, node.Annotations, annotations(&facts)))
	w.publish(ctx, facts)
	return err
}

func (w *Watcher) internalAddrs(node *corev1.Node) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range node.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if a.Type == corev1.NodeInternalIP && err == nil && slices.Contains(w.opts.Families, dataplane.FamilyOf(addr.Unmap())) {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// tunnel returns the tunnel address of a family: allocated when a pool uses VXLAN, released otherwise.
func (w *Watcher) tunnel(ctx context.Context, facts *Facts, family dataplane.Family) (netip.Addr, error) {
	used := slices.DeleteFunc(slices.Clone(w.tunnelPools), func(p ipam.Pool) bool { return dataplane.FamilyOf(p.CIDR.Addr()) != family })
	if len(used) > 0 && facts.Of(family).Addr.IsValid() {
		addr, err := w.opts.IPAM.EnsureTunnelAddress(ctx, ipam.Host{Name: w.opts.Node, Labels: facts.Labels}, used, ipam.VXLAN, ipam.Family(family))
		if err != nil {
			return netip.Addr{}, fmt.Errorf("allocate %s tunnel address: %w", family, err)
		}
		return addr, nil
	}
	if facts.Of(family).Tunnel.IsValid() {
		if err := w.opts.IPAM.ReleaseTunnelAddress(ctx, w.opts.Node, ipam.VXLAN, ipam.Family(family)); err != nil {
			return netip.Addr{}, fmt.Errorf("release %s tunnel address: %w", family, err)
		}
	}
	return netip.Addr{}, nil
}

// annotationKeys are the annotations of one IP family.
type annotationKeys struct{ address, tunnel, mac string }

func annotationsOf(family dataplane.Family) annotationKeys {
	if family == dataplane.IPv6 {
		return annotationKeys{v3.NodeIPv6Address, v3.NodeIPv6VXLANTunnelAddr, v3.NodeVXLANTunnelMACAddrV6}
	}
	return annotationKeys{v3.NodeIPv4Address, v3.NodeIPv4VXLANTunnelAddr, v3.NodeVXLANTunnelMACAddr}
}

// annotations returns what the Node is to say; an empty value is that the key is absent.
func annotations(facts *Facts) map[string]string {
	values := map[string]string{}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		keys, a := annotationsOf(family), facts.Of(family)
		values[keys.address], values[keys.tunnel], values[keys.mac] = "", "", ""
		if a.Addr.IsValid() {
			values[keys.address] = cmp.Or(a.User, a.Addr.String())
		}
		if a.Tunnel.IsValid() {
			values[keys.tunnel], values[keys.mac] = a.Tunnel.String(), wire.TunnelMAC(facts.Name, uint8(family)).String()
		}
	}
	return values
}

// annotate makes the Node say these values, if what it said last differs.
func (w *Watcher) annotate(ctx context.Context, said, values map[string]string) error {
	if maps.Equal(said, merged(said, values)) {
		return nil
	}
	_, err := datastore.Modify(ctx, w.opts.Store, datastore.Nodes, datastore.Key{Name: w.opts.Node}, func(node *corev1.Node) error {
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
		if all[key] = value; value == "" {
			delete(all, key)
		}
	}
	return all
}
