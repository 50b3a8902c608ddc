// Package veth makes, checks and removes the pair of devices that connects a pod.
//
// It owns the pair: the host's end in the calling thread's network namespace, the pod's end with its addresses and default
// routes in the pod's. It knows nothing of policy, sets no sysctls of the host's end and no route to the pod: drivers do. It keeps no state;
// the CNI server calls it, on any goroutine.
package veth

import (
	"context"
	"net"
	"net/netip"
	"os"
)

// HostMAC is the address of the host's end of every pair, as in Calico: pods may then move their neighbour
// entries from node to node.
var HostMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

// The gateways of pods. The IPv6 one is the link-local address that HostMAC gives the host's end.
var (
	GatewayV4 = netip.MustParseAddr("169.254.1.1")
	GatewayV6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
)

// Pair is what a pod's connection looks like.
type Pair struct {
	Host  string   // name of the host's end, at most 15 bytes
	Netns *os.File // the pod's network namespace
	Pod   string   // name of the pod's end: "eth0"
	MTU   int      // bytes, of both ends; 0 leaves it to the kernel
	// Addrs are the pod's addresses, set as /32 or /128. A family with an address gets a default route.
	Addrs []netip.Addr
	// MAC of the pod's end; nil for a random one. Check ignores nil.
	MAC net.HardwareAddr
}

// Result is what Create made.
type Result struct {
	HostIndex int // interface index of the host's end
	PodIndex  int // interface index in the pod's namespace
	PodMAC    net.HardwareAddr
}

// Create makes the pair and sets both ends up. A device of that name left over on the host is removed first. What
// an error leaves behind has been removed.
func Create(ctx context.Context, p Pair) (Result, error) { panic("not built yet") }

// Check returns an error that says what differs from p, or nil.
func Check(ctx context.Context, p Pair) error { panic("not built yet") }

// Delete removes the pair by the host's end. That there is none is no error.
func Delete(ctx context.Context, host string) error { panic("not built yet") }
