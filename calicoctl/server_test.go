package calicoctl

import (
	"testing"

	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
)

// The datastore of a real API server: its defaults, its refusals, its idea of an update that changes nothing.
func TestAgainstAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	server := apiserver.Start(t)
	store, err := kubernetes.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.store = store
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16")+peer, "IPPool a created\nBGPPeer tor created\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, natOutgoing: true"), "IPPool a configured\n")
	out, _, _ := b.run("get ippool a -o yaml", "")
	b.want("apply -f -", out, "IPPool a unchanged\n")
	b.want("get ippools", "", "NAME   CIDR          SELECTOR\na      10.1.0.0/16   all()\n")
	b.refused("apply -f -", pool("bad", "cidr: 10.300.0.0/16"), "IPPool bad", "spec.cidr")
	b.refused("apply -f -", pool("bad", "cidr: 10.2.0.0/16, vxlanMode: Sometimes"), "IPPool bad", "spec.vxlanMode", "CrossSubnet", "nothing was changed")
	b.refused("apply -f -", pool("a", "cidr: 10.9.0.0/16"), "IPPool a", "spec.cidr")
	b.want("get ippools -o name", "", "ippool/a\n")
	agents, err := NewAgents(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	if nodes, err := agents.Status(t.Context(), ""); err != nil || len(nodes) != 0 {
		t.Errorf("agents of a cluster without nodes: %v, %v", nodes, err)
	}
	b.want("delete ippool a", "", "IPPool a deleted\n")
	b.refused("get ippool a", "", "IPPool a", "not found")
}
