package linux

import (
	"fmt"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/policy"
)

// family is the drivers of an IP family, and what is known of what they program.
type family struct {
	FamilyDrivers
	program *policy.Program
	next    filter.Commit // what the next commit has of sets
	// stood is set once sets and rules stood in this process: routes wait for that.
	stood    bool
	enforced bool // after the last Apply of everything
}

func newFamily(drivers FamilyDrivers) *family {
	return &family{FamilyDrivers: drivers, program: policy.NewProgram()}
}

// commit returns what changed since the last one.
func (f *family) commit() filter.Commit {
	c := f.program.Commit()
	c.Sets, c.Withheld = f.next.Sets, f.next.Withheld
	f.next = filter.Commit{}
	return c
}

// takePolicies takes in what changed of policies and host endpoints.
func (d *Dataplane) takePolicies(changes boundary.Desired) {
	if changes.Whole {
		for name := range d.policies {
			if _, desired := changes.Policies.Upserts[name]; !desired {
				d.removePolicy(name)
			}
		}
	}
	for name := range changes.Policies.Deletes {
		d.removePolicy(name)
	}
	for name, p := range changes.Policies.Upserts {
		d.policies[name] = p
		for _, f := range d.families {
			f.program.SetPolicy(p)
		}
	}
	d.room.changed = d.room.changed || changes.Whole || !changes.Policies.Empty()
	changes.HostEndpoints.ApplyTo(d.hosts, changes.Whole)
}

func (d *Dataplane) removePolicy(name string) {
	delete(d.policies, name)
	for _, f := range d.families {
		f.program.RemovePolicy(name)
	}
}

// enforce tells the programs of an endpoint. Its mark is a number of d.ipvs, or 0.
func (d *Dataplane) enforce(device string, e boundary.Endpoint, mark uint32) {
	for _, f := range d.families {
		f.program.SetEndpoint(policy.Endpoint{Interface: device, Addrs: e.Addrs, Policy: e.Policy, Sources: e.Sources,
			Mark: mark})
	}
}

// setHosts tells the programs of the host endpoints. There are few.
func (d *Dataplane) setHosts(marks map[string]uint32) {
	var hosts []policy.HostEndpoint
	for _, device := range slices.Sorted(maps.Keys(d.hosts)) {
		hosts = append(hosts, policy.HostEndpoint{Interface: device, Policy: d.hosts[device], Mark: marks[device]})
	}
	for _, f := range d.families {
		f.program.SetHosts(hosts)
	}
}

// setRenderers tells the programs how to render.
func (d *Dataplane) setRenderers() {
	for _, f := range d.families {
		f.program.SetRenderer(d.renderer(f))
		f.program.SetNAT(d.translation(f))
	}
}

// renderer returns how the rules of a family are rendered.
func (d *Dataplane) renderer(f *family) *policy.Renderer {
	c := d.settings.Config
	r := &policy.Renderer{Family: f.Family, Marks: d.marks,
		InterfacePrefixes: policy.EndpointPrefixes(c.InterfacePrefix.All()),
		ToHost:            filter.Drop{}, Deny: filter.Drop{}, AllowReturns: c.IptablesFilterAllowAction == "RETURN",
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
	return r
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
	nat := policy.NAT{Tunnels: d.tunnelDevices(f.Family), OutInterface: c.IptablesNATOutgoingInterfaceFilter,
		SpareHosts: c.NATOutgoingExclusions == "IPPoolsAndHostIPs"}
	if addr := c.NATOutgoingAddress; addr.IsValid() && dataplane.FamilyOf(addr) == f.Family {
		nat.Address = addr
	}
	return nat
}

// markEndpoints assigns the endpoints the numbers of their marks, and says how many endpoints got none. Without IPVS
// nothing has a mark.
func (d *Dataplane) markEndpoints() {
	d.unusable = nil
	marks := map[string]uint32{}
	if d.settings.IPVS {
		names := slices.Collect(maps.Keys(d.endpoints))
		for device := range d.hosts {
			if device != policy.AnyInterface {
				names = append(names, device)
			}
		}
		marks = d.ipvs.Assign(names)
		missing := len(names) - len(marks)
		switch {
		case d.ipvs.Room() == 0:
			d.unusable = append(d.unusable, errNoMarks.Error())
		case missing > 0:
			d.unusable = append(d.unusable, fmt.Sprintf("kube-proxy is in IPVS mode, and %d interfaces of endpoints "+
				"reach no Service: iptablesMarkMask of the FelixConfiguration has bits for %d", missing, d.ipvs.Room()))
		}
	}
	d.setHosts(marks)
	if d.settings.IPVS || d.marked {
		for device, e := range d.endpoints {
			d.enforce(device, e, marks[device])
		}
	}
	d.marked = d.settings.IPVS
}
