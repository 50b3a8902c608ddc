package linux

import (
	"errors"
	"fmt"

	"github.com/maneki-net/maneki/felix/policy"
)

// errNoMarks is why a node takes no pods.
var errNoMarks = errors.New("kube-proxy is in IPVS mode, and iptablesMarkMask of the FelixConfiguration leaves no " +
	"bits for endpoints: without them policy could not be enforced on what goes to Services, which is dropped. " +
	"Give it more bits, for example 0xffff0000, or let kube-proxy use iptables or nftables")

// noticeIPVS is the notice in the node's status.
const noticeIPVS = "kube-proxy is in IPVS mode: policy knows what it forwards by marks of packets"

// markEndpoints assigns the endpoints the numbers of their marks, and says how many endpoints got none.
func (d *Dataplane) markEndpoints(in *policy.Input) {
	if !d.settings.IPVS {
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
	numbers := d.ipvs.Assign(names)
	for i := range in.Endpoints {
		in.Endpoints[i].Mark = numbers[in.Endpoints[i].Interface]
	}
	for i := range in.Hosts {
		in.Hosts[i].Mark = numbers[in.Hosts[i].Interface]
	}
	missing := len(names) - len(numbers)
	switch {
	case d.ipvs.Room() == 0:
		d.unusable = append(d.unusable, errNoMarks.Error())
	case missing > 0:
		d.unusable = append(d.unusable, fmt.Sprintf("kube-proxy is in IPVS mode, and %d interfaces of endpoints reach "+
			"no Service: iptablesMarkMask of the FelixConfiguration has bits for %d", missing, d.ipvs.Room()))
	}
}
