package linux

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
)

// takeEndpoints makes the rules of endpoints and the settings of their interfaces desired, as far as they changed.
func (d *Dataplane) takeEndpoints(changes boundary.Desired) {
	if changes.Settings != nil && d.settings.Config.IPForwarding == "Enabled" {
		for _, f := range d.families {
			d.drivers.Sysctls.Set(fmt.Sprintf("net/%s/conf/all/forwarding", sysctlName(f.Family)), "1")
		}
	}
	if changes.Whole {
		for device := range d.endpoints {
			if _, desired := changes.Endpoints.Upserts[device]; !desired {
				d.removeEndpoint(device)
			}
		}
	}
	for device := range changes.Endpoints.Deletes {
		d.removeEndpoint(device)
	}
	for device, e := range changes.Endpoints.Upserts {
		d.setEndpoint(device, e)
	}
}

func (d *Dataplane) removeEndpoint(device string) {
	former := d.endpoints[device]
	delete(d.endpoints, device)
	for _, f := range d.families {
		f.program.RemoveEndpoint(device)
	}
	if former.Present {
		d.drivers.Sysctls.RemoveDevice(device)
	}
}

func (d *Dataplane) setEndpoint(device string, e boundary.Endpoint) {
	former := d.endpoints[device]
	d.endpoints[device] = e
	if !d.settings.IPVS { // otherwise markEndpoints does, which knows the mark
		d.enforce(device, e, 0)
	}
	switch {
	case !e.Present && former.Present:
		d.drivers.Sysctls.RemoveDevice(device)
	case !e.Present:
	case former.Present && slices.Equal(former.Addrs, e.Addrs) && rpFilterOf(former) == rpFilterOf(e):
	default:
		d.setInterface(device, e)
	}
}

// setInterface makes the kernel route between interfaces, and answer for the gateway that pods are given.
func (d *Dataplane) setInterface(device string, e boundary.Endpoint) {
	s := d.drivers.Sysctls
	d.closeIPv6(device, e)
	for _, addr := range e.Addrs {
		family := dataplane.FamilyOf(addr)
		if !d.programs(family) {
			continue
		}
		conf := fmt.Sprintf("net/%s/conf/%s/", sysctlName(family), device)
		s.Set(conf+"forwarding", "1")
		if family == dataplane.IPv4 {
			s.Set(conf+"proxy_arp", "1") // answers for 169.254.1.1
			s.Set(conf+"rp_filter", rpFilterOf(e))
			s.Set("net/ipv4/neigh/"+device+"/proxy_delay", "0") // the kernel's default is up to 0.8 s
		}
	}
}

// closeIPv6 turns IPv6 off on the host's end of an endpoint that has no IPv6 rules or no IPv6 address. Through the
// kernel's link-local address it could reach the node, and become the node's router. On other interfaces it keeps the
// node from learning routes.
func (d *Dataplane) closeIPv6(device string, e boundary.Endpoint) {
	if !d.drivers.HasIPv6 {
		return
	}
	s, conf := d.drivers.Sysctls, "net/ipv6/conf/"+device+"/"
	if !d.programs(dataplane.IPv6) || !slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		s.Set(conf+"disable_ipv6", "1")
		return
	}
	s.Set(conf+"accept_ra", "0")
	// Turning IPv6 off removed the pod's gateway. The kernel makes it again, from the interface's MAC address.
	s.Set(conf+"addr_gen_mode", "0")
	s.Set(conf+"disable_ipv6", "0")
}

// rpFilterOf returns the rp_filter of an endpoint's interface. 1 drops packets whose source is not routed to the
// interface. So does 2 on an interface without an address. With 0 the raw table alone decides.
func rpFilterOf(e boundary.Endpoint) string {
	if len(e.Sources) > 0 {
		return "0"
	}
	return "1"
}

// rpFilterOfAll applies to an interface where it is greater than the interface's own.
const rpFilterOfAll = "net/ipv4/conf/all/rp_filter"

// SourcesDropped implements boundary.Dataplane.
func (d *Dataplane) SourcesDropped() string {
	value, err := d.drivers.Sysctls.Read(rpFilterOfAll)
	if err != nil || value == "0" {
		return ""
	}
	return fmt.Sprintf("net.ipv4.conf.all.rp_filter is %s on this node, so the kernel drops such IPv4 packets; set "+
		"it to 0", value)
}

func sysctlName(f dataplane.Family) string { return strings.ToLower(f.String()) }
