package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/test/scale/fill"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
)

const (
	ownPods    = 30
	ownName    = "n1"
	ownSpace   = "own"
	elsewhere  = 300 // changes in other namespaces
	nodeEnv    = "MANEKI_BENCH_NODE"
	ownAddress = "172.16.255.254" // in one subnet with the other nodes
)

// BenchmarkNode is what the cluster costs one node of 30 pods: octets on the wire, resident memory and CPU of an agent
// that programs a real kernel, in a process of its own. The cluster grows in three ways: elsewhere only; by pods that
// the node's policies allow; by nodes, to which there are routes.
func BenchmarkNode(b *testing.B) {
	for _, shape := range []struct {
		name        string
		nodes, pods int
		open        bool
	}{
		{"peers fixed/pods=100", 10, 100, false}, {"peers fixed/pods=100000", 10, 100_000, false},
		{"peers growing/pods=100", 10, 100, true}, {"peers growing/pods=10000", 10, 10_000, true},
		{"peers growing/pods=100000", 10, 100_000, true},
		{"routes growing/nodes=10", 10, 100, false}, {"routes growing/nodes=1000", 1000, 100, false},
		{"routes growing/nodes=5000", 5000, 100, false},
	} {
		b.Run(shape.name, func(b *testing.B) {
			kerneltest.RequireRoot(b)
			for b.Loop() {
				benchNode(b, nodeCluster(shape.nodes, shape.pods, shape.open))
			}
		})
	}
}

// nodeCluster is a cluster of other nodes and their pods, and the node with its pods and policies. open lets the pods
// of every namespace in.
func nodeCluster(nodes, pods int, open bool) iter.Seq[metav1.Object] {
	return func(yield func(metav1.Object) bool) {
		for o := range scale.Cluster(nodes, pods, pods/10) {
			if n, ok := o.(*corev1.Node); ok {
				onOneLink(n)
			}
			yield(o)
		}
		if !scale.Until(yield, scale.Blocks(nodes)) {
			return
		}
		own := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: ownName}}
		own.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ownAddress}}
		onOneLink(own)
		yield(own)
		yield(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ownSpace}})
		peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
		if open {
			peer.NamespaceSelector = &metav1.LabelSelector{}
		}
		for i := range 3 {
			yield(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ownSpace,
				Name: fmt.Sprint("policy-", i)}, Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"third": fmt.Sprint(i)}},
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer}}}}})
		}
		for i := range ownPods {
			yield(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ownSpace, Name: fmt.Sprint("pod", i),
				UID:    types.UID(fmt.Sprint(i)),
				Labels: map[string]string{"third": fmt.Sprint(i % 3)}}, Spec: corev1.PodSpec{NodeName: ownName},
				Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: ownPodAddress(i).String()}}}})
		}
	}
}

// onOneLink says what the nodes' agents say of their addresses, so that routes between them need no tunnel.
func onOneLink(n *corev1.Node) {
	n.Annotations = map[string]string{v3.NodeIPv4Address: n.Status.Addresses[0].Address + "/16"}
}

func ownPodAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 0, byte(i)}) }

// nodeCost is what a node's process has used so far.
type nodeCost struct {
	Resident int64 // anonymous, in kB
	CPU      time.Duration
	Routes   int // that the kernel has
}

func benchNode(b *testing.B, cluster iter.Seq[metav1.Object]) {
	dir := b.TempDir()
	authority, err := pki.New("bench", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	files := func(name string) auth.TLS {
		pair, err := authority.Issue(name, time.Hour)
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, name), 0o700)
		}
		if err == nil {
			err = authority.Write(filepath.Join(dir, name), pair)
		}
		if err != nil {
			b.Fatal(err)
		}
		return tlsFiles(dir, name)
	}
	files("node:" + ownName)
	h := hub.New(hub.Options{Kinds: sync.Names(sync.KubernetesKinds())})
	server, err := transport.NewServer(transport.ServerOptions{Hub: h, TLS: files("typha")})
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	counted := &countingListener{Listener: listener}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{}, 2)
	for _, run := range []func() error{func() error { return h.Run(ctx) },
		func() error { return server.Serve(ctx, counted) }} {
		go func() { defer func() { ended <- struct{}{} }(); _ = run() }()
	}
	defer func() { cancel(); <-ended; <-ended }()
	if err := fill.Hub(b.Context(), h, cluster); err != nil {
		b.Fatal(err)
	}

	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBenchmarkedNode$")
	cmd.Env = append(os.Environ(), nodeEnv+"="+listener.Addr().String()+" "+dir)
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { orders.Close(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(output)
	ask := func() (c nodeCost) {
		b.Helper()
		awaitEnforced(b, h)
		fmt.Fprintln(orders, "cost")
		if !lines.Scan() {
			b.Fatal("the node's process ended")
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			b.Fatalf("%v: %s", err, lines.Bytes())
		}
		return c
	}
	joined := ask()
	b.ReportMetric(float64(counted.sent.Load())/1000, "snapshot-kB")
	b.ReportMetric(float64(joined.Resident)/1000, "resident-MB")
	b.ReportMetric(float64(joined.CPU.Milliseconds()), "cpu-ms")
	b.ReportMetric(float64(joined.Routes), "routes")
	sent := counted.sent.Load()
	for i := range elsewhere {
		p := scale.ClusterPod(i/2%100, 0)
		p.Name, p.Status.PodIPs = fmt.Sprint("change-", i/2),
			[]corev1.PodIP{{IP: netip.AddrFrom4([4]byte{10, 254, byte(i >> 9), byte(i >> 1)}).String()}}
		u := hub.Update{Kind: calc.KindPod, Upserts: []metav1.Object{p}}
		if i%2 == 1 {
			u.Upserts, u.Deletes = nil, []hub.Name{{Namespace: p.Namespace, Name: p.Name}}
		}
		if err := h.Update(b.Context(), u); err != nil {
			b.Fatal(err)
		}
		awaitEnforced(b, h)
	}
	moved := ask()
	b.ReportMetric(float64(counted.sent.Load()-sent)/elsewhere, "B/change")
	b.ReportMetric(float64((moved.CPU-joined.CPU).Microseconds())/elsewhere, "cpu-µs/change")
}

func tlsFiles(dir, name string) auth.TLS {
	at := func(file string) string { return filepath.Join(dir, name, file) }
	return auth.TLS{CAFile: at(pki.CAFile), CertFile: at(pki.CertFile), KeyFile: at(pki.KeyFile)}
}

// awaitEnforced waits until the node's kernel has all that was computed.
func awaitEnforced(b *testing.B, h *hub.Hub) {
	b.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(2 * limit); ; <-ticker.C {
		nodes, err := h.Status(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if len(nodes) == 1 && nodes[0].Applied > 0 && nodes[0].Unread == 0 && !nodes[0].Lagging() &&
			nodes[0].Applied == nodes[0].Commit {
			if len(nodes[0].Errors) > 0 {
				b.Fatal(nodes[0].Errors)
			}
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the node does not enforce: %+v", nodes)
		}
	}
}

// countingListener counts what its connections send.
type countingListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, &l.sent}, err
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// TestBenchmarkedNode is the node of BenchmarkNode, which starts it; by itself it does nothing.
func TestBenchmarkedNode(t *testing.T) {
	address, dir, ok := strings.Cut(os.Getenv(nodeEnv), " ")
	if !ok {
		return
	}
	kerneltest.Enter(t)
	kerneltest.Run(t, "ip link add eth0 type bridge")
	kerneltest.Run(t, "ip link set eth0 up")
	kerneltest.Run(t, "ip addr add "+ownAddress+"/16 dev eth0")
	var workloads []cniserver.Workload
	for i := range ownPods {
		device := fmt.Sprint("cali", i)
		kerneltest.Run(t, "ip link add "+device+" type bridge")
		kerneltest.Run(t, "ip link set "+device+" up")
		workloads = append(workloads, cniserver.Workload{Namespace: ownSpace, Pod: fmt.Sprint("pod", i),
			UID:       fmt.Sprint(i),
			HostIface: device, Addrs: []netip.Addr{ownPodAddress(i)}})
	}
	agent := startAgentAt(t, netip.MustParsePrefix(ownAddress+"/16"), workloads)
	files := tlsFiles(dir, "node:"+ownName)
	files.PeerCN = "typha"
	client, err := transport.NewClient(transport.ClientOptions{Node: ownName, TLS: files,
		Replicas: balance.Fixed(address),
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go client.Run(ctx)
	go func() {
		for {
			select {
			case r := <-agent.reports:
				client.Report(r)
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		for {
			commit, err := client.Next(ctx)
			if err != nil {
				return
			}
			agent.commits <- commit
		}
	}()
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		debug.FreeOSMemory()
		cost := nodeCost{Resident: residentKB(t), CPU: cpuUsed(t),
			Routes: strings.Count(kerneltest.Run(t, "ip route"), "\n")}
		if err := json.NewEncoder(os.Stdout).Encode(cost); err != nil {
			t.Fatal(err)
		}
	}
}

// cpuUsed is of the process and the commands that it ran.
func cpuUsed(t *testing.T) (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func residentKB(t *testing.T) (kB int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kB); err == nil {
			return kB
		}
	}
	t.Fatal("no RssAnon in /proc/self/status")
	return 0
}
