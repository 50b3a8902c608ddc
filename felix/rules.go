package felix

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// podInterfaces begins the names of the host's ends of all pods, as derive.HostInterface has it.
const podInterfaces = "cali"

// sortedWorkloads are those that CNI made and those that the datastore tells of, by the host's end.
func (a *Agent) sortedWorkloads() []cniserver.Workload {
	all := slices.Collect(maps.Values(a.workloads))
	for device, e := range a.state.external {
		if _, made := a.workloads[device]; !made && a.isWorkload(device) {
			all = append(all, cniserver.Workload{Namespace: e.Namespace, Pod: e.Pod, UID: e.UID, HostIface: device, Addrs: e.Addrs})
		}
	}
	slices.SortFunc(all, func(x, y cniserver.Workload) int { return strings.Compare(x.HostIface, y.HostIface) })
	return all
}

// hasInterface reports whether the host's end of a workload exists: CNI says so itself.
func (a *Agent) hasInterface(w cniserver.Workload) bool {
	_, made := a.workloads[w.HostIface]
	return made || a.opts.Drivers.Interfaces.Exists(w.HostIface)
}

// prefixes begin the names of the interfaces of workloads.
func (a *Agent) prefixes() []string {
	prefixes := a.config.InterfacePrefix.All()
	if !slices.Contains(prefixes, podInterfaces) {
		prefixes = append(prefixes, podInterfaces)
	}
	return prefixes
}

// isWorkload reports whether an interface can be a workload's.
func (a *Agent) isWorkload(device string) bool {
	return policy.ValidInterface(device) &&
		slices.ContainsFunc(a.prefixes(), func(prefix string) bool { return strings.HasPrefix(device, prefix) })
}

// renderRules makes the chains of endpoints and policies desired, and the settings of their interfaces.
func (a *Agent) renderRules() {
	if !a.state.dirty.rules {
		return
	}
	a.state.dirty.rules = false
	former := a.unusable
	a.unusable = nil
	in := policy.Input{Policies: a.state.policies, Hosts: a.hostEndpoints()}
	workloads := a.sortedWorkloads()
	for _, w := range workloads {
		e := a.state.endpointOf(w)
		endpoint := policy.Endpoint{Interface: w.HostIface, Addrs: w.Addrs, Policy: e, Sources: a.allowedSources(w)}
		in.Endpoints = append(in.Endpoints, endpoint)
	}
	for device := range a.state.external {
		if !a.isWorkload(device) {
			a.unusable = append(a.unusable, fmt.Sprintf("workload endpoint of interface %q: no name of a workload's interface; set InterfacePrefix", device))
		}
	}
	a.markEndpoints(&in)
	for _, f := range a.opts.Drivers.Families {
		r := a.renderer(f.Family)
		in.Broken = a.brokenSets(f.Family)
		a.program(f, filter.Raw, f.Raw, r.Raw(in))
		a.program(f, filter.Mangle, f.Mangle, r.Mangle(in))
		a.program(f, filter.Filter, f.Filter, r.Filter(in))
	}
	a.renderSysctls(workloads)
	a.forgetExternal(workloads)
	a.metrics.local(a.state, len(workloads))
	if slices.Sort(a.unusable); len(a.unusable) > 0 && !slices.Equal(former, a.unusable) {
		a.log.Warn("part of the policy cannot be enforced", "problems", a.unusable)
	}
}

// brokenSets returns the ids of the sets of a family that could not be made whole.
func (a *Agent) brokenSets(f dataplane.Family) map[string]bool {
	if len(a.broken[f]) == 0 {
		return nil
	}
	broken := map[string]bool{}
	for id := range a.state.sets {
		if a.broken[f][ipset.SetName(f, id)] {
			broken[id] = true
		}
	}
	return broken
}

// tableKey names a table of a family.
type tableKey struct {
	family dataplane.Family
	table  filter.Table
}

// program makes a table desired. Chains whose Keys are as they were the last time are not rendered again.
func (a *Agent) program(f FamilyDrivers, name filter.Table, driver Rules, t policy.Table) {
	key := tableKey{f.Family, name}
	former, now := a.chains[key], make(map[string]any, len(t.Chains))
	for _, c := range t.Chains {
		if known, ok := former[c.Name]; !ok || known != c.Key {
			driver.Set(c.Render())
		}
		now[c.Name] = c.Key
	}
	for _, d := range t.Dispatches {
		if known, ok := former[d.Name]; !ok || !reflect.DeepEqual(known, d) {
			driver.Dispatch(d)
		}
		now[d.Name] = d
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
	a.chains[key] = now
}

// renderer returns the renderer of a family, the same one while the settings are the same.
func (a *Agent) renderer(f dataplane.Family) *policy.Renderer {
	c := a.config
	r := &policy.Renderer{Family: f, Marks: a.marks, InterfacePrefixes: a.prefixes(), ToHost: filter.Drop{}, Deny: filter.Drop{},
		AllowReturns: c.IptablesFilterAllowAction == "RETURN", NoInvalidCheck: c.DisableConntrackInvalidCheck,
		LogPrefix:  c.LogPrefix,
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
	r.Tunnels = a.tunnelGuards(f)
	if a.ipvs.on {
		r.IPVS = &policy.IPVS{}
		for _, ports := range c.KubeNodePortRanges.All() {
			r.IPVS.NodePorts = append(r.IPVS.NodePorts, filter.PortRange(ports))
		}
	}
	if a.state.bgp != nil {
		r.BGPPort = a.state.bgp.ListenPort
	}
	if former := a.renderers[f]; former == nil || !reflect.DeepEqual(former, r) {
		a.renderers[f] = r
	}
	return a.renderers[f]
}

func failsafes(ports config.ProtoPorts) []policy.Failsafe {
	var list []policy.Failsafe
	for _, p := range ports.All() {
		list = append(list, policy.Failsafe{Protocol: p.Protocol, Net: p.Net, Port: p.Port})
	}
	return list
}

// hostEndpoints finds the interface of each host endpoint. Of several for one interface the one that names it
// wins, then the first by name, as in Calico.
func (a *Agent) hostEndpoints() []policy.HostEndpoint {
	taken := map[string]*wire.HostEndpoint{}
	take := func(h *wire.HostEndpoint, device string) {
		if other := taken[device]; other != nil {
			a.unusable = append(a.unusable, fmt.Sprintf("host endpoint %s: interface %s has host endpoint %s already", h.Name, device, other.Name))
			return
		}
		taken[device] = h
	}
	var byAddr []*wire.HostEndpoint
	for _, name := range slices.Sorted(maps.Keys(a.state.hostEndpoints)) {
		switch h := a.state.hostEndpoints[name]; {
		case h.Interface == "":
			byAddr = append(byAddr, h)
		case h.Interface == policy.AnyInterface:
			take(h, h.Interface)
		case !policy.ValidInterface(h.Interface) || a.isWorkload(h.Interface):
			a.unusable = append(a.unusable, fmt.Sprintf("host endpoint %s: %q cannot be an interface of the host", h.Name, h.Interface))
		default:
			take(h, h.Interface)
		}
	}
	for _, h := range byAddr {
		if device := a.interfaceOf(h); device != "" {
			take(h, device)
		} else {
			a.unusable = append(a.unusable, fmt.Sprintf("host endpoint %s: no interface of the host has one of %v", h.Name, h.ExpectedIPs))
		}
	}
	var hosts []policy.HostEndpoint
	for _, device := range slices.Sorted(maps.Keys(taken)) {
		hosts = append(hosts, policy.HostEndpoint{Interface: device, Policy: taken[device]})
	}
	return hosts
}

// interfaceOf finds the interface that has one of a host endpoint's addresses.
func (a *Agent) interfaceOf(h *wire.HostEndpoint) string {
	for _, addr := range h.ExpectedIPs {
		if device := a.opts.Drivers.Interfaces.WithAddr(addr); policy.ValidInterface(device) && !a.isWorkload(device) {
			return device
		}
	}
	return ""
}

// forgetExternal does for the workloads that the datastore tells of what Add and Remove do for those of CNI.
func (a *Agent) forgetExternal(workloads []cniserver.Workload) {
	former := a.external
	a.external = map[string]cniserver.Workload{}
	for _, w := range workloads {
		if _, made := a.workloads[w.HostIface]; made {
			continue
		}
		a.external[w.HostIface] = w
		if old, known := former[w.HostIface]; known && old.UID == w.UID && slices.Equal(old.Addrs, w.Addrs) {
			delete(former, w.HostIface)
		} else if a.everApplied {
			a.forgetConnections(w)
		}
	}
	for _, w := range former {
		a.forgetConnections(w)
	}
}

// renderSysctls makes the kernel route between interfaces, and answer for the gateway that pods are given.
func (a *Agent) renderSysctls(workloads []cniserver.Workload) {
	s := a.opts.Drivers.Sysctls
	for _, f := range a.opts.Drivers.Families {
		if a.config.IPForwarding == "Enabled" {
			s.Set(fmt.Sprintf("net/%s/conf/all/forwarding", sysctlName(f.Family)), "1")
		}
	}
	present := make(map[string]bool, len(workloads))
	for _, w := range workloads {
		if !a.hasInterface(w) {
			continue
		}
		device, filter := w.HostIface, rpFilterOf(a.allowedSources(w))
		present[device] = true
		if former := a.sysctls[device]; former.rpFilter == filter && slices.Equal(former.addrs, w.Addrs) {
			continue
		}
		a.sysctls[device] = deviceSettings{w.Addrs, filter}
		a.closeIPv6(w)
		for _, addr := range w.Addrs {
			family := dataplane.FamilyOf(addr)
			if !a.programs(family) {
				continue
			}
			conf := fmt.Sprintf("net/%s/conf/%s/", sysctlName(family), device)
			s.Set(conf+"forwarding", "1")
			if family == dataplane.IPv4 {
				s.Set(conf+"proxy_arp", "1") // answers for 169.254.1.1
				s.Set(conf+"rp_filter", filter)
				s.Set("net/ipv4/neigh/"+device+"/proxy_delay", "0") // the kernel's default is up to 0.8 s
			}
		}
	}
	for device := range a.sysctls {
		if !present[device] {
			s.RemoveDevice(device)
			delete(a.sysctls, device)
		}
	}
}

// closeIPv6 turns IPv6 off on the host's end of a workload that has no IPv6 rules or no IPv6 address. Through the
// kernel's link-local address it could reach the node, and become the node's router. On other interfaces it keeps the
// node from learning routes.
func (a *Agent) closeIPv6(w cniserver.Workload) {
	if !a.opts.Drivers.HasIPv6 {
		return
	}
	s, conf := a.opts.Drivers.Sysctls, "net/ipv6/conf/"+w.HostIface+"/"
	if !a.programs(dataplane.IPv6) || !slices.ContainsFunc(w.Addrs, netip.Addr.Is6) {
		s.Set(conf+"disable_ipv6", "1")
		return
	}
	s.Set(conf+"accept_ra", "0")
	// Turning IPv6 off removed the pod's gateway. The kernel makes it again, from the interface's MAC address.
	s.Set(conf+"addr_gen_mode", "0")
	s.Set(conf+"disable_ipv6", "0")
}

// programs reports whether Felix programs a family.
func (a *Agent) programs(family dataplane.Family) bool {
	return slices.ContainsFunc(a.opts.Drivers.Families, func(f FamilyDrivers) bool { return f.Family == family })
}

func sysctlName(f dataplane.Family) string { return strings.ToLower(f.String()) }
