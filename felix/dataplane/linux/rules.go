package linux

import (
	"maps"
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/policy"
)

// family is the drivers of an IP family, and what is known of what they program.
type family struct {
	FamilyDrivers
	renderer *policy.Renderer
	// chains are the Keys of what each table was rendered from.
	chains map[filter.Table]map[string]any
	broken map[string]bool // the sets of policies that could not be made whole
	// stood is set once sets and rules stood in this process: routes wait for that.
	stood    bool
	enforced bool // after the last Apply of everything
}

func newFamily(drivers FamilyDrivers) *family {
	return &family{FamilyDrivers: drivers, chains: map[filter.Table]map[string]any{}}
}

// renderRules makes the chains of endpoints and policies desired.
func (d *Dataplane) renderRules() {
	if !d.stale || d.settings.Config == nil {
		return
	}
	d.stale, d.unusable = false, nil
	in := policy.Input{Policies: d.policies}
	for _, device := range slices.Sorted(maps.Keys(d.hosts)) {
		in.Hosts = append(in.Hosts, policy.HostEndpoint{Interface: device, Policy: d.hosts[device]})
	}
	for _, device := range slices.Sorted(maps.Keys(d.endpoints)) {
		e := d.endpoints[device]
		in.Endpoints = append(in.Endpoints,
			policy.Endpoint{Interface: device, Addrs: e.Addrs, Policy: e.Policy, Sources: e.Sources})
	}
	d.markEndpoints(&in)
	for _, f := range d.families {
		d.renew(f)
		in.Broken = f.broken
		f.program(filter.Raw, f.Raw, f.renderer.Raw(in))
		f.program(filter.Mangle, f.Mangle, f.renderer.Mangle(in))
		f.program(filter.Filter, f.Filter, f.renderer.Filter(in))
		f.program(filter.NAT, f.NAT, f.renderer.NAT(d.translation(f)))
	}
}

// program makes a table desired. Chains whose Keys are as they were the last time are not rendered again.
func (f *family) program(name filter.Table, driver Rules, t policy.Table) {
	former, now := f.chains[name], make(map[string]any, len(t.Chains))
	for _, c := range t.Chains {
		if known, ok := former[c.Name]; !ok || known != c.Key {
			driver.Set(c.Render())
		}
		now[c.Name] = c.Key
	}
	for _, dispatch := range t.Dispatches {
		if known, ok := former[dispatch.Name]; !ok || !reflect.DeepEqual(known, dispatch) {
			driver.Dispatch(dispatch)
		}
		now[dispatch.Name] = dispatch
	}
	for chain, known := range former {
		if _, wanted := now[chain]; wanted {
			continue
		}
		if _, is := known.(filter.Dispatch); is {
			driver.RemoveDispatch(chain)
		} else {
			driver.Remove(chain)
		}
	}
	driver.Hook(t.Hooks)
	f.chains[name] = now
}

// renew makes the renderer of a family anew if the settings have changed.
func (d *Dataplane) renew(f *family) {
	c := d.settings.Config
	r := &policy.Renderer{Family: f.Family, Marks: d.marks, InterfacePrefixes: c.EndpointPrefixes(),
		ToHost: filter.Drop{}, Deny: filter.Drop{}, AllowReturns: c.IptablesFilterAllowAction == "RETURN",
		NoInvalidCheck: c.DisableConntrackInvalidCheck, LogPrefix: c.LogPrefix, BGPPort: d.settings.BGPPort,
		Tunnels:    d.tunnelGuards(f.Family),
		FailsafeIn: failsafes(c.FailsafeInboundHostPorts), FailsafeOut: failsafes(c.FailsafeOutboundHostPorts)}
	switch c.DefaultEndpointToHostAction {
	case "ACCEPT":
		r.ToHost = filter.Accept{}
	case "RETURN":
		r.ToHost = filter.Return{}
	}
	if c.IptablesFilterDenyAction == "REJECT" {
		r.Deny = filter.Reject{}
	}
	if d.settings.IPVS {
		r.IPVS = &policy.IPVS{}
		for _, ports := range c.KubeNodePortRanges.All() {
			r.IPVS.NodePorts = append(r.IPVS.NodePorts, filter.PortRange(ports))
		}
	}
	if !reflect.DeepEqual(f.renderer, r) {
		f.renderer = r
	}
}

func failsafes(ports config.ProtoPorts) []policy.Failsafe {
	var list []policy.Failsafe
	for _, p := range ports.All() {
		list = append(list, policy.Failsafe{Protocol: p.Protocol, Net: p.Net, Port: p.Port})
	}
	return list
}

// translation returns what is rewritten when packets leave the node.
func (d *Dataplane) translation(f *family) policy.NAT {
	c := d.settings.Config
	nat := policy.NAT{Tunnels: d.tunnelDevices(f.Family), SpareHosts: c.NATOutgoingExclusions == "IPPoolsAndHostIPs", OutInterface: c.IptablesNATOutgoingInterfaceFilter}
	if addr := c.NATOutgoingAddress; addr.IsValid() && dataplane.FamilyOf(addr) == f.Family {
		nat.Address = addr
	}
	return nat
}
