package calc

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/wire"
)

func (e *Engine) upsertHostEndpoint(o *v3.HostEndpoint) {
	it := e.item(labelindex.Key{Kind: labelindex.Host, Name: o.Name})
	var errs field.ErrorList
	spec := field.NewPath("spec")
	nets := readNets(spec.Child("expectedIPs"), o.Spec.ExpectedIPs, &errs)
	var ports []labelindex.Port
	for i, p := range o.Spec.Ports {
		ports = addPort(ports, spec.Child("ports").Index(i), p, &errs)
	}
	if o.Spec.InterfaceName == "" && len(nets) == 0 {
		errs = append(errs, field.Required(spec.Child("interfaceName"), "or else expectedIPs: they say which "+
			"interface it is"))
	}
	if o.Spec.Node == "" {
		errs = append(errs, field.Required(spec.Child("node"), "the name of the node"))
	}
	e.problems.set(KindHostEndpoint, "", o.Name, compile.Reason(errs))
	it.detail = &o.Spec
	e.moveTo(it, needs.NodeNamed(o.Spec.Node))
	if o.Spec.InterfaceName == "" && len(nets) == 0 {
		e.index.Exclude(&it.Item)
	} else {
		e.index.SetAttributes(&it.Item, labelindex.Attributes{Profiles: o.Spec.Profiles, Labels: o.Labels,
			Ports: labelindex.PackPorts(ports)})
	}
	e.setNets(it, nets)
	e.mark(it)
}

// upsertWorkloadEndpoint takes in a workload of a datastore that has no pods.
func (e *Engine) upsertWorkloadEndpoint(o *v3.WorkloadEndpoint) {
	it := e.item(labelindex.Key{Kind: labelindex.Workload, Namespace: o.Namespace, Name: o.Name})
	var errs field.ErrorList
	spec := field.NewPath("spec")
	nets := readNets(spec.Child("ipNetworks"), o.Spec.IPNetworks, &errs)
	var ports []labelindex.Port
	for i, p := range o.Spec.Ports {
		if p.Name != "" {
			port := v3.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port}
			ports = addPort(ports, spec.Child("ports").Index(i), port, &errs)
		}
	}
	if _, err := sourcesOf(o.Spec.AllowSpoofedSourcePrefixes); err != nil {
		errs = append(errs, field.Invalid(spec.Child("allowSpoofedSourcePrefixes"), o.Spec.AllowSpoofedSourcePrefixes,
			err.Error()))
	}
	e.problems.set(KindWorkloadEndpoint, o.Namespace, o.Name, compile.Reason(errs))
	it.detail = &o.Spec
	e.moveTo(it, needs.NodeNamed(o.Spec.Node))
	e.index.SetAttributes(&it.Item, labelindex.Attributes{ServiceAccount: o.Spec.ServiceAccountName,
		Orchestrator: o.Spec.Orchestrator, Profiles: o.Spec.Profiles, Labels: o.Labels,
		Ports: labelindex.PackPorts(ports)})
	e.setNets(it, nets)
	e.mark(it)
}

// addPort appends a named port to the list. One that cannot be used is left out and reported.
func addPort(list []labelindex.Port, path *field.Path, p v3.EndpointPort, errs *field.ErrorList) []labelindex.Port {
	number, err := rule.ParseProtocol(p.Protocol)
	if err != nil {
		*errs = append(*errs, field.Invalid(path.Child("protocol"), p.Protocol.String(), err.Error()))
		return list
	}
	return append(list, labelindex.Port{Name: p.Name, Protocol: number, Number: p.Port})
}

// readNets reads networks and addresses. What cannot be read is left out and reported.
func readNets(path *field.Path, texts []string, errs *field.ErrorList) compact.Networks {
	list := make([]netip.Prefix, 0, len(texts))
	for i, text := range texts {
		net, err := rule.ParseNet(text)
		if err != nil {
			if len(*errs) < compile.MaxErrors {
				*errs = append(*errs, field.Invalid(path.Index(i), text, err.Error()))
			}
			continue
		}
		list = append(list, net)
	}
	return compact.PackNetworks(list)
}

// setNetworks takes in a NetworkSet, or with an empty namespace a GlobalNetworkSet.
func (e *Engine) setNetworks(kind string, key resourceName, own map[string]string, texts []string) {
	it := e.item(labelindex.Key{Kind: labelindex.NetworkSet, Namespace: key.namespace, Name: key.name})
	var errs field.ErrorList
	nets := readNets(field.NewPath("spec", "nets"), texts, &errs)
	e.problems.set(kind, key.namespace, key.name, compile.Reason(errs))
	attributes := labelindex.Attributes{Labels: own}
	if key.namespace != "" {
		attributes.Profiles = []string{v3.NamespaceProfilePrefix + key.namespace}
	}
	e.index.SetAttributes(&it.Item, attributes)
	e.setNets(it, nets)
}

// setNodeItem takes in a node, whose addresses ClusterNetworkPolicies can select by its labels.
func (e *Engine) setNodeItem(n *wire.Node, addrs []netip.Addr) {
	it := e.item(labelindex.Key{Kind: labelindex.Node, Name: n.Name})
	var list []netip.Prefix
	for _, a := range addrs {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	e.index.SetAttributes(&it.Item, labelindex.Attributes{Labels: n.Labels})
	e.setNets(it, compact.PackNetworks(list))
}

// handed is what of an endpoint was handed out: where, and a hash of what.
type handed struct {
	node needs.Node
	hash uint64
}

// flushEndpoint decides the endpoint of an item again, and hands it out where that makes it another.
func (e *Engine) flushEndpoint(it *item) {
	before, next := it.sent, handed{}
	var now wire.Object
	if it.isEndpoint() {
		next = handed{it.node, e.hashPod(it)}
		if next.hash == 0 {
			now = e.endpointOf(it)
			next.hash = e.hash(now)
		}
	}
	if before == next {
		return
	}
	it.sent = next
	if before.node != next.node {
		e.needs.Move(it.endpointID(), before.node, next.node)
	}
	switch {
	case !next.node.Known():
		e.out.gone(it.endpointID())
	case now == nil:
		e.out.changed(e.endpointOf(it))
	default:
		e.out.changed(now)
	}
}

func (it *item) endpointID() wire.ID {
	if it.Kind() == labelindex.Host {
		return (&wire.HostEndpoint{Name: it.Name()}).ID()
	}
	return wire.ID{Kind: wire.KindEndpoint, Name: wire.EndpointName(it.Namespace(), it.Name())}
}

// hashPod returns a number that no other endpoint of a pod has, made from what is known of it; 0 if there is more to
// it.
func (e *Engine) hashPod(it *item) uint64 {
	d, is := it.detail.(*podDetail)
	if !is {
		return 0
	}
	ns := namespaceOf(it)
	if len(d.annotations)+len(ns.annotations) > 0 || e.network.poolsByNamespace && ns.kube {
		return 0
	}
	known := struct {
		uid             owner.UID
		tiers, profiles uint64
	}{uid: d.claim.UID()}
	if r := appliedTo(it.Group()).rules; r != nil {
		known.profiles = r.hash
	}
	if l := appliedTo(it.Group()).policies; l != nil {
		known.tiers = l.hash
	}
	return maphash.Comparable(e.seed, known)
}

// namespaceOf returns the profile of a pod's namespace, without content if the engine knows nothing of it.
func namespaceOf(it *item) *profile {
	if p, is := it.Group().Profiles()[0].Value.(*profile); is {
		return p
	}
	return &unknownProfile
}

var unknownProfile profile

// hash returns a number for what a value of wire's types says.
func (e *Engine) hash(v any) uint64 {
	data, err := wire.Encode(v)
	if err != nil {
		panic(err) // the types are ones that can be encoded
	}
	return maphash.Bytes(e.seed, data)
}

// endpointOf returns what applies to an endpoint.
func (e *Engine) endpointOf(it *item) wire.Object {
	if spec, ok := it.detail.(*v3.HostEndpointSpec); ok {
		return e.hostEndpointOf(it, spec)
	}
	applied := appliedTo(it.Group())
	out := &wire.Endpoint{Namespace: it.Namespace(), Pod: it.Name(), Node: it.node.String(),
		Profiles: applied.rules.policyNames(), Tiers: e.lists.ofWorkload(applied.policies)}
	switch d := it.detail.(type) {
	case *podDetail:
		out.UID = d.claim.UID().String()
		out.Annotations = d.annotations
		out.AllowedSources, _ = allowedSources(d.annotations)
		if of := namespaceOf(it).annotations; len(of) > 0 {
			out.Annotations = maps.Clone(of)
			maps.Copy(out.Annotations, d.annotations)
		}
		if e.network.poolsByNamespace {
			out.NamespaceLabels = e.namespaceLabels(namespaceOf(it))
		}
	case *v3.WorkloadEndpointSpec:
		out.Interface = d.InterfaceName
		for net := range it.Networks().All {
			out.Addrs = append(out.Addrs, net.Addr())
		}
		out.AllowedSources, _ = sourcesOf(d.AllowSpoofedSourcePrefixes)
	}
	return out
}

func (e *Engine) hostEndpointOf(it *item, spec *v3.HostEndpointSpec) wire.Object {
	out := &wire.HostEndpoint{Name: it.Name(), Node: it.node.String(), Interface: strings.TrimSpace(spec.InterfaceName),
		Profiles: appliedTo(it.Group()).rules.policyNames()}
	for net := range it.Networks().All {
		out.ExpectedIPs = append(out.ExpectedIPs, net.Addr())
	}
	normal := func(p *policy) bool { return !p.doNotTrack && !p.preDNAT }
	policies := appliedTo(it.Group()).policies
	out.Tiers = policies.tiers(normal)
	out.Forward = policies.tiers(func(p *policy) bool { return normal(p) && p.onForward })
	out.PreDNAT = undecided(policies.tiers(func(p *policy) bool { return p.preDNAT && p.ingress }))
	for i := range out.PreDNAT {
		out.PreDNAT[i].Egress = nil
	}
	out.Untracked = undecided(policies.tiers(func(p *policy) bool { return p.doNotTrack }))
	return out
}

// undecided has what the tiers leave undecided go on.
func undecided(tiers []wire.Tier) []wire.Tier {
	for i := range tiers {
		tiers[i].DefaultAction = wire.Pass
	}
	return tiers
}
