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

// noticeIPVS is what the node says of itself.
const noticeIPVS = "kube-proxy is in IPVS mode: policy knows what it forwards by marks of packets"

// ipvs is what is known of kube-proxy's IPVS mode. The chains that it takes are in package policy.
type ipvs struct {
	on    bool
	marks *policy.EndpointMarks
	// hostNets are the node's own addresses, but for those of Services.
	hostNets []netip.Prefix
}

// ownNets are addresses of every node that need not be on an interface one by one.
var ownNets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10")}

// readInterfaces reads what is not known of the node's interfaces, and follows whether kube-proxy is in IPVS mode.
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

// markEndpoints gives the endpoints the numbers by which IPVS's packets are told apart, and says which get none.
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
