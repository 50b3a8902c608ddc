// Package nodeview shows the Nodes of an etcd in the form of Kubernetes' Nodes, with annotations, so that Felix has one
// way to say what its node is.
//
// Get and Update of a corev1.Node read and write the v3.Node of the name, which users or an orchestrator make. All else
// goes straight through. It owns no connection; Felix calls it. Any number of goroutines may use a Store.
package nodeview

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// Store implements datastore.Store. Make one by New.
type Store struct{ datastore.Store }

// New makes a Store over one that has v3.Nodes.
func New(s datastore.Store) *Store { return &Store{s} }

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	if kind != datastore.Nodes {
		return s.Store.Get(ctx, kind, key)
	}
	node, err := datastore.Get[*v3.Node](ctx, s.Store, datastore.CalicoNodes, key)
	if err != nil {
		return nil, err
	}
	return view(node), nil
}

// Update implements datastore.Store. Of a Node it writes what annotations say, and the labels.
func (s *Store) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if kind != datastore.Nodes {
		return s.Store.Update(ctx, kind, object)
	}
	if err := datastore.CheckWrite("update", kind, object, true); err != nil {
		return nil, err
	}
	node, err := datastore.Get[*v3.Node](ctx, s.Store, datastore.CalicoNodes, datastore.KeyOf(object))
	if err != nil {
		return nil, err
	}
	said := derive.Node(object.(*corev1.Node))
	said.Spec.Addresses, said.Spec.OrchRefs = node.Spec.Addresses, node.Spec.OrchRefs
	said.Status.PodCIDRs = node.Status.PodCIDRs
	node.Spec, node.Status, node.Labels = said.Spec, said.Status, said.Labels
	node.ResourceVersion = object.GetResourceVersion() // as it was read
	stored, err := s.Store.Update(ctx, datastore.CalicoNodes, node)
	if err != nil {
		return nil, err
	}
	return view(stored.(*v3.Node)), nil
}

// view returns the Node of Kubernetes that says the same. Its addresses are those of spec.bgp, and then those that
// have the type InternalIP.
func view(node *v3.Node) *corev1.Node {
	v := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID,
		ResourceVersion:   node.ResourceVersion,
		CreationTimestamp: node.CreationTimestamp}}
	derive.ApplyNode(node, v)
	v.Labels = node.Labels
	var addresses []string
	if bgp := node.Spec.BGP; bgp != nil {
		addresses = append(addresses, bgp.IPv4Address, bgp.IPv6Address)
	}
	for _, a := range node.Spec.Addresses {
		if a.Type == string(corev1.NodeInternalIP) {
			addresses = append(addresses, a.Address)
		}
	}
	for i, address := range addresses {
		address, _, _ = strings.Cut(address, "/")
		if address != "" && !slices.Contains(addresses[:i], address) {
			v.Status.Addresses = append(v.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP,
				Address: address})
		}
	}
	return v
}
