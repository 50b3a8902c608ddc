package etcd_test

import (
	"errors"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestBrokenJSON: a key whose value is not even JSON hides no other. A policy is known by its key, and denies
// everything; what denies nothing is named.
func TestBrokenJSON(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	ctx := bounded(t)
	if _, err := s.Create(ctx, datastore.IPPools, pool("good")); err != nil {
		t.Fatal(err)
	}
	before, err := s.List(ctx, datastore.CalicoNetworkPolicies, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const folder = "/calico/resources/v3/projectcalico.org/"
	put(t, server, folder+"ippools/bad", `{"spec": {"cidr": "10.`)
	put(t, server, folder+"networkpolicies/shop/bad", `{"spec": {"ingress": [{"action": "Allow"}`)
	pools, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pools.Items) != 1 || len(pools.Unusable) != 1 || pools.Unusable[0].Key.Name != "bad" ||
		!errors.Is(pools.Unusable[0].Err, datastore.ErrUnusable) {
		t.Errorf("pools are %v, unusable %+v", pools.Items, pools.Unusable)
	}
	closed := func(o datastore.Object) bool {
		p, ok := o.(*v3.NetworkPolicy)
		return ok && datastore.KeyOf(p) == datastore.Key{Namespace: "shop", Name: "bad"} && len(p.Spec.Types) == 2 &&
			len(p.Spec.Ingress) == 1 && p.Spec.Ingress[0].Action != v3.Allow
	}
	policies, err := s.List(ctx, datastore.CalicoNetworkPolicies, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(policies.Items) != 1 || !closed(policies.Items[0]) {
		t.Errorf("policies are %+v, unusable %+v", policies.Items, policies.Unusable)
	}
	w, err := s.Watch(ctx, datastore.CalicoNetworkPolicies, before.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e, err := w.Next(ctx); err != nil || !closed(e.Object) || e.Err != nil {
		t.Errorf("the watch gives %+v, %v", e, err)
	}
}
