package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/test/scale/fill"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/inbound"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
)

// The pods that are made carry their time in the last 8 octets of an address in this network, and after this prefix in
// their name.
var timed = netip.MustParsePrefix("fd00:7e1a::/64")

const timedName = "made-at-"

// lingering is how many of them live at a time.
const lingering = 200

// measure is the Typha. The other process ends with it.
func measure(ctx context.Context, l load) error {
	runtime.GOMAXPROCS(1)
	dir, err := os.MkdirTemp("", "fanout")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := startFelixes(ctx, dir)
	if err != nil {
		return err
	}
	h := hub.New(hub.Options{Kinds: sync.Names(sync.KubernetesKinds())})
	server, err := transport.NewServer(transport.ServerOptions{Hub: h, TLS: auth.TLS{
		CAFile: filepath.Join(dir, pki.CAFile), CertFile: filepath.Join(dir, pki.CertFile),
		KeyFile: filepath.Join(dir, pki.KeyFile)},
		Strangers: inbound.Limits{All: 1 << 16, PerAddress: 1 << 16}}) // all nodes are here
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error {
		defer cancel()
		defer f.stop()
		if err := compute(ctx, h, l); err != nil {
			return err
		}
		for _, n := range l.Felixes {
			if err := f.measure(ctx, h, l, n, listener.Addr().String()); err != nil {
				return err
			}
		}
		return errDone
	})
	if err := g.Wait(); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

var errDone = errors.New("done")

// compute hands the cluster to the hub, and says what that took.
func compute(ctx context.Context, h *hub.Hub, l load) error {
	start := time.Now()
	if err := fill.Hub(ctx, h, scale.Cluster(l.Nodes, l.Pods, l.Policies), scale.Blocks(l.Nodes)); err != nil {
		return err
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	fmt.Printf("fanout: %d nodes, %d pods, %d policies, one core: computed in %v, %d MB live heap\n",
		l.Nodes, l.Pods, l.Policies, time.Since(start).Round(10*time.Millisecond), m.HeapAlloc>>20)
	return nil
}

// felixes is the other process.
type felixes struct {
	cmd     *exec.Cmd
	orders  *json.Encoder
	answers *json.Decoder
	input   io.Closer
}

func startFelixes(ctx context.Context, dir string) (*felixes, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-simulate", dir)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated felixes: %w", err)
	}
	f := &felixes{cmd: cmd, orders: json.NewEncoder(in), answers: json.NewDecoder(out), input: in}
	_, err = f.do(order{}) // answers when the certificates are there
	return f, err
}

func (f *felixes) stop() {
	f.input.Close()
	_ = f.cmd.Wait() // how it ends says nothing more
}

func (f *felixes) do(o order) (answer, error) {
	var a answer
	if err := f.orders.Encode(o); err != nil {
		return a, fmt.Errorf("simulated felixes: %w", err)
	}
	if err := f.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("simulated felixes: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("simulated felixes: %s", a.Error)
	}
	return a, nil
}

// measure connects n nodes, moves pods for a while, and prints what that took.
func (f *felixes) measure(ctx context.Context, h *hub.Hub, l load, n int, address string) error {
	start, cpu := time.Now(), cpuTime()
	joined, err := f.do(order{Connect: n, Address: address})
	if err != nil {
		return err
	}
	fmt.Printf("  %d Felixes\n    snapshot: %v; all in %v; %.1f ms of CPU and %s to each\n", n, joined.Snapshot,
		time.Since(start).Round(time.Millisecond),
		(cpuTime()-cpu).Seconds()*1000/float64(n), kilobytes(joined.Bytes, int64(n)))

	start, cpu = time.Now(), cpuTime()
	c := churn{hub: h, load: l, connected: n, random: rand.New(rand.NewPCG(1, uint64(n)))}
	if err := c.run(ctx); err != nil {
		return err
	}
	took := time.Since(start)
	moved, err := f.do(order{Connect: n, Endpoints: c.endpoints})
	if err != nil {
		return err
	}
	fmt.Printf("    %d changes in %v: endpoint to its node: %v; set to each node: %v\n", c.changes,
		took.Round(10*time.Millisecond), moved.Endpoint, moved.Set)
	fmt.Printf("    %.0f%% of one core, %.2f ms of CPU a change; %.1f commits and %s a change, %d octets a commit\n",
		100*(cpuTime()-cpu).Seconds()/took.Seconds(), (cpuTime()-cpu).Seconds()*1000/float64(c.changes),
		float64(moved.Commits)/float64(c.changes), kilobytes(moved.Bytes, int64(c.changes)),
		moved.Bytes/max(moved.Commits, 1))
	if _, err := f.do(order{}); err != nil {
		return err
	}
	return h.Update(ctx, hub.Update{Kind: calc.KindPod, Deletes: c.living})
}

func kilobytes(bytes, of int64) string {
	return fmt.Sprintf("%.1f kB", float64(bytes)/1000/float64(of))
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// churn makes and removes pods at a steady rate.
type churn struct {
	hub       *hub.Hub
	load      load
	connected int // nodes, the first ones
	random    *rand.Rand

	living    []hub.Name
	changes   int
	endpoints int // pods made on connected nodes
}

func (c *churn) run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second / time.Duration(c.load.Changes))
	defer ticker.Stop()
	for end := time.Now().Add(c.load.Duration); time.Now().Before(end); c.changes++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.hub.Update(ctx, c.change()); err != nil {
			return err
		}
	}
	return nil
}

// change removes the oldest pod or makes one, in turn once enough live.
func (c *churn) change() hub.Update {
	u := hub.Update{Kind: calc.KindPod}
	if len(c.living) == lingering {
		u.Deletes, c.living = c.living[:1:1], c.living[1:]
		return u
	}
	node := c.random.IntN(c.load.Nodes)
	pod := timedPod(c.random.IntN(c.load.Pods), node)
	c.living = append(c.living, hub.Name{Namespace: pod.Namespace, Name: pod.Name})
	u.Upserts = []metav1.Object{pod}
	if node < c.connected {
		c.endpoints++
	}
	return u
}

// timedPod is like the i-th pod, made now, on a node.
func timedPod(i, node int) *corev1.Pod {
	p := scale.ClusterPod(i, node)
	now := time.Now().UnixNano()
	p.Name = fmt.Sprint(timedName, now)
	p.UID = types.UID(p.Name)
	addr := timed.Addr().As16()
	binary.BigEndian.PutUint64(addr[8:], uint64(now))
	p.Status.PodIPs = []corev1.PodIP{{IP: netip.AddrFrom16(addr).String()}}
	p.Labels = maps.Clone(p.Labels)
	return p
}
