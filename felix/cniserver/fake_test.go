package cniserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/felix/dataplane/fake"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/wire"
)

// fakeIPAM gives addresses 10.0.0.1, 10.0.0.2, … in order; of IPv6 fd00::1, ….
type fakeIPAM struct {
	mu      sync.Mutex // guards everything below
	next    int
	held    map[string][]netip.Addr
	calls   []int // the number of requests of each Assign
	last    ipam.Request
	fail    error // of everything while set
	block   chan struct{}
	entered chan struct{}
	// asserted are the handles of each Reassert, and conflicts what it answers.
	asserted  [][]string
	conflicts map[string]error
}

func (f *fakeIPAM) Assign(_ context.Context, _ ipam.Host, _ []ipam.Pool, requests []ipam.Request) []ipam.Result {
	if f.entered != nil {
		f.entered <- struct{}{}
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, len(requests))
	results := make([]ipam.Result, len(requests))
	for i, request := range requests {
		f.last = request
		if f.fail != nil {
			results[i].Err = f.fail
			continue
		}
		addrs, found := f.held[request.Handle]
		if !found {
			f.next++
			for _, family := range request.Families {
				addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(f.next)})
				if family == ipam.IPv6 {
					addr = netip.MustParseAddr(fmt.Sprintf("fd00::%x", f.next))
				}
				addrs = append(addrs, addr)
			}
			f.held[request.Handle] = addrs
		}
		for _, addr := range addrs {
			results[i].Leases = append(results[i].Leases, block.Lease{Handle: request.Handle, Addr: addr})
		}
	}
	return results
}

func (f *fakeIPAM) Release(_ context.Context, _ string, handles ...string) ([]block.Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	for _, handle := range handles {
		delete(f.held, handle)
	}
	return nil, nil
}

func (f *fakeIPAM) Reassert(_ context.Context, _ ipam.Host, _ []ipam.Pool, requests []ipam.Request) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	handles, errs := []string{}, make([]error, len(requests))
	for i, r := range requests {
		handles = append(handles, r.Handle)
		errs[i] = f.conflicts[r.Handle]
		if f.fail != nil {
			errs[i] = f.fail
		}
	}
	f.asserted = append(f.asserted, handles)
	return errs
}

func (f *fakeIPAM) failWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeIPAM) handles() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	handles := []string{}
	for handle := range f.held {
		handles = append(handles, handle)
	}
	slices.Sort(handles)
	return handles
}

// fakeLinks are pairs on a fake kernel.
type fakeLinks struct {
	veth.Pairs
	kernel  *fake.Kernel
	created int // how often Create succeeded
}

func newFakeLinks() *fakeLinks {
	kernel := fake.New()
	return &fakeLinks{Pairs: veth.New(kernel), kernel: kernel}
}

func (f *fakeLinks) Create(ctx context.Context, pair veth.Pair) (veth.Result, error) {
	r, err := f.Pairs.Create(ctx, pair)
	if err == nil {
		f.created++
	}
	return r, err
}

// names returns the host's ends of the pairs that exist.
func (f *fakeLinks) names() []string {
	links, err := f.kernel.LinkList()
	if err != nil {
		panic(err)
	}
	names := []string{}
	for _, l := range links {
		if l.Type() == "veth" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// remove removes a pair as the end of its pod does.
func (f *fakeLinks) remove(host string) {
	if err := f.Delete(context.Background(), host); err != nil {
		panic(err)
	}
}

// reboot removes all pairs.
func (f *fakeLinks) reboot() {
	for _, name := range f.names() {
		f.remove(name)
	}
}

// fakeEndpoints knows every pod and programs nothing.
type fakeEndpoints struct {
	mu          sync.Mutex // guards everything below
	annotations map[string]string
	// namespaceLabels are those of every pod's namespace.
	namespaceLabels map[string]string
	added           map[string]Workload
	fail            error  // of Add while set
	block           bool   // Add waits for its context
	uid             string // of the only pod that is known, while set
	conflicts       []string
	withoutEffect   []string
	removed         []string // containers
}

func (f *fakeEndpoints) Endpoint(_ context.Context, _, _, uid string) (*wire.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uid != "" && uid != f.uid {
		return nil, context.DeadlineExceeded
	}
	return &wire.Endpoint{Annotations: f.annotations, NamespaceLabels: f.namespaceLabels}, nil
}

func (f *fakeEndpoints) Add(ctx context.Context, w Workload) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.block {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.fail != nil {
		return f.fail
	}
	f.added[w.HostIface] = w
	return nil
}

func (f *fakeEndpoints) Remove(w Workload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, w.ContainerID)
	if f.added[w.HostIface].ContainerID == w.ContainerID {
		delete(f.added, w.HostIface)
	}
}

func (f *fakeEndpoints) Conflicts(problems []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conflicts = problems
}

func (f *fakeEndpoints) WithoutEffect(keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withoutEffect = keys
}

// node is a server with fakes around it.
type node struct {
	*Server
	ipam      *fakeIPAM
	links     *fakeLinks
	endpoints *fakeEndpoints
	opts      Options
}

func newNode(t *testing.T) *node {
	t.Helper()
	pool := ipam.Pool{Name: "default", CIDR: netip.MustParsePrefix("10.0.0.0/16"), BlockSize: 26}
	n := &node{
		ipam:      &fakeIPAM{held: map[string][]netip.Addr{}},
		links:     newFakeLinks(),
		endpoints: &fakeEndpoints{added: map[string]Workload{}},
	}
	dir := t.TempDir()
	n.opts = Options{Node: "n1", Socket: dir + "/felix.sock", Spool: dir + "/spool", Records: dir + "/records",
		IPAM: n.ipam, Links: n.links, Endpoints: n.endpoints, Log: slog.New(slog.DiscardHandler),
		State: func() State { return State{Pools: []ipam.Pool{pool}, MTU: 1450} }}
	n.restart(t)
	return n
}

// restart makes a new Server of the same disk and kernel, as after a crash.
func (n *node) restart(t *testing.T) {
	t.Helper()
	var err error
	n.Server, err = New(n.opts)
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the goroutine that owns IPAM until the test or the returned function ends it.
func (n *node) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.assigner.run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func request(t *testing.T, command, container, pod string, fields map[string]any) *protocol.Request {
	t.Helper()
	config := map[string]any{"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico"}
	for name, value := range fields {
		config[name] = value
	}
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return &protocol.Request{Command: command, ContainerID: container, NetNS: "/run/netns/x", IfName: "eth0",
		Args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + pod + ";K8S_POD_UID=u-" + pod, Config: body}
}

// netns returns a file that stands for the network namespace of a container.
func (n *node) netns(t *testing.T, container string) *os.File {
	t.Helper()
	path := filepath.Join(filepath.Dir(n.opts.Socket), "netns-"+container)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// do carries out a command with the namespace of its container.
func (n *node) do(t *testing.T, ctx context.Context, r *protocol.Request) (result,
	error) { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	var res result
	output, err := n.handle(ctx, r, n.netns(t, r.ContainerID))
	if err == nil && output != nil {
		err = json.Unmarshal(output, &res)
	}
	return res, err
}

// must is do for commands that succeed.
func (n *node) must(t *testing.T, r *protocol.Request) result {
	t.Helper()
	res, err := n.do(t, t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Command, r.ContainerID, err)
	}
	return res
}

// settle waits until everything queued for release so far is released.
func (n *node) settle(t *testing.T) {
	t.Helper()
	for _, r := range n.records.all() {
		if err := r.awaitRelease(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func codeOf(err error) uint {
	var object *protocol.Error
	if errors.As(err, &object) {
		return object.Code
	}
	return 0
}
