package felix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/policy"
)

// ipvsDevice is the interface on which kube-proxy in IPVS mode has the addresses of Services.
const ipvsDevice = "kube-ipvs0"

// errNoMarks is why a node takes no pods.
var errNoMarks = errors.New("kube-proxy is in IPVS mode, and iptablesMarkMask of the FelixConfiguration leaves no " +
	"bits for endpoints: without them policy could not be enforced on what goes to Services, which is dropped. " +
	"Give it more bits, for example 0xffff0000, or let kube-proxy use iptables or nftables")

// noticeIPVS is the notice in the node's status.
const noticeIPVS = "kube-proxy is in IPVS mode: policy knows what it forwards by marks of packets"

// ipvs is the state of kube-proxy's IPVS mode. Package policy has the chains for it.
type ipvs struct {
	on    bool
	marks *policy.EndpointMarks
	// hostNets are the node's own addresses, without those of Services.
	hostNets []netip.Prefix
}

// ownNets are networks whose addresses belong to every node, whether an interface has them or not.
var ownNets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10")}

// readInterfaces reads the changes of the node's interfaces, and notices whether kube-proxy is in IPVS mode.
func (a *Agent) readInterfaces(ctx context.Context) error {
	interfaces := a.opts.Drivers.Interfaces
	err := interfaces.Apply(ctx)
	on, nets := interfaces.Exists(ipvsDevice), []netip.Prefix(nil)
	if on {
		nets = slices.Clone(ownNets)
		for _, addr := range interfaces.AddrsBut(ipvsDevice) {
			if !slices.ContainsFunc(ownNets, func(n netip.Prefix) bool { return n.Contains(addr) }) {
				nets = append(nets, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	if on != a.ipvs.on {
		a.log.Info("mode of kube-proxy", "ipvs", on)
		a.metrics.ipvs.Set(map[bool]float64{true: 1}[on])
	}
	if on != a.ipvs.on || !slices.Equal(nets, a.ipvs.hostNets) {
		a.ipvs.on, a.ipvs.hostNets = on, nets
		a.state.dirty.rules, a.state.dirty.routes = true, true
	}
	return err
}

// markEndpoints assigns the endpoints the numbers of their marks, and records how many endpoints got none.
func (a *Agent) markEndpoints(in *policy.Input) {
	if !a.ipvs.on {
		return
	}
	var names []string
	for _, e := range in.Endpoints {
		names = append(names, e.Interface)
	}
	for _, h := range in.Hosts {
		if h.Interface != policy.AnyInterface {
			names = append(names, h.Interface)
		}
	}
	numbers := a.ipvs.marks.Assign(names)
	for i := range in.Endpoints {
		in.Endpoints[i].Mark = numbers[in.Endpoints[i].Interface]
	}
	for i := range in.Hosts {
		in.Hosts[i].Mark = numbers[in.Hosts[i].Interface]
	}
	switch missing := len(names) - len(numbers); {
	case a.ipvs.marks.Room() == 0:
		a.unusable = append(a.unusable, errNoMarks.Error())
	case missing > 0:
		a.unusable = append(a.unusable, fmt.Sprintf("kube-proxy is in IPVS mode, and %d interfaces of endpoints reach "+
			"no Service: iptablesMarkMask of the FelixConfiguration has bits for %d", missing, a.ipvs.marks.Room()))
	}
}
