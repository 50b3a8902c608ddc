package node_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/wire"
)

// interfaces is a host with the addresses of eth0.
type interfaces []string

func (i interfaces) LinkList() ([]netlink.Link, error) {
	link := func(name string, mtu int) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}}
	}
	return []netlink.Link{link("eth0", 1400), link("eth1", 9000), link("cali1", 1000)}, nil
}

func (i interfaces) AddrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	if link.Attrs().Name != "eth0" {
		return nil, nil
	}
	var addrs []netlink.Addr
	for _, s := range i {
		ip, subnet, err := net.ParseCIDR(s)
		if err != nil {
			return nil, err
		}
		if four := ip.To4(); (four != nil) != (family == dataplane.IPv4.AF()) {
			continue
		}
		addrs = append(addrs, netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: subnet.Mask}})
	}
	return addrs, nil
}

// failing fails writes of Nodes as often as it says.
type failing struct {
	datastore.Store
	err   error
	times int
}

func (f *failing) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if kind == datastore.Nodes && f.times > 0 {
		f.times--
		return nil, f.err
	}
	return f.Store.Update(ctx, kind, object)
}

func annotations(t *testing.T, store datastore.Store) map[string]string {
	t.Helper()
	n, err := datastore.Get[*corev1.Node](t.Context(), store, datastore.Nodes, datastore.Key{Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	return n.Annotations
}

// TestWatcher follows a node from its first facts over a tunnel address to the end of the pool's VXLAN, with
// a datastore that fails in between.
func TestWatcher(t *testing.T) {
	for name, failure := range map[string]error{"no failure": nil, "conflict": datastore.ErrConflict,
		"unavailable": errors.Join(datastore.ErrUnavailable)} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testWatcher(t, failure) }) })
	}
}

func testWatcher(t *testing.T, failure error) {
	store := &failing{Store: memory.New(), err: failure}
	if failure != nil {
		store.times = 3
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"rack": "1"},
		Annotations: map[string]string{"other": "stays"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n1"},
			{Type: corev1.NodeInternalIP, Address: "172.30.0.11"}}}}
	resource := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: v3.IPPoolSpec{CIDR: "10.65.0.0/16", VXLANMode: v3.VXLANModeAlways}}
	for kind, object := range map[datastore.Kind]datastore.Object{datastore.Nodes: n, datastore.IPPools: resource} {
		if _, err := store.Create(t.Context(), kind, object); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := ipam.PoolOf(resource)
	if err != nil {
		t.Fatal(err)
	}
	w := node.NewWatcher(node.Options{Node: "n1", Store: store, IPAM: ipam.New(store),
		Interfaces: interfaces{"172.30.0.11/24", "fd00::1/64"},
		Families:   []dataplane.Family{dataplane.IPv4}, MTUPattern: regexp.MustCompile("^eth"),
		Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()

	first := <-w.Facts()
	if first.IPv4.Addr != netip.MustParsePrefix("172.30.0.11/24") || first.IPv4.Device != "eth0" || first.MTU != 1400 ||
		first.Labels["rack"] != "1" {
		t.Errorf("first facts: %+v", first)
	}
	if first.IPv6.Addr.IsValid() {
		t.Error("an address that the Node does not have became its own")
	}
	w.SetTunnelPools(node.TunnelPools{encap.VXLAN: {pool}})
	tunnelled := <-w.Facts()
	if !pool.CIDR.Contains(tunnelled.IPv4.Tunnels[encap.VXLAN]) {
		t.Errorf("tunnel address %s is not of the pool", tunnelled.IPv4.Tunnels[encap.VXLAN])
	}
	if got := w.Leases(); !slices.Equal(got, []block.Lease{{Handle: "vxlan-tunnel-addr-n1",
		Addr: tunnelled.IPv4.Tunnels[encap.VXLAN]}}) {
		t.Errorf("leases %v", got)
	}
	time.Sleep(time.Minute) // of the bubble's clock: what failed was tried again
	want := map[string]string{"other": "stays", "projectcalico.org/IPv4Address": "172.30.0.11/24",
		"projectcalico.org/IPv4VXLANTunnelAddr": tunnelled.IPv4.Tunnels[encap.VXLAN].String(),
		"projectcalico.org/VXLANTunnelMACAddr":  wire.TunnelMAC("n1", 4).String()}
	if diff := cmp.Diff(want, annotations(t, store)); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	w.SetTunnelPools(nil)
	if last := <-w.Facts(); len(last.IPv4.Tunnels) > 0 {
		t.Errorf("tunnel address %s without a pool that needs it", last.IPv4.Tunnels)
	}
	if got := w.Leases(); len(got) > 0 {
		t.Errorf("leases without a tunnel: %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	delete(want, "projectcalico.org/IPv4VXLANTunnelAddr")
	delete(want, "projectcalico.org/VXLANTunnelMACAddr")
	if diff := cmp.Diff(want, annotations(t, store)); diff != "" {
		t.Errorf("annotations without a tunnel (-want +got):\n%s", diff)
	}
}

func TestDiscoverForeignAddress(t *testing.T) {
	_, err := node.Discover(interfaces{"172.30.0.11/24"}, "n1", []netip.Addr{netip.MustParseAddr("172.30.0.99")},
		regexp.MustCompile("^eth"))
	if err == nil {
		t.Error("an address that no interface carries is accepted")
	}
}
