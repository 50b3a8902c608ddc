package cniserver

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// TestInterfaceNameThatAnotherPodHas: the name is a hash of 44 bits, for which a tenant can look until it is another
// tenant's. His pod gets another name, and nothing that is done to it touches the other one.
func TestInterfaceNameThatAnotherPodHas(t *testing.T) {
	name := derive.HostInterface("shop", "web")
	victim := record{Network: "k8s-pod-network", ContainerID: "v1", IfName: "eth0", Namespace: "bank", Pod: "vault",
		UID:       "u",
		HostIface: name, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.200")}, State: stateReady}
	for _, state := range []state{stateReady, stateAdding, stateDeleting} {
		t.Run(string(state), func(t *testing.T) {
			n := newNode(t)
			defer n.start(t)()
			victim.State = state
			if err := n.records.put(victim); err != nil {
				t.Fatal(err)
			}
			made, err := n.links.Pairs.Create(t.Context(), veth.Pair{Host: name, Netns: n.netns(t, "v1"), Pod: "eth0",
				Addrs: victim.Addrs})
			if err != nil {
				t.Fatal(err)
			}
			pair := veth.Pair{Host: name, Netns: n.netns(t, "v1"), Pod: "eth0", Addrs: victim.Addrs, MAC: made.PodMAC}
			n.endpoints.added[name] = victim.workload()
			n.ipam.held[victim.handle()] = victim.Addrs
			unharmed := func(after string) {
				t.Helper()
				n.settle(t)
				r, found := n.records.get(victim.key())
				harm := n.links.Check(t.Context(), pair)
				if !found || r.State != state || harm != nil ||
					n.endpoints.added[name].ContainerID != "v1" || n.ipam.held[victim.handle()] == nil {
					t.Errorf("after %s: record %+v, interface %v, endpoint %+v", after, r, harm,
						n.endpoints.added[name])
				}
			}
			first := n.must(t, request(t, "ADD", "c1", "web", nil))
			if got := first.Interfaces[0].Name; got == name || len(got) != len(name) {
				t.Errorf("the interface is named %q", got)
			}
			unharmed("ADD")
			again := n.must(t, request(t, "ADD", "c1", "web", nil))
			if again.Interfaces[0] != first.Interfaces[0] || n.links.created != 1 {
				t.Errorf("the repeated ADD answers %v, the first %v; %d interfaces were made", again.Interfaces[0],
					first.Interfaces[0], n.links.created)
			}
			n.must(t, request(t, "CHECK", "c1", "web", nil))
			n.must(t, request(t, "ADD", "c2", "web", nil)) // another sandbox
			unharmed("the ADD of another sandbox")
			n.must(t, request(t, "DEL", "c1", "web", nil))
			n.must(t, request(t, "DEL", "c2", "web", nil))
			unharmed("DEL")
			n.endpoints.fail = errors.New("no policy")
			if _, err := n.do(t, t.Context(), request(t, "ADD", "c3", "web", nil)); err == nil {
				t.Error("ADD succeeded")
			}
			unharmed("an ADD that failed")
			if len(n.links.names()) != 1 {
				t.Errorf("interfaces %v", n.links.names())
			}
		})
	}
}

// TestLateAddOfAFormerPod: a pod was made anew under its name, and the runtime still tries the sandbox of the one
// before.
func TestLateAddOfAFormerPod(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.endpoints.uid = "u-web"
	n.must(t, request(t, "ADD", "new", "web", nil))
	late := request(t, "ADD", "old", "web", nil)
	late.Args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=former"
	if _, err := n.do(t, t.Context(), late); err == nil {
		t.Error("the ADD of a pod that is no more succeeded")
	}
	n.settle(t)
	name := derive.HostInterface("shop", "web")
	if len(n.links.names()) != 1 || n.links.created != 1 || n.endpoints.added[name].ContainerID != "new" ||
		n.ipam.handles()[0] != "k8s-pod-network.new" {
		t.Errorf("interfaces %v, endpoint %+v, addresses of %v", n.links.names(), n.endpoints.added[name],
			n.ipam.handles())
	}
}
