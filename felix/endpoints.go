package felix

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// endpoints joins what the stream says of the node's endpoints with the workloads that have their interfaces: those
// that CNI made, and those that the datastore tells of. A change of an endpoint costs that endpoint, however many there
// are.
type endpoints struct {
	state      *state
	interfaces Interfaces
	config     *config.Config
	tables     map[dataplane.Family]*routing.Table

	made map[string]cniserver.Workload // by CNI, by the host's end
	pods map[string]map[string]bool    // the interfaces of made, by the pod's wire.EndpointName
	// current are the workloads as they are desired, by the host's end.
	current map[string]cniserver.Workload
	owners  map[netip.Addr]map[string]bool // the interfaces of current, by address
	// external are the interfaces of current that the datastore tells of.
	external map[string]bool
	// misnamed are interfaces that the datastore tells of and that cannot be a workload's.
	misnamed map[string]bool
	// asking are the interfaces of current whose endpoints ask to send from further networks.
	asking  map[string]bool
	stale   map[string]bool // interfaces that have to be looked at again
	changes boundary.Delta[string, boundary.Endpoint]
	forget  []netip.Addr
	// running is set once the kernel was programmed: what comes afterwards is new on this node.
	running bool
}

func newEndpoints(s *state, opts *Options) *endpoints {
	e := &endpoints{state: s, interfaces: opts.Interfaces, config: opts.Config,
		tables: map[dataplane.Family]*routing.Table{},
		made:   map[string]cniserver.Workload{}, pods: map[string]map[string]bool{},
		current: map[string]cniserver.Workload{},
		owners:  map[netip.Addr]map[string]bool{}, external: map[string]bool{}, misnamed: map[string]bool{},
		asking: map[string]bool{}, stale: map[string]bool{}}
	for _, f := range opts.Dataplane.Families() {
		e.tables[f] = routing.NewTable(f)
	}
	return e
}

// add makes a workload of CNI desired, in place of the one that had its interface.
func (e *endpoints) add(w cniserver.Workload) {
	e.remove(w.HostIface)
	e.made[w.HostIface] = w
	pod := wire.EndpointName(w.Namespace, w.Pod)
	if e.pods[pod] == nil {
		e.pods[pod] = map[string]bool{}
	}
	e.pods[pod][w.HostIface] = true
	e.update(w.HostIface)
}

// remove makes the workload of CNI that has an interface not desired.
func (e *endpoints) remove(device string) {
	w, known := e.made[device]
	if !known {
		return
	}
	pod := wire.EndpointName(w.Namespace, w.Pod)
	delete(e.made, device)
	delete(e.pods[pod], device)
	if len(e.pods[pod]) == 0 {
		delete(e.pods, pod)
	}
	e.update(device)
}

// forgetConnections ends the connections of a workload that comes or goes, which policy would pass as established: the
// next that has its address must not be reached through them. The CNI server may have lost the one that went with an
// earlier process, so a new one does not count on it.
func (e *endpoints) forgetConnections(w cniserver.Workload) { e.forget = append(e.forget, w.Addrs...) }

// configure takes settings. All endpoints may depend on them.
func (e *endpoints) configure(c *config.Config) {
	e.config = c
	for device := range e.current {
		e.stale[device] = true
	}
	e.interfacesChanged()
}

// interfacesChanged looks at the workloads again that the datastore tells of: CNI itself says when it made an
// interface.
func (e *endpoints) interfacesChanged() {
	for device := range e.state.external {
		e.stale[device] = true
	}
}

// refresh takes in what the stream has said since it was last called.
func (e *endpoints) refresh() {
	for pod := range e.state.dirty.pods {
		for device := range e.pods[pod] {
			e.stale[device] = true
		}
	}
	for device := range e.state.dirty.external {
		e.stale[device] = true
	}
	for device := range e.stale {
		e.update(device)
	}
	// New maps: to clear one costs as much as it ever held.
	e.state.dirty.pods, e.state.dirty.external, e.stale = map[string]bool{}, map[string]bool{}, map[string]bool{}
}

// pending reports whether anything has changed that was not handed to the dataplane.
func (e *endpoints) pending() bool {
	return !e.changes.Empty() || len(e.stale)+len(e.state.dirty.pods)+len(e.state.dirty.external)+len(e.forget) > 0
}

// workload returns the workload that has an interface: that of CNI, or else the one that the datastore tells of.
func (e *endpoints) workload(device string) (w cniserver.Workload, known bool) {
	delete(e.misnamed, device)
	if w, made := e.made[device]; made {
		return w, true
	}
	external := e.state.external[device]
	if external == nil {
		return w, false
	}
	if !isWorkload(e.config, device) {
		e.misnamed[device] = true
		return w, false
	}
	return cniserver.Workload{Namespace: external.Namespace, Pod: external.Pod, UID: external.UID, HostIface: device,
		Addrs: external.Addrs}, true
}

// update makes the endpoint of an interface desired as it is now.
func (e *endpoints) update(device string) {
	w, desired := e.workload(device)
	e.replace(device, w, desired)
	if !desired {
		e.changes.Delete(device)
		for _, t := range e.tables {
			t.RemoveWorkload(device)
		}
		return
	}
	endpoint := boundary.Endpoint{Addrs: w.Addrs, Policy: e.state.endpointOf(w), Present: e.present(device)}
	if p := endpoint.Policy; p != nil && len(p.AllowedSources) > 0 {
		e.asking[device] = true
		if e.config.WorkloadSourceSpoofing == "Any" {
			endpoint.Sources = p.AllowedSources
		}
	}
	e.changes.Set(device, endpoint)
	for _, t := range e.tables {
		if endpoint.Present {
			t.SetWorkload(routing.Workload{Name: w.Namespace + "/" + w.Pod, Interface: device, Addrs: w.Addrs})
		} else {
			t.RemoveWorkload(device)
		}
	}
}

// replace records a workload as that of its interface. For workloads that the datastore tells of it ends the
// connections that add's and remove's callers end for those of CNI.
func (e *endpoints) replace(device string, w cniserver.Workload, desired bool) {
	former, had := e.current[device]
	wasExternal := e.external[device]
	_, made := e.made[device]
	same := had && desired && former.UID == w.UID && slices.Equal(former.Addrs, w.Addrs)
	if had {
		e.disown(former)
	}
	delete(e.asking, device)
	delete(e.current, device)
	delete(e.external, device)
	if wasExternal && (made || !same) {
		e.forgetConnections(former)
	}
	if !desired {
		return
	}
	if !made {
		e.external[device] = true
		if e.running && !(wasExternal && same) {
			e.forgetConnections(w)
		}
	}
	e.current[device] = w
	for _, addr := range w.Addrs {
		if e.owners[addr] == nil {
			e.owners[addr] = map[string]bool{}
		}
		e.owners[addr][device] = true
	}
}

func (e *endpoints) disown(w cniserver.Workload) {
	for _, addr := range w.Addrs {
		delete(e.owners[addr], w.HostIface)
		if len(e.owners[addr]) == 0 {
			delete(e.owners, addr)
		}
	}
}

// present reports whether an interface exists. CNI says so itself of those that it made.
func (e *endpoints) present(device string) bool {
	_, made := e.made[device]
	return made || e.interfaces.Exists(device)
}

// refusal returns why a workload cannot be added: another one has its interface or one of its addresses.
func (e *endpoints) refusal(w cniserver.Workload) error {
	e.refresh()
	another := func(device string) (cniserver.Workload, bool) {
		other, has := e.current[device]
		return other, has && (other.Namespace != w.Namespace || other.Pod != w.Pod)
	}
	if other, is := another(w.HostIface); is {
		return fmt.Errorf("pod %s/%s: interface %s is that of pod %s/%s: give one of them another name",
			w.Namespace, w.Pod, w.HostIface, other.Namespace, other.Pod)
	}
	for _, addr := range w.Addrs {
		for _, device := range slices.Sorted(maps.Keys(e.owners[addr])) {
			if other, is := another(device); is && e.present(device) {
				return fmt.Errorf("pod %s/%s: address %s is that of pod %s/%s on this node: make one of them anew",
					w.Namespace, w.Pod, addr, other.Namespace, other.Pod)
			}
		}
	}
	return nil
}

// sorted returns the workloads by the host's end.
func (e *endpoints) sorted() []cniserver.Workload {
	return slices.SortedFunc(maps.Values(e.current), func(x, y cniserver.Workload) int {
		return strings.Compare(x.HostIface, y.HostIface)
	})
}

// unusable returns the endpoints that cannot be enforced as they are written.
func (e *endpoints) unusable() []string {
	var list []string
	for device := range e.misnamed {
		list = append(list, fmt.Sprintf(
			"workload endpoint of interface %q: no name of a workload's interface; set InterfacePrefix", device))
	}
	return list
}

// isWorkload reports whether an interface can be a workload's.
func isWorkload(c *config.Config, device string) bool {
	return policy.ValidInterface(device) && slices.ContainsFunc(policy.EndpointPrefixes(c.InterfacePrefix.All()),
		func(prefix string) bool { return strings.HasPrefix(device, prefix) })
}

// mostNoticed is how many workloads a notice is about; one more says how many there are beside them.
const mostNoticed = 5

// ignoredSources says which workloads ask to send from further networks in vain. dropped returns why the kernel drops
// what they send from there, or nothing.
func (e *endpoints) ignoredSources(dropped func() string) (notices []string) {
	if len(e.asking) == 0 {
		return nil
	}
	reason := "workloadSourceSpoofing is Disabled on this node; Any permits them"
	if e.config.WorkloadSourceSpoofing == "Any" {
		reason = dropped()
	}
	if reason == "" {
		return nil
	}
	devices := slices.Sorted(maps.Keys(e.asking))
	for _, device := range devices[:min(len(devices), mostNoticed)] {
		w := e.current[device]
		if p := e.state.endpointOf(w); p != nil {
			notices = append(notices, fmt.Sprintf("%s/%s: allowed source prefixes %v have no effect: %s",
				w.Namespace, w.Pod, p.AllowedSources, reason))
		}
	}
	if more := len(devices) - mostNoticed; more > 0 {
		notices = append(notices,
			fmt.Sprintf("allowed source prefixes of %d more workloads have no effect: %s", more, reason))
	}
	return notices
}
