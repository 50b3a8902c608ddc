package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/wire"
)

// pipe is a stream that the benchmark writes.
type pipe struct {
	commits chan wire.Commit
	reports chan wire.Report
}

func (p pipe) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case c := <-p.commits:
		return c, nil
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

func (p pipe) Report(r wire.Report) { p.reports <- r }

// enforce hands over a commit and waits until it is enforced.
func (p pipe) enforce(b *testing.B, c wire.Commit) {
	b.Helper()
	p.commits <- c
	limit := time.After(time.Minute)
	for {
		select {
		case r := <-p.reports:
			if len(r.Errors) > 0 {
				b.Fatal(r.Errors)
			}
			if r.Applied == c.Number {
				return
			}
		case <-limit:
			b.Fatalf("commit %d is not enforced", c.Number)
		}
	}
}

// idle is a BGP speaker and node facts that say nothing.
type idle struct{}

func (idle) Configure(bgp.Config)       {}
func (idle) Changes() <-chan struct{}   { return nil }
func (idle) Routes() []bgp.Route        { return nil }
func (idle) Status() bgp.Status         { return bgp.Status{} }
func (idle) Facts() <-chan node.Facts   { return nil }
func (idle) SetTunnelPools([]ipam.Pool) {}
func (idle) Check()                     {}

// BenchmarkChange is the time from a change on the stream until the kernel enforces it, on a node whose pods have IPv4
// addresses and each four policies: of one policy's rule, of an endpoint's list of policies, of a set's member.
func BenchmarkChange(b *testing.B) {
	for _, pods := range []int{30, 200} {
		kerneltest.Enter(b)
		p := pipe{commits: make(chan wire.Commit), reports: make(chan wire.Report, 16)}
		objects := startBench(b, p, pods)
		number := uint64(1)
		p.enforce(b, wire.Commit{Number: number, InSync: true, Upserts: objects})
		for name, change := range map[string]func(i uint64) wire.Commit{
			"rule": func(i uint64) wire.Commit { return wire.Commit{Upserts: []wire.Object{benchPolicy(0, uint16(i))}} },
			"endpoint": func(i uint64) wire.Commit {
				return wire.Commit{Upserts: []wire.Object{benchEndpoint(1, 3+int(i%2))}}
			},
			"member": func(i uint64) wire.Commit {
				one := []netip.Prefix{netip.MustParsePrefix("10.66.0.1/32")}
				if i%2 == 0 {
					return wire.Commit{Sets: []wire.SetDelta{{Name: "peers", AddedNets: one}}}
				}
				return wire.Commit{Sets: []wire.SetDelta{{Name: "peers", RemovedNets: one}}}
			},
		} {
			b.Run(fmt.Sprintf("%s/%d pods", name, pods), func(b *testing.B) {
				for b.Loop() {
					number++
					c := change(number)
					c.Number, c.InSync = number, true
					p.enforce(b, c)
				}
			})
		}
	}
}

func benchPolicy(i int, port uint16) *wire.Policy {
	return &wire.Policy{Name: fmt.Sprint("p", i), Tier: "default", Ingress: []wire.Rule{
		{Action: wire.Allow, Protocol: 6, Src: wire.Match{Sets: []string{"peers"}}, Dst: wire.Match{Ports: []wire.PortRange{{First: port, Last: port}}}},
		{Action: wire.Allow, Protocol: 17, Dst: wire.Match{Ports: []wire.PortRange{{First: 53, Last: 53}}}}}}
}

func benchEndpoint(i, policies int) *wire.Endpoint {
	tier := wire.Tier{Name: "default", DefaultAction: wire.Deny}
	for j := range policies {
		tier.Ingress = append(tier.Ingress, fmt.Sprint("p", 4*i+j))
	}
	return &wire.Endpoint{Namespace: "shop", Pod: fmt.Sprint("pod", i), UID: fmt.Sprint(i), Node: "n1", Tiers: []wire.Tier{tier}}
}

// startBench runs an agent on the kernel of the present namespace, and gives what its pods need.
func startBench(b *testing.B, p pipe, pods int) []wire.Object {
	b.Helper()
	ns := kerneltest.Current(b)
	local := []config.Source{{Name: "test", Values: map[string]string{"IptablesBackend": "nft"}}}
	c, err := config.Resolve(local...)
	if err != nil {
		b.Fatal(err)
	}
	k, err := openKernel(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	j, err := journal.Open(filepath.Join(b.TempDir(), "stream"))
	if err != nil {
		b.Fatal(err)
	}
	agent, err := felix.NewAgent(felix.Options{Node: "n1", Source: p, Whole: true, Journal: j, Drivers: k.drivers, Speaker: idle{}, Facts: idle{},
		FirstFacts: node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "lo"}},
		Local: local, Config: c, Metrics: felix.NewMetrics(prometheus.NewRegistry(), time.Now()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	objects := []wire.Object{&wire.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.65.0.0/16")}}
	peers := &wire.IPSet{Name: "peers", Type: wire.SetNet}
	var workloads []cniserver.Workload
	for i := range pods {
		device, addr := fmt.Sprintf("cali%d", i), netip.AddrFrom4([4]byte{10, 65, byte(i >> 8), byte(i)})
		kerneltest.Run(b, "ip link add "+device+" type bridge")
		kerneltest.Run(b, "ip link set "+device+" up")
		workloads = append(workloads, cniserver.Workload{Namespace: "shop", Pod: fmt.Sprint("pod", i), UID: fmt.Sprint(i), HostIface: device, Addrs: []netip.Addr{addr}})
		peers.Nets = append(peers.Nets, netip.PrefixFrom(addr, 32))
		objects = append(objects, benchEndpoint(i, 4))
		for n := range 4 {
			objects = append(objects, benchPolicy(4*i+n, 80))
		}
	}
	agent.Restore(workloads)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		kerneltest.Do(b, ns, func() { // what the agent starts is in its thread's namespace
			if err := agent.Run(ctx); err != nil {
				b.Error(err)
			}
		})
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		k.close()
		j.Close()
	})
	return append(objects, peers)
}
