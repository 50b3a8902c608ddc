package felix

import (
	"fmt"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// hostEndpoints are the host endpoints of this node by their interfaces.
type hostEndpoints struct {
	known    map[string]*wire.HostEndpoint // as they were handed to the dataplane
	unusable []string                      // those that have no interface
}

// change finds the interfaces again, and returns what differs from the last time.
func (h *hostEndpoints) change(all map[string]*wire.HostEndpoint, interfaces Interfaces, c *config.Config,
) boundary.Delta[string, *wire.HostEndpoint] {
	var changes boundary.Delta[string, *wire.HostEndpoint]
	former := h.known
	h.known, h.unusable = assign(all, interfaces, c)
	for device := range former {
		if h.known[device] == nil {
			changes.Delete(device)
		}
	}
	for device, endpoint := range h.known {
		if former[device] != endpoint {
			changes.Set(device, endpoint)
		}
	}
	return changes
}

// assign finds the interface of each host endpoint. Of several for one interface the one that names it wins, then the
// first by name, as in Calico. It also says which have none.
func assign(all map[string]*wire.HostEndpoint, interfaces Interfaces, c *config.Config) (
	byDevice map[string]*wire.HostEndpoint, unusable []string) {
	byDevice = map[string]*wire.HostEndpoint{}
	give := func(h *wire.HostEndpoint, device string) {
		if other := byDevice[device]; other != nil {
			unusable = append(unusable,
				fmt.Sprintf("host endpoint %s: interface %s has host endpoint %s already", h.Name, device, other.Name))
			return
		}
		byDevice[device] = h
	}
	var byAddr []*wire.HostEndpoint
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch h := all[name]; {
		case h.Interface == "":
			byAddr = append(byAddr, h)
		case h.Interface == policy.AnyInterface:
			give(h, h.Interface)
		case !policy.ValidInterface(h.Interface) || isWorkload(c, h.Interface):
			unusable = append(unusable, fmt.Sprintf("host endpoint %s: %q cannot be an interface of the host", h.Name,
				h.Interface))
		default:
			give(h, h.Interface)
		}
	}
	for _, h := range byAddr {
		if device := interfaceOf(h, interfaces, c); device != "" {
			give(h, device)
		} else {
			unusable = append(unusable,
				fmt.Sprintf("host endpoint %s: no interface of the host has one of %v", h.Name, h.ExpectedIPs))
		}
	}
	return byDevice, unusable
}

// interfaceOf finds the interface that has one of a host endpoint's addresses.
func interfaceOf(h *wire.HostEndpoint, interfaces Interfaces, c *config.Config) string {
	for _, addr := range h.ExpectedIPs {
		if device := interfaces.WithAddr(addr); policy.ValidInterface(device) && !isWorkload(c, device) {
			return device
		}
	}
	return ""
}
