package calc

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

// This file passes nodes, their configuration and the resources of the network between them to the packages topology,
// bgp and nodeconfig.

// upsertNetwork adds or changes a resource of the network or of the configuration of nodes. It ignores other objects.
func (e *Engine) upsertNetwork(object metav1.Object) {
	switch o := object.(type) {
	case *v3.IPPool:
		e.problems.set(KindIPPool, "", o.Name, errorText(e.network.topology.SetPool(o)))
	case *v3.IPAMBlock:
		e.upsertBlock(o)
	case *v3.IPReservation:
		e.problems.set(KindIPReservation, "", o.Name, errorText(e.network.topology.SetReservation(o)))
	case *v3.IPAMConfiguration:
		e.problems.set(KindIPAMConfiguration, "", o.Name, errorText(e.network.topology.SetIPAMConfiguration(o)))
	case *v3.BGPConfiguration:
		e.problems.set(KindBGPConfiguration, "", o.Name, errorText(e.network.bgp.SetConfiguration(o)))
	case *v3.BGPFilter:
		e.problems.set(KindBGPFilter, "", o.Name, errorText(e.network.bgp.SetFilter(o)))
	case *v3.BGPPeer:
		if err := e.network.bgp.SetPeer(o); err != nil { // Flush finds what else is wrong with it
			e.problems.set(KindBGPPeer, "", o.Name, err.Error())
		}
	case *v3.FelixConfiguration:
		e.network.nodes.SetFelix(o)
	case *v3.CalicoNodeStatus:
		e.network.nodes.SetStatus(o)
	case *v3.ClusterInformation:
		if o.Name == v3.ClusterInformationName {
			e.network.nodes.SetClusterInformation(o)
		}
	}
}

// deleteNetwork reverses upsertNetwork. It ignores other kinds.
func (e *Engine) deleteNetwork(kind, name string) {
	switch kind {
	case KindIPPool:
		e.network.topology.DeletePool(name)
	case KindIPAMBlock:
		e.network.topology.DeleteBlock(name)
		e.applyOwners()
	case KindIPReservation:
		e.network.topology.DeleteReservation(name)
	case KindIPAMConfiguration:
		e.network.topology.DeleteIPAMConfiguration(name)
	case KindBGPConfiguration:
		e.network.bgp.DeleteConfiguration(name)
	case KindBGPFilter:
		e.network.bgp.DeleteFilter(name)
	case KindBGPPeer:
		e.network.bgp.DeletePeer(name)
	case KindFelixConfiguration:
		e.network.nodes.DeleteFelix(name)
	case KindCalicoNodeStatus:
		e.network.nodes.DeleteStatus(name)
	case KindClusterInformation:
		if name == v3.ClusterInformationName {
			e.network.nodes.SetClusterInformation(nil)
		}
	}
}

// upsertBlock adds or changes an IPAMBlock. Flush finds what is wrong with one that can be read.
func (e *Engine) upsertBlock(o *v3.IPAMBlock) {
	if o.Spec.Deleted {
		e.Delete(KindIPAMBlock, "", o.Name)
		return
	}
	if err := e.network.topology.SetBlock(o); err != nil {
		e.problems.set(KindIPAMBlock, "", o.Name, err.Error())
	}
	e.applyOwners()
}

func (e *Engine) upsertNode(o *corev1.Node) { e.setNode(KindNode, o) }

// upsertCalicoNode adds or changes a node of a datastore without Nodes of Kubernetes.
func (e *Engine) upsertCalicoNode(o *v3.Node) {
	as := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
	derive.ApplyNode(o, as)
	as.Labels = o.Labels
	for _, a := range o.Spec.Addresses {
		address, _, _ := strings.Cut(a.Address, "/")
		as.Status.Addresses = append(as.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(a.Type),
			Address: address})
	}
	e.setNode(KindCalicoNode, as)
}

func (e *Engine) setNode(kind string, o *corev1.Node) {
	own := &wire.Node{Name: o.Name}
	if len(o.Labels) > 0 {
		own.Labels = o.Labels
	}
	e.setNodeObject(o.Name, own)
	if !e.network.topology.HasNode(o.Name) {
		e.needs.Count(&e.needs.EveryNode, needs.NodeNamed(o.Name), 1)
	}
	e.network.bgp.SetNode(e.network.topology.SetNode(kind, o), own.Labels)
	e.network.nodes.SetNode(o.Name, own.Labels)
	e.setNodeItem(own, nodeAddresses(o))
}

func (e *Engine) deleteNode(name string) {
	if !e.network.topology.HasNode(name) {
		return
	}
	e.network.topology.DeleteNode(name)
	e.network.bgp.DeleteNode(name)
	e.network.nodes.DeleteNode(name)
	e.removeNodeObject(name, wire.ID{Kind: wire.KindNode, Name: name})
	e.needs.Count(&e.needs.EveryNode, needs.NodeNamed(name), -1)
	e.removeItem(labelindex.Key{Kind: labelindex.Node, Name: name})
}

// nodeAddresses returns all addresses of a node's status.
func nodeAddresses(o *corev1.Node) (addrs []netip.Addr) {
	for _, address := range o.Status.Addresses {
		if a, err := netip.ParseAddr(address.Address); err == nil {
			addrs = append(addrs, a.Unmap().WithZone(""))
		}
	}
	return addrs
}

// flushNetwork outputs what changed in the network.
func (e *Engine) flushNetwork() {
	e.flushBGP()
	changes := e.network.topology.Flush()
	for id, object := range changes.Objects {
		e.out.replace(id, object)
	}
	for block, reason := range changes.Blocks {
		e.problems.set(KindIPAMBlock, "", block, reason)
	}
	for node, reason := range changes.Nodes {
		e.problems.set(node.Kind, "", node.Name, reason)
	}
	e.applyOwners()
	e.flushNamespaceSelectors()
	e.flushNodeConfigs()
}

// flushNodeConfigs outputs what changed in the configuration of nodes.
func (e *Engine) flushNodeConfigs() {
	changes := e.network.nodes.Flush()
	for id, object := range changes.Objects {
		e.out.replace(id, object)
	}
	for _, n := range changes.Needs {
		e.own(n.Node, n.ID, n.Needed)
	}
	for name, reason := range changes.Problems {
		e.problems.set(KindFelixConfiguration, "", name, reason)
	}
}

// flushBGP outputs the BGP configurations that changed, and passes on the ports, which every node has to know.
func (e *Engine) flushBGP() {
	changes := e.network.bgp.Flush()
	for node, port := range changes.Ports {
		e.network.topology.SetBGPPort(node, port)
	}
	for peer, reason := range changes.Problems {
		e.problems.set(KindBGPPeer, "", peer, reason)
	}
	for node, object := range changes.Objects {
		if object != nil {
			e.setNodeObject(node, object)
		} else {
			e.removeNodeObject(node, wire.ID{Kind: wire.KindBGP, Name: node})
		}
	}
}

// flushNamespaceSelectors outputs the labels of the namespaces with the endpoints, if a pool selects by them.
func (e *Engine) flushNamespaceSelectors() {
	byNamespace := e.network.topology.PoolsSelectNamespaces()
	if byNamespace == e.network.poolsByNamespace {
		return
	}
	e.network.poolsByNamespace = byNamespace
	for p := range e.eachProfile {
		if p.kube {
			e.markPods(p)
		}
	}
}

// errorText returns the text of an error, which is empty for nil.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
