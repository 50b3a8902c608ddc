package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

// pipe is a stream that the test writes.
type pipe struct {
	commits chan wire.Commit
	reports chan wire.Report
	number  uint64
	// registry has the metrics of agent and drivers.
	registry *prometheus.Registry
}

func (p *pipe) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case c := <-p.commits:
		return c, nil
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

// Report implements hub.Source. Of reports that nobody waits for the oldest go.
func (p *pipe) Answer(wire.StatusAnswer) {}

func (p *pipe) Report(r wire.Report) {
	for {
		select {
		case p.reports <- r:
			return
		default:
		}
		select {
		case <-p.reports:
		default:
		}
	}
}

// enforce hands over a commit, waits until it is enforced, and gives what the agent complains of.
func (p *pipe) enforce(t testing.TB, c wire.Commit) []string {
	t.Helper()
	p.number++
	c.Number, c.InSync = p.number, true
	p.commits <- c
	after := time.After(limit)
	for {
		select {
		case r := <-p.reports:
			if r.Applied == c.Number {
				return r.Errors
			}
		case <-after:
			t.Fatalf("commit %d is not enforced", c.Number)
		}
	}
}

// noFacts are node facts that never change.
type noFacts struct{}

func (noFacts) Facts() <-chan node.Facts        { return nil }
func (noFacts) SetTunnelPools(node.TunnelPools) {}
func (noFacts) Check()                          {}

// startAgent runs an agent on the kernel of the present namespace, with settings by name and value.
func startAgent(t testing.TB, workloads []cniserver.Workload, settings ...string) *pipe {
	t.Helper()
	return startAgentAt(t, netip.MustParsePrefix("192.0.2.1/24"), workloads, settings...)
}

// startAgentAt is startAgent for a node with another address on its eth0.
func startAgentAt(t testing.TB, addr netip.Prefix, workloads []cniserver.Workload, settings ...string) *pipe {
	t.Helper()
	ns := kerneltest.Current(t)
	local := config.Source{Name: "test", Values: map[string]string{"IptablesBackend": "nft"}}
	for i := 0; i < len(settings); i += 2 {
		local.Values[settings[i]] = settings[i+1]
	}
	c, err := config.Resolve(local)
	if err != nil {
		t.Fatal(err)
	}
	k, err := linux.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	events, err := monitor.Open()
	if err != nil {
		t.Fatal(err)
	}
	j := journal.Open(filepath.Join(t.TempDir(), "stream"))
	p := &pipe{commits: make(chan wire.Commit), reports: make(chan wire.Report, 16), registry: prometheus.NewRegistry()}
	p.registry.MustRegister(k.Metrics)
	agent := felix.NewAgent(onKernel(k, felix.Options{Node: "n1", Source: p, Whole: true, Journal: j,
		Events:  events.Events(),
		Speaker: noSpeaker{}, Facts: noFacts{}, FirstFacts: node.Facts{Name: "n1",
			IPv4: node.Addresses{Addr: addr, Device: "eth0"}},
		Local: []config.Source{local}, Config: c, Metrics: felix.NewMetrics(p.registry),
		Log: slog.New(slog.DiscardHandler)}))
	agent.Restore(workloads)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	for _, run := range []func(context.Context) error{events.Run, agent.Run} {
		go func() {
			defer func() { done <- struct{}{} }()
			kerneltest.Do(t, ns, func() { // the commands that the agent starts are in its thread's namespace
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}()
	}
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		k.Close()
		j.Close()
	})
	return p
}

// neighbour makes a network namespace behind eth0 of the present one.
func neighbour(t *testing.T) *os.File {
	t.Helper()
	ns := kerneltest.New(t)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "uplink",
		PeerNamespace: netlink.NsFd(ns.Fd())}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip link set eth0 up")
	kerneltest.Do(t, ns, func() {
		kerneltest.Run(t, "ip link set uplink up")
		kerneltest.Run(t, "ip addr add 192.0.2.2/24 dev uplink")
		kerneltest.Run(t, "ip route add default via 192.0.2.1")
	})
	return ns
}

// TestWithoutCNI: a workload that the datastore tells of, and a host endpoint that is known by its address, are
// enforced as soon as their interfaces are there, whoever made them, and no longer than they are wanted.
func TestWithoutCNI(t *testing.T) {
	kerneltest.Enter(t)
	outside := neighbour(t)
	p := startAgent(t, nil, "InterfacePrefix", "tap", "IptablesFilterDenyAction", "REJECT", "FailsafeInboundHostPorts",
		"tcp:8081")
	addrs := []netip.Addr{netip.MustParseAddr("10.65.0.30")}
	vm := &wire.Endpoint{Namespace: "vms", Pod: "vm-1", Node: "n1", Interface: "tap1", Addrs: addrs,
		Tiers: []wire.Tier{{Name: "default", Ingress: []string{"web"}, DefaultAction: wire.Deny}}}
	host := &wire.HostEndpoint{Name: "n1", Node: "n1", ExpectedIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	errs := p.enforce(t, wire.Commit{Upserts: []wire.Object{&wire.Pool{Name: "p",
		CIDR: netip.MustParsePrefix("10.65.0.0/16")}, vm, host,
		&wire.Policy{Name: "web", Tier: "default", Ingress: []wire.Rule{{Action: wire.Allow, Protocol: 6,
			Dst: wire.Match{Ports: []wire.PortRange{{First: 8080, Last: 8080}}}}}}}})
	if len(errs) != 1 || !strings.Contains(errs[0], "host endpoint n1: no interface") {
		t.Errorf("before the host has the address: %q", errs)
	}
	machine := kerneltest.New(t)
	if _, err := veth.Open().Create(t.Context(), veth.Pair{Host: "tap1", Netns: machine, Pod: "eth0",
		Addrs: addrs}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	listen(t, machine, 8080, 8081)
	listen(t, kerneltest.Current(t), 8080, 8081)
	for _, c := range []struct {
		to   string
		open bool
	}{{"10.65.0.30:8080", true}, {"10.65.0.30:8081", false}, {"192.0.2.1:8080", false}, {"192.0.2.1:8081", true}} {
		eventually(t, func() error { return reach(t, outside, c.to, c.open) })
	}
	p.enforce(t, wire.Commit{Deletes: []wire.ID{host.ID(), vm.ID()}})
	eventually(t, func() error { return reach(t, outside, "192.0.2.1:8080", true) })
	if route := kerneltest.Run(t, "ip route show 10.65.0.30"); route != "" {
		t.Errorf("a workload that is gone has a route: %s", route)
	}
}

// listen serves ports of a namespace.
func listen(t *testing.T, ns *os.File, ports ...int) {
	t.Helper()
	kerneltest.Do(t, ns, func() {
		for _, port := range ports {
			listener, err := net.Listen("tcp", fmt.Sprint(":", port))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { listener.Close() })
		}
	})
}

// reach fails unless a connection can be made, or not, as it should be.
func reach(t *testing.T, from *os.File, to string, want bool) error {
	t.Helper()
	var err error
	kerneltest.Do(t, from, func() {
		var conn net.Conn
		conn, err = net.DialTimeout("tcp", to, time.Second)
		if err == nil {
			conn.Close()
		}
	})
	if (err == nil) != want {
		return fmt.Errorf("connection to %s: %v, want it open: %v", to, err, want)
	}
	return nil
}
