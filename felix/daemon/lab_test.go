package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// limit is how long anything in the lab may take.
const limit = 30 * time.Second

// lab is a cluster of network namespaces on one datastore: nodes in two subnets, with a router between them in the
// test's own namespace, and pods behind the nodes.
type lab struct {
	store *memory.Store
	typha *typha.Local
	pools []ipam.Pool
	ipam  *ipam.Client
	// speakers are those of nodes with BGP, by node.
	speakers map[string]felix.Speaker
}

func newLab(t *testing.T) *lab {
	t.Helper()
	kerneltest.Enter(t)
	for i, addrs := range []string{"172.30.0.1/24 fd00:30::1/64", "172.31.0.1/24 fd00:31::1/64"} {
		bridge := fmt.Sprint("lan", i)
		kerneltest.Run(t, "ip link add "+bridge+" type bridge")
		kerneltest.Run(t, "ip link set "+bridge+" up")
		for _, addr := range strings.Fields(addrs) {
			kerneltest.Run(t, "ip addr add "+addr+" dev "+bridge+noDAD(addr))
		}
	}
	kerneltest.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	store := memory.New()
	l := &lab{store: store, typha: typha.NewLocal(typha.LocalOptions{Store: store}), ipam: ipam.New(store)}
	for name, cidr := range map[string]string{"v4": "10.65.0.0/16", "v6": "fd00:65::/64"} {
		pool := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v3.IPPoolSpec{CIDR: cidr, VXLANMode: v3.VXLANModeCrossSubnet, NATOutgoing: true}}
		l.create(t, datastore.IPPools, pool)
		known, err := ipam.PoolOf(pool)
		if err != nil {
			t.Fatal(err)
		}
		l.pools = append(l.pools, known)
	}
	l.create(t, datastore.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	l.background(t, l.typha.Run)
	return l
}

func noDAD(addr string) string {
	if strings.Contains(addr, ":") {
		return " nodad"
	}
	return ""
}

func (l *lab) create(t *testing.T, kind datastore.Kind, object datastore.Object) {
	t.Helper()
	if _, err := l.store.Create(t.Context(), kind, object); err != nil {
		t.Fatal(err)
	}
}

// background runs until the test ends.
func (l *lab) background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// machine is one node.
type machine struct {
	*lab
	name      string
	ns        *os.File
	journal   string
	agent     *felix.Agent
	watcher   *node.Watcher
	workloads []cniserver.Workload
	settings  map[string]string // beside those of every machine
	alone     bool              // Typha is out of its reach
	stop      func()
}

// addNode makes a node on a bridge, and its Node.
func (l *lab) addNode(t *testing.T, name, bridge, v4, v6 string) *machine {
	t.Helper()
	m := &machine{lab: l, name: name, ns: kerneltest.New(t), journal: filepath.Join(t.TempDir(), "stream")}
	kerneltest.Run(t, "ip link add "+name+" type veth peer name eth0")
	eth0, err := netlink.LinkByName("eth0")
	if err == nil {
		err = netlink.LinkSetNsFd(eth0, int(m.ns.Fd()))
	}
	if err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip link set "+name+" master "+bridge+" up")
	m.do(t, func() {
		kerneltest.Run(t, "ip link set lo up")
		kerneltest.Run(t, "ip link set eth0 up")
		kerneltest.Run(t, "ip addr add "+v4+"/24 dev eth0")
		kerneltest.Run(t, "ip addr add "+v6+"/64 dev eth0 nodad")
		kerneltest.Run(t, "ip route add default via "+netip.MustParsePrefix(v4+"/24").Masked().Addr().Next().String())
		kerneltest.Run(t, "ip -6 route add default via "+netip.MustParsePrefix(v6+
			"/64").Masked().Addr().Next().String())
	})
	l.create(t, datastore.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: v4}, {Type: corev1.NodeInternalIP, Address: v6}}}})
	m.start(t)
	return m
}

// do runs f in the machine's namespace, on a thread that ends with it.
func (m *machine) do(t *testing.T, f func()) { kerneltest.Do(t, m.ns, f) }

// start runs the machine's agent as the process does, but for what needs a cluster: BGP's routes come from the test if
// there are any, and pods are added by it.
func (m *machine) start(t *testing.T) {
	t.Helper()
	m.launch(t)
	eventually(t, func() error { return m.agent.Ready() })
}

// launch is start without waiting until the agent is ready.
func (m *machine) launch(t *testing.T) {
	t.Helper()
	ready := make(chan error, 1)
	m.stop = m.background(t, func(ctx context.Context) error {
		runtime.LockOSThread()
		if err := unix.Setns(int(m.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return m.run(ctx, t, ready)
	})
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
}

// silence is Typha out of reach.
type silence struct{ hub.Source }

func (silence) Next(ctx context.Context) (wire.Commit, error) {
	<-ctx.Done()
	return wire.Commit{}, ctx.Err()
}

func (m *machine) run(ctx context.Context, t *testing.T, ready chan<- error) error {
	log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("on", m.name)
	settings := map[string]string{"IptablesBackend": "nft", "DefaultEndpointToHostAction": "ACCEPT"}
	maps.Copy(settings, m.settings)
	local := []config.Source{{Name: "test", Values: settings}}
	c, err := config.Resolve(local...)
	if err != nil {
		return err
	}
	kernel, err := linux.Open(ctx, c)
	if err != nil {
		return err
	}
	defer kernel.Close()
	events, err := monitor.Open()
	if err != nil {
		return err
	}
	j := journal.Open(m.journal)
	defer j.Close()
	mtu := regexp.MustCompile(c.MTUIfacePattern)
	facts, err := felix.FactsOf(kernel.Links, j.State(), m.name, mtu)
	if err != nil {
		return err
	}
	m.watcher = node.NewWatcher(node.Options{Node: m.name, Store: m.store, IPAM: m.ipam, Interfaces: kernel.Links,
		Families: kernel.Dataplane.Families(), MTUPattern: mtu, Log: log})
	former := m.agent
	speaker := m.speakers[m.name]
	if speaker == nil {
		speaker = noSpeaker{}
	}
	source := hub.Source(m.typha.Source(m.name))
	if m.alone {
		source = silence{source}
	}
	m.agent = felix.NewAgent(onKernel(kernel, felix.Options{Node: m.name, Source: source, Whole: true, Journal: j,
		Events: events.Events(), Speaker: speaker, Facts: m.watcher, FirstFacts: facts,
		Local: local, Config: c, Metrics: felix.NewMetrics(prometheus.NewRegistry()), Log: log}))
	if former != nil {
		m.agent.Restore(m.workloads)
	}
	ready <- nil
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.watcher.Run(ctx) })
	group.Go(func() error { return events.Run(ctx) })
	err = m.agent.Run(ctx) // on this thread, for the commands that it runs
	return errors.Join(err, group.Wait())
}

// noSpeaker is a BGP speaker that is off.
type noSpeaker struct{}

func (noSpeaker) Configure(bgp.Config)     {}
func (noSpeaker) Changes() <-chan struct{} { return nil }
func (noSpeaker) Routes() []bgp.Route      { return nil }
func (noSpeaker) Status() bgp.Status       { return bgp.Status{} }

// pod is a pod's network namespace, with a TCP server on port 8080.
type pod struct {
	name  string
	on    *machine
	ns    *os.File
	addrs []netip.Addr
}

// addPod does what scheduler, kubelet and CNI server do. annotations are names and values.
func (m *machine) addPod(t *testing.T, name string, annotations ...string) *pod {
	t.Helper()
	p := &pod{name: name, on: m, ns: kerneltest.New(t)}
	meta := metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name},
		UID: types.UID("uid-" + name)}
	for i := 0; i < len(annotations); i += 2 {
		metav1.SetMetaDataAnnotation(&meta, annotations[i], annotations[i+1])
	}
	m.create(t, datastore.Pods, &corev1.Pod{
		ObjectMeta: meta,
		Spec:       corev1.PodSpec{NodeName: m.name}})
	object, err := m.store.Get(t.Context(), datastore.Pods, datastore.Key{Namespace: "shop", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	uid := string(object.GetUID())
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := m.agent.Endpoint(ctx, "shop", name, uid); err != nil {
		t.Fatal(err)
	}
	result := m.ipam.Assign(ctx, ipam.Host{Name: m.name}, m.pools,
		[]ipam.Request{{Handle: name, Families: []ipam.Family{ipam.IPv4, ipam.IPv6},
			Attributes: map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: name, ipam.AttrUID: uid}}})[0]
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	p.addrs = result.Addrs()
	w := cniserver.Workload{Namespace: "shop", Pod: name, UID: uid, ContainerID: name,
		HostIface: derive.HostInterface("shop", name), Addrs: p.addrs}
	m.do(t, func() {
		if _, err := veth.Open().Create(ctx, veth.Pair{Host: w.HostIface, Netns: p.ns, Pod: "eth0",
			MTU: m.agent.CNIState().MTU, Addrs: p.addrs}); err != nil {
			t.Error(err)
		}
	})
	if err := m.agent.Add(ctx, w); err != nil {
		t.Fatal(err)
	}
	m.workloads = append(m.workloads, w)
	kerneltest.Do(t, p.ns, func() {
		kerneltest.Run(t, "ip link set lo up") // Go believes that there is no IPv6 when it finds no ::1
		serve(t)
	})
	return p
}

// serve answers TCP connections to port 8080 of the present namespace until the test ends.
func serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, conn.RemoteAddr())
			conn.Close()
		}
	}()
}

// dial opens a TCP connection from a namespace and returns the source address that the server sees.
func dial(t *testing.T, from *os.File, to netip.Addr, local string) (netip.Addr, error) {
	t.Helper()
	var seen netip.Addr
	var failed error
	kerneltest.Do(t, from, func() {
		dialer := net.Dialer{Timeout: 500 * time.Millisecond}
		if local != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
		}
		conn, err := dialer.Dial("tcp", netip.AddrPortFrom(to, 8080).String())
		if err != nil {
			failed = err
			return
		}
		defer conn.Close()
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		if err != nil {
			failed = err
			return
		}
		seen = netip.MustParseAddrPort(string(buffer[:n])).Addr()
	})
	return seen, failed
}

// eventually repeats a check until it succeeds.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
