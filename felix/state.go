package felix

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/wire"
)

// state is what the stream has said, by kind, and what of it was not rendered yet. The loop owns it.
type state struct {
	configs   map[string]*wire.Config
	pools     map[string]*wire.Pool
	hosts     map[string]*wire.Host
	tunnels   map[string]*wire.TunnelEndpoint // by the names of their IDs
	routes    map[netip.Prefix]*wire.Route
	bgp       *wire.BGP
	ipam      *wire.IPAM // nil: nothing restricts the assignment of addresses
	node      *wire.Node // this one; nil while it is unknown
	sets      map[string]bool
	policies  map[string]*wire.Policy
	profiles  int                       // how many of policies are profiles
	endpoints map[string]*wire.Endpoint // by wire.EndpointName
	// external are those of endpoints that name their interface, by that, and naming the names of all that do.
	external      map[string]*wire.Endpoint
	naming        map[string]map[string]bool
	hostEndpoints map[string]*wire.HostEndpoint

	// statusRequest asks for this node's status; nil if nobody does.
	statusRequest *wire.StatusRequest

	dirty dirty
}

// dirty is what changed and was not handed to the dataplane.
type dirty struct {
	config   bool
	routes   bool            // pools, hosts, tunnel endpoints, routes, BGP, facts
	hosts    bool            // host endpoints, and what their interfaces depend on
	settings bool            // what else all rules depend on
	pods     map[string]bool // names of endpoints
	external map[string]bool // interfaces of workloads that the datastore tells of
	policies boundary.Delta[string, *wire.Policy]
	// sets are those that changed or went. Of what was handed over, only the driver and the journal have a copy.
	sets boundary.Delta[string, boundary.SetChange]
}

func (d *dirty) any() bool {
	return d.config || d.routes || d.hosts || d.settings || len(d.pods)+len(d.external) > 0 || !d.policies.Empty() ||
		!d.sets.Empty()
}

func newState() *state {
	return &state{
		configs: map[string]*wire.Config{}, pools: map[string]*wire.Pool{}, hosts: map[string]*wire.Host{},
		tunnels: map[string]*wire.TunnelEndpoint{},
		routes:  map[netip.Prefix]*wire.Route{}, sets: map[string]bool{},
		policies: map[string]*wire.Policy{}, endpoints: map[string]*wire.Endpoint{},
		external: map[string]*wire.Endpoint{}, naming: map[string]map[string]bool{},
		hostEndpoints: map[string]*wire.HostEndpoint{},
		dirty: dirty{config: true, routes: true, hosts: true, settings: true, pods: map[string]bool{},
			external: map[string]bool{}},
	}
}

// upsert takes in an object of the stream.
func (s *state) upsert(object wire.Object) {
	s.touch(object.ID())
	switch o := object.(type) {
	case *wire.Config:
		s.configs[o.Name] = o
	case *wire.Pool:
		s.pools[o.Name] = o
	case *wire.Host:
		s.hosts[o.Name] = o
	case *wire.TunnelEndpoint:
		s.tunnels[o.ID().Name] = o
	case *wire.Route:
		s.routes[o.Dst] = o
	case *wire.BGP:
		s.bgp = o
	case *wire.Node:
		s.node = o
	case *wire.IPAM:
		s.ipam = o
	case *wire.StatusRequest:
		s.statusRequest = o
	case *wire.IPSet:
		s.sets[o.Name] = true
		s.dirty.sets.Set(o.Name, boundary.SetChange{Whole: o})
	case *wire.Policy:
		s.setPolicy(o.Name, o)
	case *wire.Endpoint:
		s.setEndpoint(o.ID().Name, o)
	case *wire.HostEndpoint:
		s.hostEndpoints[o.Name] = o
	}
}

// change takes in a change of a set that is known, and says whether it is.
func (s *state) change(d wire.SetDelta) bool {
	if !s.sets[d.Name] {
		return false
	}
	change := s.dirty.sets.Upserts[d.Name]
	change.Changes = append(change.Changes, d)
	s.dirty.sets.Set(d.Name, change)
	return true
}

// setPolicy takes in a policy, or forgets it when it is nil.
func (s *state) setPolicy(name string, p *wire.Policy) {
	_, had := s.policies[name]
	delete(s.policies, name)
	if p != nil {
		s.policies[name] = p
		s.dirty.policies.Set(name, p)
	} else {
		s.dirty.policies.Delete(name)
	}
	if strings.HasPrefix(name, wire.ProfilePrefix) && had != (p != nil) {
		s.profiles += map[bool]int{true: 1, false: -1}[p != nil]
	}
}

// delete forgets an object of the stream.
func (s *state) delete(id wire.ID) {
	s.touch(id)
	switch id.Kind {
	case wire.KindConfig:
		delete(s.configs, id.Name)
	case wire.KindPool:
		delete(s.pools, id.Name)
	case wire.KindHost:
		delete(s.hosts, id.Name)
	case wire.KindTunnelEndpoint:
		delete(s.tunnels, id.Name)
	case wire.KindRoute:
		if dst, err := netip.ParsePrefix(id.Name); err == nil {
			delete(s.routes, dst)
		}
	case wire.KindBGP:
		s.bgp = nil
	case wire.KindNode:
		s.node = nil
	case wire.KindIPAM:
		s.ipam = nil
	case wire.KindStatusRequest:
		s.statusRequest = nil
	case wire.KindIPSet:
		delete(s.sets, id.Name)
		s.dirty.sets.Delete(id.Name)
	case wire.KindPolicy:
		s.setPolicy(id.Name, nil)
	case wire.KindEndpoint:
		s.setEndpoint(id.Name, nil)
	case wire.KindHostEndpoint:
		delete(s.hostEndpoints, id.Name)
	}
}

// setEndpoint takes in an endpoint, or forgets it when it is nil.
func (s *state) setEndpoint(name string, e *wire.Endpoint) {
	s.dirty.pods[name] = true
	former := s.endpoints[name]
	delete(s.endpoints, name)
	if e != nil {
		s.endpoints[name] = e
	}
	if former != nil && former.Interface != "" {
		delete(s.naming[former.Interface], name)
		s.assign(former.Interface)
	}
	if e != nil && e.Interface != "" {
		if s.naming[e.Interface] == nil {
			s.naming[e.Interface] = map[string]bool{}
		}
		s.naming[e.Interface][name] = true
		s.assign(e.Interface)
	}
}

// assign finds the endpoint that names an interface: of several, as while one takes another's place, the last by name.
func (s *state) assign(device string) {
	s.dirty.external[device] = true
	delete(s.external, device)
	last := ""
	for name := range s.naming[device] {
		if name >= last {
			last, s.external[device] = name, s.endpoints[name]
		}
	}
	if len(s.naming[device]) == 0 {
		delete(s.naming, device)
	}
}

// followsInterfaces reports whether anything depends on which interfaces and addresses the node has.
func (s *state) followsInterfaces() bool {
	if len(s.external) > 0 {
		return true
	}
	for _, h := range s.hostEndpoints {
		if h.Interface == "" {
			return true
		}
	}
	return false
}

func (s *state) touch(id wire.ID) {
	switch id.Kind {
	case wire.KindConfig:
		s.dirty.config = true
	case wire.KindHostEndpoint:
		s.dirty.hosts = true
	case wire.KindBGP:
		s.dirty.settings, s.dirty.routes = true, true
	case wire.KindPool, wire.KindHost, wire.KindTunnelEndpoint, wire.KindRoute:
		s.dirty.routes = true
	}
}

// endpointOf returns the policy of a workload: that of the very pod, not of one of the same name before or after.
func (s *state) endpointOf(w cniserver.Workload) *wire.Endpoint {
	e := s.endpoints[wire.EndpointName(w.Namespace, w.Pod)]
	if e == nil || w.UID != "" && e.UID != w.UID {
		return nil
	}
	return e
}

// sortedPools returns the pools by name.
func (s *state) sortedPools() []*wire.Pool {
	pools := make([]*wire.Pool, 0, len(s.pools))
	for _, name := range slices.Sorted(maps.Keys(s.pools)) {
		pools = append(pools, s.pools[name])
	}
	return pools
}

// limits returns what restricts the assignment of addresses beside the pools.
func (s *state) limits() ipam.Limits {
	if s.ipam == nil {
		return ipam.Limits{}
	}
	return ipam.Limits{Reserved: s.ipam.Reserved, Cooldown: time.Duration(s.ipam.Cooldown) * time.Second}
}

// ipamPools gives, by name, the pools that keep accepts, as IPAM takes them.
func (s *state) ipamPools(keep func(*wire.Pool) bool) []ipam.Pool {
	pools := []ipam.Pool{}
	for _, p := range s.sortedPools() {
		if !keep(p) {
			continue
		}
		pool := ipam.Pool{Name: p.Name, CIDR: p.CIDR, BlockSize: p.BlockSize,
			Disabled: p.Disabled, Closed: p.Closed, Manual: p.Manual,
			NodeSelector: p.NodeSelector, NamespaceSelector: p.NamespaceSelector}
		for _, use := range p.AllowedUses {
			pool.AllowedUses = append(pool.AllowedUses, ipam.Use(use))
		}
		pools = append(pools, pool)
	}
	return pools
}
