package calc

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

func (e *Engine) upsertHostEndpoint(o *v3.HostEndpoint) {
	it := e.item(itemKey{itemHost, resourceName{name: o.Name}})
	var errs field.ErrorList
	spec := field.NewPath("spec")
	nets := readNets(spec.Child("expectedIPs"), o.Spec.ExpectedIPs, &errs)
	var ports []namedPort
	for i, p := range o.Spec.Ports {
		ports = addPort(ports, spec.Child("ports").Index(i), namedPort{name: p.Name, port: p.Port}, p.Protocol, &errs)
	}
	if o.Spec.InterfaceName == "" && len(nets) == 0 {
		errs = append(errs, field.Required(spec.Child("interfaceName"), "or else expectedIPs: they say which interface it is"))
	}
	if o.Spec.Node == "" {
		errs = append(errs, field.Required(spec.Child("node"), "the name of the node"))
	}
	e.problems.set(KindHostEndpoint, "", o.Name, compile.Reason(errs))
	it.detail = &o.Spec
	e.moveTo(it, nodeNamed(o.Spec.Node))
	if o.Spec.InterfaceName == "" && len(nets) == 0 {
		e.classify(it, nil)
	} else {
		e.classify(it, e.classOf(placeSpec{kind: itemHost, profiles: o.Spec.Profiles}, o.Labels, packPorts(ports)))
	}
	e.setNets(it, nets)
	e.mark(it)
}

// upsertWorkloadEndpoint takes in a workload of a datastore that has no pods.
func (e *Engine) upsertWorkloadEndpoint(o *v3.WorkloadEndpoint) {
	it := e.item(itemKey{itemWorkload, resourceName{o.Namespace, o.Name}})
	var errs field.ErrorList
	spec := field.NewPath("spec")
	nets := readNets(spec.Child("ipNetworks"), o.Spec.IPNetworks, &errs)
	var ports []namedPort
	for i, p := range o.Spec.Ports {
		if p.Name != "" {
			ports = addPort(ports, spec.Child("ports").Index(i), namedPort{name: p.Name, port: p.Port}, p.Protocol, &errs)
		}
	}
	if _, err := sourcesOf(o.Spec.AllowSpoofedSourcePrefixes); err != nil {
		errs = append(errs, field.Invalid(spec.Child("allowSpoofedSourcePrefixes"), o.Spec.AllowSpoofedSourcePrefixes, err.Error()))
	}
	e.problems.set(KindWorkloadEndpoint, o.Namespace, o.Name, compile.Reason(errs))
	it.detail = &o.Spec
	e.moveTo(it, nodeNamed(o.Spec.Node))
	at := placeSpec{itemWorkload, o.Namespace, o.Spec.ServiceAccountName, o.Spec.Orchestrator, o.Spec.Profiles}
	e.classify(it, e.classOf(at, o.Labels, packPorts(ports)))
	e.setNets(it, nets)
	e.mark(it)
}

func addPort(list []namedPort, path *field.Path, p namedPort, protocol intstr.IntOrString, errs *field.ErrorList) []namedPort {
	number, err := rule.ParseProtocol(protocol)
	if err != nil {
		*errs = append(*errs, field.Invalid(path.Child("protocol"), protocol.String(), err.Error()))
		return list
	}
	p.protocol = number
	return append(list, p)
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
	it := e.item(itemKey{itemSet, key})
	var errs field.ErrorList
	nets := readNets(field.NewPath("spec", "nets"), texts, &errs)
	e.problems.set(kind, key.namespace, key.name, compile.Reason(errs))
	at := placeSpec{kind: itemSet, namespace: key.namespace}
	if key.namespace != "" {
		at.profiles = []string{v3.NamespaceProfilePrefix + key.namespace}
	}
	e.classify(it, e.classOf(at, own, ""))
	e.setNets(it, nets)
}

// setNodeItem takes in a node, whose addresses ClusterNetworkPolicies can select by its labels.
func (e *Engine) setNodeItem(n *wire.Node, addrs []netip.Addr) {
	it := e.item(itemKey{itemNode, resourceName{name: n.Name}})
	var list []netip.Prefix
	for _, a := range addrs {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	e.classify(it, e.classOf(placeSpec{kind: itemNode}, n.Labels, ""))
	e.setNets(it, compact.PackNetworks(list))
}

// handed is what of an endpoint was handed out: where, and a hash of what.
type handed struct {
	node nodeName
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
	if before.node != next.node && before.node.known() {
		e.interest.change(before.node.String(), it.endpointID(), false)
	}
	if before.node != next.node && next.node.known() {
		e.interest.change(next.node.String(), it.endpointID(), true)
	}
	switch {
	case !next.node.known():
		e.out.gone(it.endpointID())
	case now == nil:
		e.out.changed(e.endpointOf(it))
	default:
		e.out.changed(now)
	}
}

func (it *item) endpointID() wire.ID {
	if it.kind == itemHost {
		return (&wire.HostEndpoint{Name: it.name}).ID()
	}
	return wire.ID{Kind: wire.KindEndpoint, Name: wire.EndpointName(it.space.name, it.name)}
}

// hashPod returns a number that no other endpoint of a pod has, made from what is known of it; 0 if there is more to
// it.
func (e *Engine) hashPod(it *item) uint64 {
	d, is := it.detail.(*podDetail)
	if !is {
		return 0
	}
	ns := it.class.place.profiles[0]
	if len(d.annotations)+len(ns.annotations) > 0 || e.pools.byNamespace && ns.kube {
		return 0
	}
	known := struct {
		uid             uid
		tiers, profiles uint64
	}{uid: d.uid}
	if r := it.class.place.ruling; r != nil {
		known.profiles = r.hash
	}
	if st := it.class.stack; st != nil {
		known.tiers = st.hash
	}
	return maphash.Comparable(e.seed, known)
}

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
	at := it.class.place
	out := &wire.Endpoint{Namespace: it.space.name, Pod: it.name, Node: it.node.String(), Profiles: at.ruling.policyNames(),
		Tiers: e.tiersOfWorkload(it.class.stack)}
	switch d := it.detail.(type) {
	case *podDetail:
		out.UID = d.uid.String()
		out.Annotations = d.annotations
		out.AllowedSources, _ = allowedSources(d.annotations)
		if of := at.profiles[0].annotations; len(of) > 0 {
			out.Annotations = maps.Clone(of)
			maps.Copy(out.Annotations, d.annotations)
		}
		if e.pools.byNamespace {
			out.NamespaceLabels = e.namespaceLabels(at.profiles[0])
		}
	case *v3.WorkloadEndpointSpec:
		out.Interface = d.InterfaceName
		for net := range it.nets.All {
			out.Addrs = append(out.Addrs, net.Addr())
		}
		out.AllowedSources, _ = sourcesOf(d.AllowSpoofedSourcePrefixes)
	}
	return out
}

func (e *Engine) hostEndpointOf(it *item, spec *v3.HostEndpointSpec) wire.Object {
	out := &wire.HostEndpoint{Name: it.name, Node: it.node.String(), Interface: strings.TrimSpace(spec.InterfaceName),
		Profiles: it.class.place.ruling.policyNames()}
	for net := range it.nets.All {
		out.ExpectedIPs = append(out.ExpectedIPs, net.Addr())
	}
	normal := func(p *policy) bool { return !p.doNotTrack && !p.preDNAT }
	out.Tiers = e.tiersOf(it.class.stack, normal)
	out.Forward = e.tiersOf(it.class.stack, func(p *policy) bool { return normal(p) && p.onForward })
	out.PreDNAT = undecided(e.tiersOf(it.class.stack, func(p *policy) bool { return p.preDNAT && p.ingress }))
	for i := range out.PreDNAT {
		out.PreDNAT[i].Egress = nil
	}
	out.Untracked = undecided(e.tiersOf(it.class.stack, func(p *policy) bool { return p.doNotTrack }))
	return out
}

// undecided has what the tiers leave undecided go on.
func undecided(tiers []wire.Tier) []wire.Tier {
	for i := range tiers {
		tiers[i].DefaultAction = wire.Pass
	}
	return tiers
}
