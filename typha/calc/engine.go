package calc

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// The kinds that an Engine takes, as Upsert recognises them by type and Delete by name. A name that two API groups have is
// told apart by the group.
const (
	KindPod                           = "Pod"
	KindNamespace                     = "Namespace"
	KindServiceAccount                = "ServiceAccount"
	KindNode                          = "Node"
	KindService                       = "Service"
	KindEndpointSlice                 = "EndpointSlice.discovery.k8s.io"
	KindNetworkPolicy                 = "NetworkPolicy.networking.k8s.io"
	KindClusterNetworkPolicy          = "ClusterNetworkPolicy.policy.networking.k8s.io"
	KindIPPool                        = "IPPool.projectcalico.org"
	KindIPAMBlock                     = "IPAMBlock.projectcalico.org"
	KindBGPConfiguration              = "BGPConfiguration.projectcalico.org"
	KindBGPFilter                     = "BGPFilter.projectcalico.org"
	KindBGPPeer                       = "BGPPeer.projectcalico.org"
	KindFelixConfiguration            = "FelixConfiguration.projectcalico.org"
	KindTier                          = "Tier.projectcalico.org"
	KindCalicoNetworkPolicy           = "NetworkPolicy.projectcalico.org"
	KindGlobalNetworkPolicy           = "GlobalNetworkPolicy.projectcalico.org"
	KindStagedNetworkPolicy           = "StagedNetworkPolicy.projectcalico.org"
	KindStagedGlobalNetworkPolicy     = "StagedGlobalNetworkPolicy.projectcalico.org"
	KindStagedKubernetesNetworkPolicy = "StagedKubernetesNetworkPolicy.projectcalico.org"
	KindNetworkSet                    = "NetworkSet.projectcalico.org"
	KindGlobalNetworkSet              = "GlobalNetworkSet.projectcalico.org"
	KindHostEndpoint                  = "HostEndpoint.projectcalico.org"
	KindProfile                       = "Profile.projectcalico.org"
	KindCalicoNode                    = "Node.projectcalico.org"
	KindWorkloadEndpoint              = "WorkloadEndpoint.projectcalico.org"
)

// Engine is the calculation. Its methods must be called from one goroutine.
type Engine struct {
	out      output
	interest interest
	verdicts map[Verdict]Verdict // by the verdict without its reason; changed since the last Flush
	judged   map[Verdict]string  // the reasons that stand

	namespaces map[string]*namespace
	selectors  map[string]*selector // by canonical form
	index      map[indexKey]map[*selector]struct{}
	sets       map[string]*ipSet
	policies   map[podKey]*policy
	profiles   map[string]int // by namespace, the endpoints that have it

	addresses addresses
	pools     map[string]*wire.Pool
	blocks    map[string]*block
	hosts     map[string]*wire.Host
	bgp       bgpState

	dirtySets map[*ipSet]struct{}
	dirtyPods map[podKey]struct{} // whose Endpoint has to be made again
}

// New makes an Engine that knows of no resource.
func New() *Engine {
	return &Engine{
		out:        output{current: map[wire.ID]wire.Object{}, pending: map[wire.ID]wire.Object{}},
		interest:   interest{nodes: map[string]map[wire.ID]int{}, before: map[string]map[wire.ID]bool{}},
		verdicts:   map[Verdict]Verdict{},
		judged:     map[Verdict]string{},
		namespaces: map[string]*namespace{},
		selectors:  map[string]*selector{},
		index:      map[indexKey]map[*selector]struct{}{},
		sets:       map[string]*ipSet{},
		policies:   map[podKey]*policy{},
		profiles:   map[string]int{},
		addresses:  newAddresses(),
		pools:      map[string]*wire.Pool{},
		blocks:     map[string]*block{},
		hosts:      map[string]*wire.Host{},
		bgp:        newBGPState(),
		dirtySets:  map[*ipSet]struct{}{},
		dirtyPods:  map[podKey]struct{}{},
	}
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
	case *corev1.Node:
		e.upsertNode(o)
	case *networkingv1.NetworkPolicy:
		e.upsertNetworkPolicy(o)
	case *v3.IPPool:
		e.upsertPool(o)
	case *v3.IPAMBlock:
		e.upsertBlock(o)
	case *v3.BGPConfiguration:
		e.upsertBGPConfiguration(o)
	case *v3.BGPFilter:
		e.upsertBGPFilter(o)
	case *v3.BGPPeer:
		e.upsertBGPPeer(o)
	case *v3.FelixConfiguration:
		e.upsertFelixConfiguration(o)
	}
}

// Delete takes a resource out. Deleting what is not there does nothing. Namespace is empty
// for kinds without one.
func (e *Engine) Delete(kind, ns, name string) {
	switch kind {
	case KindPod:
		e.deletePod(podKey{ns, name})
	case KindNamespace:
		e.deleteNamespace(name)
	case KindNode:
		e.deleteNode(name)
	case KindNetworkPolicy:
		e.deleteNetworkPolicy(podKey{ns, name})
	case KindIPPool:
		e.deletePool(name)
	case KindIPAMBlock:
		e.deleteBlock(name)
	case KindBGPConfiguration:
		e.deleteBGPConfiguration(name)
	case KindBGPFilter:
		e.deleteBGPFilter(name)
	case KindBGPPeer:
		e.deleteBGPPeer(name)
	case KindFelixConfiguration:
		e.deleteFelixConfiguration(name)
	}
	e.judge(kind, ns, name, "")
}

// Flush gives what changed since the last call.
func (e *Engine) Flush() Delta {
	for s := range e.dirtySets {
		e.out.set(s.build())
	}
	for key := range e.dirtyPods {
		e.flushEndpoint(key)
	}
	e.flushBGP()
	// New maps, because clearing one costs what it ever held.
	e.dirtySets, e.dirtyPods = map[*ipSet]struct{}{}, map[podKey]struct{}{}

	var d Delta
	d.Upserts, d.Sets, d.Deletes = e.out.flush()
	d.Interest = e.interest.flush()
	d.Verdicts = e.flushVerdicts()
	return d
}

// covering gives the pool that contains a prefix, the most specific one.
func (e *Engine) covering(prefix netip.Prefix) string {
	best, bits := "", -1
	for name, p := range e.pools {
		if p.CIDR.Bits() <= prefix.Bits() && p.CIDR.Contains(prefix.Addr()) &&
			(p.CIDR.Bits() > bits || p.CIDR.Bits() == bits && name < best) {
			best, bits = name, p.CIDR.Bits()
		}
	}
	return best
}
