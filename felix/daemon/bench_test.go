package daemon

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/typha/wire"
)

// BenchmarkChange is the time from a change on the stream until the kernel enforces it, on a node whose pods have IPv4
// addresses and each four policies: of one policy's rule, of an endpoint's list of policies, of a set's member.
func BenchmarkChange(b *testing.B) {
	for _, pods := range []int{30, 200} {
		kerneltest.Enter(b)
		objects, workloads := benchPods(b, pods)
		p := startAgent(b, workloads)
		p.enforce(b, wire.Commit{Upserts: objects})
		for name, change := range map[string]func(i uint64) wire.Commit{
			"rule": func(i uint64) wire.Commit {
				return wire.Commit{Upserts: []wire.Object{benchPolicy(0,
					uint16(i))}}
			},
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
					p.enforce(b, change(p.number))
				}
			})
		}
	}
}

func benchPolicy(i int, port uint16) *wire.Policy {
	return &wire.Policy{Name: fmt.Sprint("p", i), Tier: "default", Ingress: []wire.Rule{
		{Action: wire.Allow, Protocol: 6, Src: wire.Match{Sets: []string{"peers"}},
			Dst: wire.Match{Ports: []wire.PortRange{{First: port, Last: port}}}},
		{Action: wire.Allow, Protocol: 17, Dst: wire.Match{Ports: []wire.PortRange{{First: 53, Last: 53}}}}}}
}

func benchEndpoint(i, policies int) *wire.Endpoint {
	tier := wire.Tier{Name: "default", DefaultAction: wire.Deny}
	for j := range policies {
		tier.Ingress = append(tier.Ingress, fmt.Sprint("p", 4*i+j))
	}
	return &wire.Endpoint{Namespace: "shop", Pod: fmt.Sprint("pod", i), UID: fmt.Sprint(i), Node: "n1",
		Tiers: []wire.Tier{tier}}
}

// benchPods makes the interfaces of pods, and gives what the stream says of them.
func benchPods(b *testing.B, pods int) (objects []wire.Object, workloads []cniserver.Workload) {
	b.Helper()
	peers := &wire.IPSet{Name: "peers", Type: wire.SetNet}
	objects = []wire.Object{&wire.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.65.0.0/16")}, peers}
	for i := range pods {
		device, addr := fmt.Sprintf("cali%d", i), netip.AddrFrom4([4]byte{10, 65, byte(i >> 8), byte(i)})
		kerneltest.Run(b, "ip link add "+device+" type bridge")
		kerneltest.Run(b, "ip link set "+device+" up")
		workloads = append(workloads, cniserver.Workload{Namespace: "shop", Pod: fmt.Sprint("pod", i),
			UID: fmt.Sprint(i), HostIface: device, Addrs: []netip.Addr{addr}})
		peers.Nets = append(peers.Nets, netip.PrefixFrom(addr, 32))
		objects = append(objects, benchEndpoint(i, 4))
		for n := range 4 {
			objects = append(objects, benchPolicy(4*i+n, 80))
		}
	}
	return objects, workloads
}
