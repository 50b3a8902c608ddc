package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/ipam"
)

// The annotations of a Node, Calico's.
const (
	annotationIPv4     = "projectcalico.org/IPv4Address"
	annotationIPv6     = "projectcalico.org/IPv6Address"
	annotationTunnelV4 = "projectcalico.org/IPv4VXLANTunnelAddr"
	annotationTunnelV6 = "projectcalico.org/IPv6VXLANTunnelAddr"
	annotationMACV4    = "projectcalico.org/VXLANTunnelMACAddr"
	annotationMACV6    = "projectcalico.org/VXLANTunnelMACAddrV6"
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

// Options of a Watcher; all are required.
type Options struct {
	Node       string
	Store      datastore.Store
	IPAM       IPAM
	Interfaces Interfaces
	// Families are those that Felix programs.
	Families   []dataplane.Family
	MTUPattern *regexp.Regexp
	Log        *slog.Logger
}

// Watcher keeps the facts up to date.
type Watcher struct {
	opts  Options
	pools chan []ipam.Pool // depth 1, the newest; written by SetTunnelPools, read by Run
	check chan struct{}    // depth 1; written by Check, read by Run
	facts chan Facts       // unbuffered; written by Run
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

// Facts is where Run sends each new state.
func (w *Watcher) Facts() <-chan Facts { return w.facts }

// Run works until ctx ends, and returns nil then.
func (w *Watcher) Run(ctx context.Context) error {
	var pools []ipam.Pool
	poolsKnown := false
	var published *Facts
	publish := func(facts Facts) {
		if published != nil && reflect.DeepEqual(*published, facts) {
			return
		}
		select {
		case w.facts <- facts:
			published = &facts
		case <-ctx.Done():
		}
	}
	retry := firstRetry
	for {
		wait := recheck
		if err := w.update(ctx, pools, poolsKnown, published, publish); err != nil && ctx.Err() == nil {
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
		case pools = <-w.pools:
			poolsKnown = true
		case <-w.check:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// update makes and publishes the facts, and tells the cluster. The addresses are published before
// the tunnel's are known: routes within the subnet need no more.
func (w *Watcher) update(ctx context.Context, pools []ipam.Pool, poolsKnown bool, former *Facts, publish func(Facts)) error {
	node, err := w.node(ctx)
	if err != nil {
		return err
	}
	facts, err := Discover(w.opts.Interfaces, w.opts.Node, w.internalAddrs(node), w.opts.MTUPattern)
	if err != nil {
		return err
	}
	facts.Labels = node.Labels
	for _, family := range w.opts.Families {
		if former != nil {
			facts.Of(family).Tunnel = former.Of(family).Tunnel // which the Node may not say yet
		} else {
			facts.Of(family).Tunnel, _ = netip.ParseAddr(node.Annotations[tunnelAnnotation(family)])
		}
	}
	publish(facts)
	if poolsKnown {
		for _, family := range w.opts.Families {
			addr, tunnelErr := w.tunnel(ctx, &facts, pools, family)
			if tunnelErr != nil {
				err = errors.Join(err, tunnelErr)
				continue
			}
			facts.Of(family).Tunnel = addr
		}
	}
	err = errors.Join(err, w.annotate(ctx, node, w.annotations(&facts)))
	publish(facts)
	return err
}

func (w *Watcher) node(ctx context.Context) (*corev1.Node, error) {
	object, err := w.opts.Store.Get(ctx, datastore.Nodes, datastore.Key{Name: w.opts.Node})
	if err != nil {
		return nil, fmt.Errorf("read own Node %s: %w", w.opts.Node, err)
	}
	node, ok := object.(*corev1.Node)
	if !ok {
		return nil, fmt.Errorf("read own Node %s: got a %T", w.opts.Node, object)
	}
	return node, nil
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

// tunnel gives the tunnel address of a family: allocated when a pool uses VXLAN, released otherwise.
func (w *Watcher) tunnel(ctx context.Context, facts *Facts, pools []ipam.Pool, family dataplane.Family) (netip.Addr, error) {
	used := slices.DeleteFunc(slices.Clone(pools), func(p ipam.Pool) bool { return dataplane.FamilyOf(p.CIDR.Addr()) != family })
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

func tunnelAnnotation(family dataplane.Family) string {
	if family == dataplane.IPv6 {
		return annotationTunnelV6
	}
	return annotationTunnelV4
}

// annotations gives what the Node is to say; an empty value is that the key is absent.
func (w *Watcher) annotations(facts *Facts) map[string]string {
	values := map[string]string{annotationIPv4: "", annotationIPv6: "", annotationTunnelV4: "", annotationTunnelV6: "",
		annotationMACV4: "", annotationMACV6: ""}
	set := func(family dataplane.Family, address, tunnel, mac string) {
		a := facts.Of(family)
		if a.Addr.IsValid() {
			values[address] = a.Addr.String()
		}
		if a.Tunnel.IsValid() {
			values[tunnel], values[mac] = a.Tunnel.String(), TunnelMAC(facts.Name, family).String()
		}
	}
	set(dataplane.IPv4, annotationIPv4, annotationTunnelV4, annotationMACV4)
	set(dataplane.IPv6, annotationIPv6, annotationTunnelV6, annotationMACV6)
	return values
}

// annotate writes the annotations if they differ. The kubelet writes the same object, so a conflict is no
// failure.
func (w *Watcher) annotate(ctx context.Context, node *corev1.Node, values map[string]string) error {
	for {
		changed := maps.Clone(node.Annotations)
		if changed == nil {
			changed = map[string]string{}
		}
		for key, value := range values {
			if changed[key] = value; value == "" {
				delete(changed, key)
			}
		}
		if maps.Equal(changed, node.Annotations) {
			return nil
		}
		node.Annotations = changed
		_, err := w.opts.Store.Update(ctx, datastore.Nodes, node)
		if err == nil {
			w.opts.Log.Info("node annotations written", "node", w.opts.Node)
			return nil
		}
		if !errors.Is(err, datastore.ErrConflict) {
			return fmt.Errorf("annotate own Node %s: %w", w.opts.Node, err)
		}
		if node, err = w.node(ctx); err != nil {
			return err
		}
	}
}
