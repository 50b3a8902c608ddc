package cniserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/wire"
)

const inNamespace = "MANEKI_TEST_NETNS"

// TestMain runs the tests in a network namespace of their own, which every thread of the process is in.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		os.Exit(1)
	}
}

// countingStore counts the writes, each of which takes as long as one to a real API server.
type countingStore struct {
	datastore.Store
	writes atomic.Int32
}

const writeLatency = 8 * time.Millisecond

func (s *countingStore) Create(ctx context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	s.writes.Add(1)
	<-time.After(writeLatency)
	return s.Store.Create(ctx, kind, o)
}

func (s *countingStore) Update(ctx context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	s.writes.Add(1)
	<-time.After(writeLatency)
	return s.Store.Update(ctx, kind, o)
}

// routes is the agent's side: it makes the host answer the pod and route to it.
type routes struct{}

func (routes) Endpoint(context.Context, string, string, string) (*wire.Endpoint, error) {
	return &wire.Endpoint{}, nil
}

func (routes) Add(_ context.Context, w Workload) error {
	for _, path := range []string{"conf/" + w.HostIface + "/proxy_arp", "conf/" + w.HostIface + "/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+path, []byte("1"), 0); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/neigh/"+w.HostIface+"/proxy_delay", []byte("0"), 0); err != nil {
		return err
	}
	for _, addr := range w.Addrs {
		if _, err := kerneltest.Try(fmt.Sprintf("ip route replace %s dev %s scope link", addr,
			w.HostIface)); err != nil {
			return err
		}
	}
	return nil
}

func (routes) Remove(Workload) {}

func (routes) Conflicts([]string) {}

func (routes) WithoutEffect([]string) {}

// host is a node with the real plugin binary, the real server, the kernel and a datastore in memory.
type host struct {
	opts   Options
	store  *countingStore
	plugin string
	stop   func()
}

func newHost(t *testing.T) *host {
	t.Helper()
	kerneltest.RequireRoot(t)
	dir := t.TempDir()
	h := &host{store: &countingStore{Store: memory.New()}, plugin: filepath.Join(dir, "calico")}
	build := exec.Command("go", "build", "-o", h.plugin, "github.com/maneki-net/maneki/cmd/cni-plugin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, output)
	}
	state := State{Host: &wire.Host{Name: "n1", IPv4: netip.MustParsePrefix("172.30.0.1/24"),
		IPv6: netip.MustParsePrefix("fd00:1::1/64")}}
	for name, cidr := range map[string]string{"four": "10.244.0.0/16", "six": "fd00:2::/64"} {
		pool := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
		if _, err := h.store.Store.Create(t.Context(), datastore.IPPools, pool); err != nil {
			t.Fatal(err)
		}
		state.Pools = append(state.Pools, ipam.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr)})
	}
	h.opts = Options{Node: "n1", Socket: dir + "/felix.sock", Spool: dir + "/spool", Records: dir + "/records",
		Endpoints: routes{}, State: func() State { return state }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	// The way out, without which the kernel does not answer ARP for others.
	for _, line := range []string{"ip link set lo up", "ip link add up0 type veth peer name up1", "ip link set up0 up",
		"ip link set up1 up",
		"ip addr add 172.30.0.1/24 dev up0", "ip addr add fd00:1::1/64 dev up0 nodad",
		"ip route add default via 172.30.0.254", "ip -6 route add default via fd00:1::fe"} {
		kerneltest.Run(t, line)
	}
	t.Cleanup(func() { kerneltest.Run(t, "ip link del up0") })
	h.start(t)
	t.Cleanup(func() { h.stop() })
	return h
}

// start starts the server; stop ends it, as when Felix ends.
func (h *host) start(t *testing.T) {
	t.Helper()
	client := ipam.New(h.store)
	h.opts.IPAM = client
	server, err := New(h.opts)
	if err != nil {
		t.Fatal(err)
	}
	client.SetLive(server.Leases)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
		h.stop = func() {}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for { // an ADD waits for the socket, a STATUS does not
		conn, err := net.Dial("unix", h.opts.Socket)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the server does not listen: %v", err)
		}
	}
}

// sandbox makes a network namespace and gives a path to it.
func sandbox(t *testing.T) string {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), kerneltest.New(t).Fd())
}

// cni executes the plugin as a runtime does. A failure is a *protocol.Error.
func (h *host) cni(command, container, pod, netns string, fields map[string]any) (result, error) {
	config := map[string]any{"cniVersion": "1.1.0", "name": "k8s-pod-network", "type": "calico", "mtu": 1400,
		"felix_socket": h.opts.Socket, "felix_spool": h.opts.Spool}
	for name, value := range fields {
		config[name] = value
	}
	input, err := json.Marshal(config)
	if err != nil {
		return result{}, err
	}
	cmd := exec.Command(h.plugin)
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns,
		"CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + pod}
	output, err := cmd.Output()
	if err != nil {
		object := &protocol.Error{}
		if jsonErr := json.Unmarshal(output, object); jsonErr != nil {
			return result{}, fmt.Errorf("%w: %s", err, output)
		}
		return result{}, object
	}
	var res result
	if len(output) > 0 {
		err = json.Unmarshal(output, &res)
	}
	return res, err
}

func (h *host) must(t *testing.T, command, container, pod, netns string) result {
	t.Helper()
	res, err := h.cni(command, container, pod, netns, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", command, container, err)
	}
	return res
}

// held gives the number of addresses that are assigned.
func (h *host) held(t *testing.T) int {
	t.Helper()
	blocks, err := h.store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, item := range blocks.Items {
		allocations, err := block.Allocations(item.(*v3.IPAMBlock))
		if err != nil {
			t.Fatal(err)
		}
		n += len(allocations)
	}
	return n
}

// await waits until n addresses are assigned.
func (h *host) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for h.held(t) != n {
		select {
		case <-deadline:
			t.Fatalf("%d addresses are assigned, want %d", h.held(t), n)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestPodIsConnected(t *testing.T) {
	h := newHost(t)
	netns := sandbox(t)
	inPod := "nsenter --net=" + netns + " "
	res := h.must(t, "ADD", "c1", "web", netns)
	if len(res.IPs) != 2 || len(res.Interfaces) != 2 {
		t.Fatalf("got %+v", res)
	}
	shown := kerneltest.Run(t, inPod+"ip addr show dev eth0")
	for _, ip := range res.IPs {
		if !strings.Contains(shown, ip.Address) && !strings.Contains(shown, strings.TrimSuffix(ip.Address, "/32")) {
			t.Errorf("eth0 lacks %s:\n%s", ip.Address, shown)
		}
	}
	for _, part := range []string{res.Interfaces[1].Mac, "mtu 1400"} {
		if !strings.Contains(shown, part) {
			t.Errorf("eth0 lacks %q:\n%s", part, shown)
		}
	}
	if routes := kerneltest.Run(t, inPod+"ip route"); !strings.Contains(routes,
		"default via "+res.IPs[0].Gateway.String()) {
		t.Errorf("no default route by the gateway of the result:\n%s", routes)
	}
	kerneltest.Run(t, inPod+"ping -c 1 -W 5 172.30.0.1")
	kerneltest.Run(t, inPod+"ping -6 -c 1 -W 5 fd00:1::1")

	if again := h.must(t, "ADD", "c1", "web", netns); fmt.Sprint(again) != fmt.Sprint(res) {
		t.Errorf("the repeated ADD answers\n%v, the first\n%v", again, res)
	}
	kerneltest.Run(t, inPod+"ping -c 1 -W 5 172.30.0.1")

	h.must(t, "CHECK", "c1", "web", netns)
	kerneltest.Run(t, inPod+"ip route del default")
	if _, err := h.cni("CHECK", "c1", "web", netns, nil); codeOf(err) != protocol.CodeInternal {
		t.Errorf("CHECK after the default route is gone: %v", err)
	}
	h.must(t, "ADD", "c1", "web", netns)
	h.must(t, "CHECK", "c1", "web", netns)

	for range 2 {
		h.must(t, "DEL", "c1", "web", netns)
	}
	if _, err := kerneltest.Try("ip link show " + derive.HostInterface("shop", "web")); err == nil {
		t.Error("the interface is still there")
	}
	h.await(t, 0)
}

func TestDelWhileFelixIsDown(t *testing.T) {
	h := newHost(t)
	netns := sandbox(t)
	h.must(t, "ADD", "c1", "web", netns)
	h.stop()
	h.must(t, "DEL", "c1", "web", netns)
	if _, err := h.cni("STATUS", "", "", "", nil); codeOf(err) != protocol.CodeNotAvailable {
		t.Errorf("STATUS: %v", err)
	}
	if n := h.held(t); n != 2 {
		t.Errorf("%d addresses are assigned", n)
	}
	added := make(chan error, 1)
	other := sandbox(t)
	go func() {
		_, err := h.cni("ADD", "c2", "api", other, nil) // waits for Felix
		added <- err
	}()
	h.start(t)
	if err := <-added; err != nil {
		t.Errorf("ADD that waited: %v", err)
	}
	h.await(t, 2)
	if _, err := kerneltest.Try("ip link show " + derive.HostInterface("shop", "web")); err == nil {
		t.Error("the interface is still there")
	}
	h.must(t, "STATUS", "", "", "")
	h.must(t, "DEL", "c2", "api", other)
	h.await(t, 0)
}

func TestRemoveInterfaces(t *testing.T) {
	h := newHost(t)
	h.must(t, "ADD", "c1", "web", sandbox(t))
	h.stop()
	for range 2 {
		if err := RemoveInterfaces(t.Context(), h.opts.Records); err != nil {
			t.Error(err)
		}
	}
	if _, err := kerneltest.Try("ip link show " + derive.HostInterface("shop", "web")); err == nil {
		t.Error("the interface is still there")
	}
	h.start(t) // which releases the addresses
	h.await(t, 0)
}

func TestNoPoolLeft(t *testing.T) {
	h := newHost(t)
	fields := map[string]any{"ipam": map[string]any{"type": "calico-ipam", "ipv4_pools": []string{"four"},
		"assign_ipv6": "false"}}
	state := h.opts.State()
	for i := range state.Pools {
		state.Pools[i].Disabled = true
	}
	_, err := h.cni("ADD", "c1", "web", sandbox(t), fields)
	if codeOf(err) != protocol.CodeNoAddress || !strings.Contains(err.Error(), "four") ||
		!strings.Contains(err.Error(), "disabled") {
		t.Errorf("got %v, want code 101 that names the pool and why", err)
	}
}

// TestPoolFollowsTheNodesLabels: each ADD asks anew which pools select the node.
func TestPoolFollowsTheNodesLabels(t *testing.T) {
	h := newHost(t)
	var now atomic.Pointer[State]
	state := h.opts.State()
	state.Pools = nil
	for name, cidr := range map[string]string{"a": "10.101.0.0/16", "b": "10.102.0.0/16"} {
		state.Pools = append(state.Pools, ipam.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr),
			NodeSelector: "rack == '" + name + "'"})
	}
	h.stop()
	h.opts.State = func() State { return *now.Load() }
	now.Store(&state)
	h.start(t)
	for i, rack := range []string{"a", "b", "c"} {
		labelled := state
		labelled.Labels = map[string]string{"rack": rack}
		now.Store(&labelled)
		container := fmt.Sprint("c", i)
		res, err := h.cni("ADD", container, "web-"+rack, sandbox(t), nil)
		switch {
		case rack == "c":
			if codeOf(err) != protocol.CodeNoAddress || !strings.Contains(err.Error(), "nodeSelector") {
				t.Errorf("a node that no pool selects: %v, %v", res, err)
			}
		case err != nil:
			t.Errorf("rack %s: %v", rack, err)
		case len(res.IPs) != 1 || !strings.HasPrefix(res.IPs[0].Address,
			map[string]string{"a": "10.101.", "b": "10.102."}[rack]):
			t.Errorf("rack %s: the pod has %v", rack, res.IPs)
		default:
			h.must(t, "DEL", container, "web-"+rack, "")
		}
	}
	h.await(t, 0)
}

func TestSocketIsForRootAlone(t *testing.T) {
	h := newHost(t)
	h.must(t, "STATUS", "", "", "")
	h.stop() // and its socket stays, as after a crash
	h.start(t)
	h.must(t, "STATUS", "", "", "")
	info, err := os.Stat(h.opts.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
}

// TestBurst is 100 pods, 8 at a time: they share the datastore's writes.
func TestBurst(t *testing.T) {
	h := newHost(t)
	const pods, atOnce = 100, 8
	sandboxes := make([]string, pods)
	for i := range sandboxes {
		sandboxes[i] = sandbox(t)
	}
	all := func(command string) time.Duration {
		var group errgroup.Group
		group.SetLimit(atOnce)
		started := time.Now()
		for i, netns := range sandboxes {
			group.Go(func() error {
				_, err := h.cni(command, fmt.Sprint("c", i), fmt.Sprint("web-", i), netns, nil)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return time.Since(started)
	}
	added := all("ADD")
	adds := h.store.writes.Load()
	if n := h.held(t); n != 2*pods {
		t.Errorf("%d addresses are assigned, want %d", n, 2*pods)
	}
	deleted := all("DEL")
	h.await(t, 0)
	t.Logf("%d ADDs in %v with %d writes, DELs in %v with %d", pods, added, adds, deleted, h.store.writes.Load()-adds)
	// One a pod and family would be 200, and 10 or so are for the blocks themselves.
	if adds >= 2*pods {
		t.Errorf("%d ADDs of two addresses cost %d writes: none was shared", pods, adds)
	}
}
