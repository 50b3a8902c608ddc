package calc

import (
	"hash/maphash"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/bgp"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/topology"
	"github.com/maneki-net/maneki/typha/wire"
)

// The kinds that an Engine takes, as Upsert recognises them by type and Delete by name. A name that two API groups have
// is told apart by the group.
const (
	KindPod                           = "Pod"
	KindNamespace                     = "Namespace"
	KindServiceAccount                = "ServiceAccount"
	KindNode                          = "Node"
	KindEndpointSlice                 = "EndpointSlice.discovery.k8s.io"
	KindNetworkPolicy                 = compile.KindNetworkPolicy
	KindClusterNetworkPolicy          = compile.KindClusterNetworkPolicy
	KindIPPool                        = "IPPool.projectcalico.org"
	KindIPAMBlock                     = "IPAMBlock.projectcalico.org"
	KindIPAMConfiguration             = "IPAMConfiguration.projectcalico.org"
	KindIPReservation                 = "IPReservation.projectcalico.org"
	KindBGPConfiguration              = "BGPConfiguration.projectcalico.org"
	KindBGPFilter                     = "BGPFilter.projectcalico.org"
	KindBGPPeer                       = "BGPPeer.projectcalico.org"
	KindFelixConfiguration            = "FelixConfiguration.projectcalico.org"
	KindTier                          = "Tier.projectcalico.org"
	KindCalicoNetworkPolicy           = compile.KindCalicoNetworkPolicy
	KindGlobalNetworkPolicy           = compile.KindGlobalNetworkPolicy
	KindStagedNetworkPolicy           = compile.KindStagedNetworkPolicy
	KindStagedGlobalNetworkPolicy     = compile.KindStagedGlobalNetworkPolicy
	KindStagedKubernetesNetworkPolicy = compile.KindStagedKubernetesNetworkPolicy
	KindNetworkSet                    = "NetworkSet.projectcalico.org"
	KindGlobalNetworkSet              = "GlobalNetworkSet.projectcalico.org"
	KindHostEndpoint                  = "HostEndpoint.projectcalico.org"
	KindProfile                       = compile.KindProfile
	KindCalicoNode                    = "Node.projectcalico.org"
	KindClusterInformation            = "ClusterInformation.projectcalico.org"
	KindWorkloadEndpoint              = "WorkloadEndpoint.projectcalico.org"
	KindCalicoNodeStatus              = "CalicoNodeStatus.projectcalico.org"
)

// Engine is the calculation. Its methods must be called from one goroutine.
type Engine struct {
	budget   compile.Budget
	tenants  tenants
	backlog  backlog
	progress atomic.Uint64
	// lightWork and leastCharge are the constants, except in tests.
	lightWork, leastCharge int

	out      output
	needs    *needs.Tracker
	problems problems

	index        *labelindex.Index // what can be selected, and what selects it
	sets         *sets.Sets
	profileRules map[string]*profileRules // by profileRulesKey

	policies compact.Table[compile.Key, *policy]
	staged   map[*labelindex.Selector]compact.Pointers[policy] // by subject
	tiers    tiers
	lists    policyLists

	// The network between nodes.
	owners   *owner.Table
	topology *topology.Topology
	bgp      *bgp.Resolver
	// poolsByNamespace is set while a pool selects namespaces by their labels.
	poolsByNamespace bool

	asks  statusRequests
	felix felixConfigs

	// What has to be decided again at the next Flush.
	dirty         []*item
	changedGroups []*labelindex.Group // what applies to them: those with applied.dirty. Some may be dropped
	dirtyProfiles map[*profile]struct{}

	tally tally
	seed  maphash.Seed
}

// New returns an Engine without resources, with the default Budget.
func New() *Engine { return NewWithin(compile.Budget{}) }

// NewWithin returns an Engine without resources, with a Budget.
func NewWithin(budget compile.Budget) *Engine {
	seed := maphash.MakeSeed()
	e := &Engine{
		budget: budget.WithDefaults(), lightWork: lightWork, leastCharge: leastCharge, tenants: newTenants(), backlog: backlog{jobs: map[compile.Key]*job{}},
		out:           newOutput(),
		needs:         needs.New(),
		problems:      newProblems(),
		index:         labelindex.New(),
		profileRules:  map[string]*profileRules{},
		policies:      compact.NewTable(seed, (*policy).key),
		staged:        map[*labelindex.Selector]compact.Pointers[policy]{},
		tiers:         tiers{},
		lists:         newPolicyLists(seed),
		bgp:           bgp.New(),
		asks:          newStatusRequests(),
		felix:         newFelixConfigs(),
		dirtyProfiles: map[*profile]struct{}{},
		seed:          seed,
	}
	e.sets = sets.New(e.index)
	e.index.Observe(endpoints{e})
	e.owners = owner.New(pods{e})
	e.topology = topology.New(e.owners)
	return e
}

// Upsert takes in a resource, new or changed. The resource is only read during the call, but
// its maps and slices are kept and must not be modified later. Types that mean nothing to the
// engine are ignored.
func (e *Engine) Upsert(object metav1.Object) {
	switch o := object.(type) {
	case *corev1.Pod:
		e.upsertPod(o)
	case *corev1.Namespace:
		e.upsertNamespace(o)
	case *corev1.ServiceAccount:
		e.upsertServiceAccount(o)
	case *discoveryv1.EndpointSlice:
		e.upsertEndpointSlice(o)
	case *corev1.Node:
		e.upsertNode(o)
	default:
		key, policy, is := e.budget.Policy(object)
		if is {
			e.offerPolicy(key, policy)
		} else {
			e.upsertCalico(object)
		}
	}
}

// upsertCalico processes the resources of projectcalico.org/v3 that are not policies.
func (e *Engine) upsertCalico(object metav1.Object) {
	switch o := object.(type) {
	case *v3.Tier:
		e.upsertTier(o)
	case *v3.NetworkSet:
		e.setNetworks(KindNetworkSet, resourceName{o.Namespace, o.Name}, o.Labels, o.Spec.Nets)
	case *v3.GlobalNetworkSet:
		e.setNetworks(KindGlobalNetworkSet, resourceName{name: o.Name}, o.Labels, o.Spec.Nets)
	case *v3.HostEndpoint:
		e.upsertHostEndpoint(o)
	case *v3.WorkloadEndpoint:
		e.upsertWorkloadEndpoint(o)
	case *v3.Profile:
		e.upsertProfile(o)
	case *v3.Node:
		e.upsertCalicoNode(o)
	case *v3.FelixConfiguration:
		e.felix.set(o)
	case *v3.CalicoNodeStatus:
		e.askForStatus(o.Name, statusRequestOf(o))
	case *v3.ClusterInformation:
		setReadiness(&e.out, o.Name, o)
	default:
		e.upsertNetwork(o)
	}
}

// Refuse takes out a resource that is there and cannot be read, and says so. An IPPool is closed instead: the addresses
// that it gave stay in use. What restricts the assignment of addresses stays as it was read last.
func (e *Engine) Refuse(kind, ns, name, reason string) {
	switch kind {
	case KindIPPool:
		e.topology.ClosePool(name, reason)
		e.problems.set(kind, ns, name, reason)
		return
	case KindIPReservation, KindIPAMConfiguration:
		e.problems.set(kind, ns, name, reason)
		return
	}
	e.Delete(kind, ns, name)
	e.problems.set(kind, ns, name, reason)
}

// Delete takes a resource out. Deleting what is not there does nothing. Namespace is empty
// for kinds without one.
func (e *Engine) Delete(kind, ns, name string) {
	switch kind {
	case KindPod:
		e.deletePod(resourceName{ns, name})
	case KindNamespace:
		e.deleteKubeProfile(v3.NamespaceProfilePrefix + name)
	case KindServiceAccount:
		e.deleteKubeProfile(labelindex.ServiceAccountProfile(ns, name))
	case KindNode, KindCalicoNode:
		e.deleteNode(name)
	case KindEndpointSlice:
		e.sets.SetSlice(sets.SliceName{Namespace: ns, Name: name}, nil)
	case KindNetworkPolicy, KindClusterNetworkPolicy, KindCalicoNetworkPolicy, KindGlobalNetworkPolicy,
		KindStagedNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedKubernetesNetworkPolicy:
		e.removePolicyAt(compile.Key{Kind: kind, Namespace: ns, Name: name})
	case KindTier:
		e.setTier(name, nil)
	case KindNetworkSet, KindGlobalNetworkSet:
		e.removeItem(labelindex.Key{Kind: labelindex.NetworkSet, Namespace: ns, Name: name})
	case KindHostEndpoint:
		e.removeItem(labelindex.Key{Kind: labelindex.Host, Name: name})
	case KindWorkloadEndpoint:
		e.removeItem(labelindex.Key{Kind: labelindex.Workload, Namespace: ns, Name: name})
	case KindProfile:
		e.deleteProfile(name)
	case KindFelixConfiguration:
		e.felix.remove(name)
	case KindCalicoNodeStatus:
		e.askForStatus(name, nil)
	case KindClusterInformation:
		setReadiness(&e.out, name, nil)
	default:
		e.deleteNetwork(kind, name)
	}
	e.problems.set(kind, ns, name, "")
}

// Flush returns what changed since the last call.
func (e *Engine) Flush() Delta {
	d, _ := e.Step(unbounded)
	return d
}

// Step is like Flush, except for policies that take long to put in place. For these it does about limit steps; a step
// matches a selector or adds a member to a set. It reports whether there is more to do. Until a policy is in place, the
// former version stays in place; a new policy allows nothing.
func (e *Engine) Step(limit int) (d Delta, more bool) {
	e.flushNetwork()
	e.flushServices()
	if profiles := e.dirtyProfiles; len(profiles) > 0 {
		e.dirtyProfiles = map[*profile]struct{}{}
		for p := range profiles {
			e.flushProfile(p)
		}
	}
	for first := true; first || limit == unbounded && len(e.backlog.lines) > 0; first = false {
		e.work(limit)
		for again := true; again; again = e.fitPolicies() {
			e.flushGroups()
		}
	}
	e.flushItems()
	d.Sets = e.flushSets()
	e.index.Sweep(limit)
	e.flushFelix()
	d.Upserts, d.Deletes = e.out.flush()
	d.Interest = e.needs.Flush()
	d.Problems = e.problems.flush()
	return d, e.busy()
}

// flushGroups matches what is new, and decides which policies apply to the groups where that may have changed.
func (e *Engine) flushGroups() {
	e.index.Flush()
	for _, g := range e.changedGroups {
		appliedTo(g).dirty = false
		if len(g.Items()) > 0 {
			e.applyPolicies(g)
		}
	}
	e.changedGroups = emptied(e.changedGroups)
}

// flushSets hands out new sets, and returns how others changed.
func (e *Engine) flushSets() []wire.SetDelta {
	changes := e.sets.Flush()
	for _, s := range changes.New {
		e.out.changed(s)
	}
	for _, id := range changes.Gone {
		e.out.gone(id)
	}
	return changes.Deltas
}

// Progress returns the number of steps of the calculation so far. It may be called from any goroutine, even during a
// Flush.
func (e *Engine) Progress() uint64 { return e.progress.Load() + e.index.Steps() + e.sets.Steps() }

// flushItems decides again what applies to the items that changed, and what their nodes get.
func (e *Engine) flushItems() {
	for _, it := range e.dirty {
		e.count(it)
	}
	e.flushPolicyLists()
	for _, it := range e.dirty {
		e.progress.Add(1)
		if it.Kind().IsEndpoint() {
			e.flushEndpoint(it)
		}
		it.clearFlag(itemDirty)
		if it.is(itemGone) && !it.expected() {
			e.index.Remove(&it.Item)
		}
	}
	e.dirty = emptied(e.dirty)
	e.lists.trim()
}

// emptied returns a list without what was in it, and keeps its room for the next Flush where that is little.
func emptied[T any](list []T) []T {
	if cap(list) > 1024 {
		return nil
	}
	clear(list)
	return list[:0]
}
