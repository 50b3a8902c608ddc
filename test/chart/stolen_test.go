package chart

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/ipam"
)

// sequence is the sequence number of the blocks that tests make, and of their allocations.
const sequence = 7

// allocated makes a block whose first addresses are allocated to a pod each on the nodes named; "" leaves one free.
func allocated(cidr, affinity string, nodes ...string) *v3.IPAMBlock {
	prefix := netip.MustParsePrefix(cidr)
	b := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: v3.BlockName(prefix)}, Spec: v3.IPAMBlockSpec{
		CIDR: cidr, Affinity: affinity, SequenceNumber: sequence, Attributes: []v3.AllocationAttribute{},
		Allocations:                 make([]*int, 1<<(prefix.Addr().BitLen()-prefix.Bits())),
		SequenceNumberForAllocation: map[string]uint64{}}}
	for i, node := range nodes {
		if node != "" {
			give(b, i, node)
		}
	}
	fit(b)
	return b
}

// give allocates an address to a pod of a node.
func give(b *v3.IPAMBlock, ordinal int, node string) {
	index, handle := len(b.Spec.Attributes), fmt.Sprintf("k8s-pod-network.%s-%d", node, ordinal)
	b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{HandleID: &handle,
		ActiveOwnerAttrs: map[string]string{
			ipam.AttrNode: node, ipam.AttrNamespace: "shop", ipam.AttrPod: fmt.Sprintf("pod-%d", ordinal),
			ipam.AttrUID: "u"}})
	b.Spec.Allocations[ordinal] = &index
	if b.Spec.SequenceNumberForAllocation == nil { // as it comes back when it was empty
		b.Spec.SequenceNumberForAllocation = map[string]uint64{}
	}
	b.Spec.SequenceNumberForAllocation[fmt.Sprint(ordinal)] = b.Spec.SequenceNumber
	fit(b)
}

// letRest releases an address, so that it rests from some time after the beginning of 2026.
func letRest(b *v3.IPAMBlock, ordinal int, after time.Duration) {
	index, released := len(b.Spec.Attributes), metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(after))
	b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{ReleasedAt: &released})
	b.Spec.Allocations[ordinal] = &index
	fit(b)
}

// take frees an address.
func take(b *v3.IPAMBlock, ordinal int) {
	b.Spec.Allocations[ordinal] = nil
	delete(b.Spec.SequenceNumberForAllocation, fmt.Sprint(ordinal))
	fit(b)
}

// fit makes the list of free addresses that which follows from the allocations.
func fit(b *v3.IPAMBlock) {
	b.Spec.Unallocated = []int{}
	for i, index := range b.Spec.Allocations {
		if index == nil {
			b.Spec.Unallocated = append(b.Spec.Unallocated, i)
		}
	}
}

// changed gives the attempt to change a block, whose sequence number goes up as in every write.
func changed(what string, block *v3.IPAMBlock, change func(*v3.IPAMBlock), refusal string) attempt {
	return updated(what, block, func(b *v3.IPAMBlock) {
		b.Spec.SequenceNumber++
		change(b)
	}, refusal)
}

// longName is the name of a node whose BlockAffinities have to be named by a hash.
var longName = strings.Repeat("n", 240)

// TestStolenNodeToken: whoever has the token of node n1 tries to change what is n2's, beside what n1 has to change.
func TestStolenNodeToken(t *testing.T) {
	in := install(t, []string{"n1", "n2", longName})
	as := in.client(t, in.nodeToken(t, "n1"))
	in.enforced(t, func(ctx context.Context) error {
		return as.Create(ctx, allocated("10.99.0.0/28", "host:n2"), client.DryRunAll)
	})
	t.Run("IPAMBlocks", func(t *testing.T) { stolenBlocks(t, in, as) })
	t.Run("BlockAffinities", func(t *testing.T) { stolenAffinities(t, in, as) })
	t.Run("Nodes", func(t *testing.T) { stolenNodes(t, in, as) })
	t.Run("addresses are assigned", func(t *testing.T) { assignUnderAdmission(t, in) })
}

func stolenBlocks(t *testing.T, in *installed, as client.Client) {
	others := allocated("10.244.0.0/28", "host:n2", "n2", "n1")
	own := allocated("10.244.1.0/28", "host:n1", "n1", "n2")
	ownAlone := allocated("10.244.2.0/28", "host:n1", "n1")
	orphan := allocated("10.244.3.0/28", "", "n2")
	free := allocated("10.244.4.0/28", "")
	provisional := allocated("10.244.7.0/28", "host:n1")
	provisional.Spec.Deleted = true
	resting := allocated("10.244.8.0/28", "host:n2", "n2")
	letRest(resting, 1, 0)
	in.create(t, others, own, ownAlone, orphan, free, provisional, resting)
	const addresses, affinity, fields = "only addresses of its own node",
		"may take the affinity of a block that has none", "may change of a block only"
	nothing := func(*v3.IPAMBlock) {}
	judge(t, as, []attempt{
		changed("n2's block: assign a free address to n1 (borrow)", others, func(b *v3.IPAMBlock) { give(b, 5, "n1") },
			""),
		changed("n2's block: release what n1 borrowed", others, func(b *v3.IPAMBlock) { take(b, 1) }, ""),
		changed("n2's block: let what n1 borrowed rest", others, func(b *v3.IPAMBlock) { letRest(b, 1, 0) }, ""),
		changed("n2's block: let n2's address rest", others, func(b *v3.IPAMBlock) { letRest(b, 0, 0) }, addresses),
		changed("n2's block: let a free address rest", others, func(b *v3.IPAMBlock) { letRest(b, 5, 0) }, ""),
		changed("resting: free it", resting, func(b *v3.IPAMBlock) { take(b, 1) }, ""),
		changed("resting: assign it to n1", resting, func(b *v3.IPAMBlock) { give(b, 1, "n1") }, ""),
		changed("resting: assign it to n2", resting, func(b *v3.IPAMBlock) { give(b, 1, "n2") }, addresses),
		changed("resting: let it rest for longer", resting, func(b *v3.IPAMBlock) { letRest(b, 1, time.Hour) },
			addresses),
		changed("n2's block: release n2's address", others, func(b *v3.IPAMBlock) { take(b, 0) }, addresses),
		changed("n2's block: assign a free address to n2", others, func(b *v3.IPAMBlock) { give(b, 5, "n2") },
			addresses),
		changed("n2's block: assign a free address to no node", others, func(b *v3.IPAMBlock) {
			give(b, 5, "n1")
			delete(b.Spec.Attributes[2].ActiveOwnerAttrs, ipam.AttrNode)
		}, addresses),
		changed("n2's block: give n2's address to n1", others, func(b *v3.IPAMBlock) { give(b, 0, "n1") }, addresses),
		changed("n2's block: give n1's address to n2", others, func(b *v3.IPAMBlock) { give(b, 1, "n2") }, addresses),
		changed("n2's block: write n1 into n2's attribute", others, func(b *v3.IPAMBlock) {
			b.Spec.Attributes[0].ActiveOwnerAttrs[ipam.AttrNode] = "n1"
		}, addresses),
		changed("n2's block: name another pod in n2's attribute", others, func(b *v3.IPAMBlock) {
			b.Spec.Attributes[0].ActiveOwnerAttrs[ipam.AttrPod] = "other"
		}, addresses),
		changed("n2's block: another handle in n2's attribute", others,
			func(b *v3.IPAMBlock) { *b.Spec.Attributes[0].HandleID = "other" }, addresses),
		changed("n2's block: point n2's address at n1's attribute", others,
			func(b *v3.IPAMBlock) { *b.Spec.Allocations[0] = 1 }, addresses),
		changed("n2's block: exchange the attributes, and what points at them", others, func(b *v3.IPAMBlock) {
			b.Spec.Attributes[0], b.Spec.Attributes[1] = b.Spec.Attributes[1], b.Spec.Attributes[0]
			*b.Spec.Allocations[0], *b.Spec.Allocations[1] = 1, 0
		}, ""),
		changed("n2's block: exchange the attributes alone", others, func(b *v3.IPAMBlock) {
			b.Spec.Attributes[0], b.Spec.Attributes[1] = b.Spec.Attributes[1], b.Spec.Attributes[0]
		}, addresses),
		changed("n2's block: an attribute that does not exist", others,
			func(b *v3.IPAMBlock) { *b.Spec.Allocations[0] = 9 }, "index out of bounds"),
		changed("n2's block: fewer addresses", others,
			func(b *v3.IPAMBlock) { b.Spec.Allocations = b.Spec.Allocations[:8] }, addresses),
		changed("n2's block: another sequence number of n2's address", others, func(b *v3.IPAMBlock) {
			b.Spec.SequenceNumberForAllocation["0"]++
		}, "only the sequence numbers of its own"),
		changed("n2's block: no sequence number of n2's address", others, func(b *v3.IPAMBlock) {
			delete(b.Spec.SequenceNumberForAllocation, "0")
		}, "only the sequence numbers of its own"),
		changed("n2's block: the sequence number leaps", others,
			func(b *v3.IPAMBlock) { b.Spec.SequenceNumber = 1 << 62 }, "increases its sequence number by one"),
		changed("n2's block: the sequence number goes back", others,
			func(b *v3.IPAMBlock) { b.Spec.SequenceNumber -= 3 }, "increases its sequence number by one"),
		changed("n2's block: take its affinity", others, func(b *v3.IPAMBlock) { b.Spec.Affinity = "host:n1" },
			affinity),
		changed("n2's block: take its affinity away", others, func(b *v3.IPAMBlock) { b.Spec.Affinity = "" }, affinity),
		changed("n2's block: make it a load balancer's", others,
			func(b *v3.IPAMBlock) { b.Spec.Affinity = "virtual:x" }, affinity),
		changed("n2's block: another CIDR", others, func(b *v3.IPAMBlock) { b.Spec.CIDR = "10.244.9.0/28" }, fields),
		changed("n2's block: mark it as deleted", others, func(b *v3.IPAMBlock) { b.Spec.Deleted = true }, fields),
		changed("n2's block: strict affinity", others, func(b *v3.IPAMBlock) { b.Spec.StrictAffinity = true }, fields),
		changed("n2's block: a finalizer", others, func(b *v3.IPAMBlock) { b.Finalizers = []string{"x.y/z"} }, fields),
		changed("n2's block: an owner, with which it goes", others, func(b *v3.IPAMBlock) {
			b.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "gone", UID: "u"}}
		}, fields),
		changed("n2's block: attributes that nothing points at", others, func(b *v3.IPAMBlock) {
			for range 20 {
				b.Spec.Attributes = append(b.Spec.Attributes, b.Spec.Attributes[1])
			}
		}, "no more free addresses, attributes"),
		changed("n2's block: an attribute of a megabyte", others, func(b *v3.IPAMBlock) {
			give(b, 5, "n1")
			b.Spec.Attributes[2].ActiveOwnerAttrs["x"] = strings.Repeat("x", 1<<20)
		}, "its attributes are short"),
		deleted("n2's block: delete it", others, affinity),

		changed("its own block: assign", own, func(b *v3.IPAMBlock) { give(b, 5, "n1") }, ""),
		changed("its own block: release", own, func(b *v3.IPAMBlock) { take(b, 0) }, ""),
		changed("its own block: release what n2 borrowed", own, func(b *v3.IPAMBlock) { take(b, 1) }, addresses),
		changed("its own block: mark it as deleted", own, func(b *v3.IPAMBlock) { b.Spec.Deleted = true }, fields),
		changed("its own block: give up the affinity", own, func(b *v3.IPAMBlock) {
			b.Spec.Affinity,
				b.Spec.AffinityClaimTime = "", nil
		}, ""),
		changed("its own block: give the affinity to n2", own, func(b *v3.IPAMBlock) { b.Spec.Affinity = "host:n2" },
			affinity),
		deleted("its own block, from which n2 borrowed: delete it", own, addresses),
		deleted("its own block, from which nobody borrowed: delete it", ownAlone, ""),

		changed("a block without affinity: take it", orphan, func(b *v3.IPAMBlock) { b.Spec.Affinity = "host:n1" }, ""),
		changed("a block without affinity: give it to n2", orphan,
			func(b *v3.IPAMBlock) { b.Spec.Affinity = "host:n2" }, affinity),
		changed("a block without affinity: release n2's address", orphan, func(b *v3.IPAMBlock) { take(b, 0) },
			addresses),
		deleted("a block without affinity that has n2's address: delete it", orphan, addresses),
		deleted("a block without affinity and addresses: delete it", free, ""),

		changed("its own provisional block: use it", provisional, func(b *v3.IPAMBlock) {
			b.Spec.Deleted = false
			give(b, 0, "n1")
		}, ""),
		deleted("its own provisional block: delete it", provisional, ""),
		created("a new block of its own", allocated("10.244.5.0/28", "host:n1", "n1"), ""),
		created("a new block of n2", allocated("10.244.5.0/28", "host:n2"), affinity),
		created("a new block of nobody", allocated("10.244.5.0/28", ""), affinity),
		created("a new block with an address of n2", allocated("10.244.5.0/28", "host:n1", "n1", "n2"), addresses),
		created("a new block of the name of another", renamed(allocated("10.244.5.0/28", "host:n1"), "10-244-6-0-28"),
			fields),
		created("a new block that is larger than the largest", allocated("10.245.0.0/19", "host:n1"), addresses),
		created("a new block with a sequence number near the end", func() client.Object {
			b := allocated("10.244.5.0/28", "host:n1")
			b.Spec.SequenceNumber = 1<<63 - 1
			return b
		}(), "sequence number"),
	})

	unbound := in.client(t, in.stolen(t, "calico-node", ""))
	judge(t, unbound, []attempt{
		changed("a token without a node: any change", ownAlone, nothing, "names no node"),
		created("a token without a node: a new block", allocated("10.244.5.0/28", "host:n1"), "names no node"),
		deleted("a token without a node: delete a block", free, "names no node"),
	})
}

func renamed[T client.Object](object T, name string) T {
	object.SetName(name)
	return object
}

func stolenAffinities(t *testing.T, in *installed, as client.Client) {
	claim := func(node, cidr string) *v3.BlockAffinity {
		return &v3.BlockAffinity{ObjectMeta: metav1.ObjectMeta{Name: ipam.AffinityName(node,
			netip.MustParsePrefix(cidr))},
			Spec: v3.BlockAffinitySpec{Node: node, CIDR: cidr, State: v3.StatePending, Type: "host"}}
	}
	own, others := claim("n1", "10.244.0.0/28"), claim("n2", "10.244.1.0/28")
	in.create(t, own, others)
	const refusal = "no BlockAffinity but those of its own node"
	judge(t, as, []attempt{
		updated("its own: confirm it", own, func(a *v3.BlockAffinity) { a.Spec.State = v3.StateConfirmed }, ""),
		updated("its own: give it to n2", own, func(a *v3.BlockAffinity) { a.Spec.Node = "n2" }, refusal),
		updated("its own: a finalizer", own, func(a *v3.BlockAffinity) { a.Finalizers = []string{"x.y/z"} },
			"neither finalizers nor owners"),
		deleted("its own: delete it", own, ""),
		updated("n2's: confirm it", others, func(a *v3.BlockAffinity) { a.Spec.State = v3.StateConfirmed }, refusal),
		updated("n2's: take it", others, func(a *v3.BlockAffinity) { a.Spec.Node = "n1" }, refusal),
		deleted("n2's: delete it", others, refusal),
		created("a new one", claim("n1", "10.244.2.0/28"), ""),
		created("a new one of IPv6", claim("n1", "fd00:0:0:1::/124"), ""),
		created("a new one of n2", claim("n2", "10.244.2.0/28"), refusal),
		created("a new one of a load balancer", func() client.Object {
			a := claim("n1", "10.244.2.0/28")
			a.Spec.Type = "virtual"
			return a
		}(), refusal),
		created("a new one that takes n2's name", renamed(claim("n1", "10.244.2.0/28"), "n2-10-244-2-0-28"),
			"has to be named n1-10-244-2-0-28"),
	})
	judge(t, in.client(t, in.nodeToken(t, longName)), []attempt{
		created("a new one of a node with a long name", claim(longName, "10.244.2.0/28"), ""),
		created("a new one that takes another's name", renamed(claim(longName, "10.244.2.0/28"), "n2-10-244-2-0-28"),
			"has to be named"),
	})
}

func stolenNodes(t *testing.T, in *installed, as client.Client) {
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	annotation := func(key, value string) string {
		return fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, key, value)
	}
	const own, addresses, rest = "no Node but its own", "only with addresses that the Node's status has",
		"nothing but annotations of its Node"
	judge(t, as, []attempt{
		patched("its own: its address", node("n1"), annotation(v3.NodeIPv4Address, "172.30.0.1/24"), ""),
		patched("its own: its IPv6 address", node("n1"), annotation(v3.NodeIPv6Address, "2001:db8::1/64"), ""),
		patched("its own: its tunnel's address", node("n1"), annotation(v3.NodeIPv4VXLANTunnelAddr, "10.244.0.1"), ""),
		patched("its own: n2's address", node("n1"), annotation(v3.NodeIPv4Address, "172.30.0.2/24"), addresses),
		patched("its own: an address that is none", node("n1"), annotation(v3.NodeIPv4Address, "x"),
			"ValidatingAdmissionPolicy"),
		patched("its own: its AS number", node("n1"), annotation(v3.NodeASNumber, "64999"), "not "+v3.NodeASNumber),
		patched("its own: an annotation of others", node("n1"),
			annotation("kubeadm.alpha.kubernetes.io/cri-socket", "x"), "not kubeadm"),
		patched("its own: a label", node("n1"), `{"metadata": {"labels": {"zone": "b"}}}`, rest),
		patched("its own: a taint", node("n1"), `{"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}`, rest),
		patched("its own: unschedulable", node("n1"), `{"spec": {"unschedulable": true}}`, rest),
		patched("its own: a finalizer", node("n1"), `{"metadata": {"finalizers": ["x.y/z"]}}`, rest),
		patched("n2's: its address", node("n2"), annotation(v3.NodeIPv4Address, "172.30.0.2/24"), own),
		patched("n2's: a label", node("n2"), `{"metadata": {"labels": {"zone": "b"}}}`, own),
		patched("n2's: a taint", node("n2"), `{"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}`, own),
		deleted("n2's: delete it", node("n2"), "forbidden"),
		created("a new one", node("n3"), "forbidden"),
	})
	judge(t, in.client(t, in.stolen(t, "calico-node", "")), []attempt{
		patched("a token without a node", node("n1"), annotation(v3.NodeIPv4Address, "172.30.0.1/24"), "names no node"),
	})
}

// assignUnderAdmission: every write of the IPAM library passes, at all sizes of blocks, with borrowing, in blocks that
// lost their node, and until everything is released.
func assignUnderAdmission(t *testing.T, in *installed) {
	fresh := func(node string) *ipam.Client {
		t.Helper()
		store, err := kubernetes.New(in.nodeToken(t, node))
		if err != nil {
			t.Fatal(err)
		}
		return assigning(store)
	}
	clients := map[string]*ipam.Client{"n1": fresh("n1"), "n2": fresh("n2")}
	admin, err := kubernetes.New(in.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	handles := 0
	assign := func(node string, pool ipam.Pool, count int) []string {
		t.Helper()
		var requests []ipam.Request
		var names []string
		for range count {
			handles++
			name := fmt.Sprintf("k8s-pod-network.%064d", handles)
			names = append(names, name)
			requests = append(requests, ipam.Request{Handle: name, Families: []ipam.Family{pool.Family()},
				Attributes: map[string]string{
					ipam.AttrNamespace: "shop", ipam.AttrPod: fmt.Sprintf("pod-%d", handles),
					ipam.AttrUID: "0f3ad1c2-5f5e-4f5e-9d5e-0f3ad1c25f5e", ipam.AttrTimestamp: "2026-11-30 18:00:00 " +
						"+0000 UTC"}})
		}
		for _, r := range clients[node].Assign(t.Context(), ipam.Host{Name: node}, []ipam.Pool{pool}, requests) {
			if r.Err != nil {
				t.Fatalf("assign %d addresses of %s on %s: %v", count, pool.CIDR, node, r.Err)
			}
		}
		return names
	}
	release := func(node string, names []string) {
		t.Helper()
		freed, err := clients[node].Release(t.Context(), node, names...)
		if err != nil || len(freed) != len(names) {
			t.Fatalf("release %d addresses on %s: %d, %v", len(names), node, len(freed), err)
		}
	}
	for _, size := range []struct {
		cidr string
		bits int
	}{{"10.0.0.0/30", 32}, {"10.1.0.0/24", 26}, {"10.2.0.0/20", 20}, {"fd00:1::/120", 122}, {"fd00:2::/116", 116}} {
		pool := ipam.Pool{Name: "p", CIDR: netip.MustParsePrefix(size.cidr), BlockSize: size.bits}
		all := 1 << (pool.CIDR.Addr().BitLen() - pool.CIDR.Bits())
		release("n1", assign("n1", pool, all)) // all in one write a block, which costs most to judge
		// n1 takes half of the pool, n2 the rest, which it borrows where there is one block.
		first, second := assign("n1", pool, all/2), assign("n2", pool, all-all/2)
		release("n1", first[:1])
		release("n2", second[len(second)/2:])
		second = append(second[:len(second)/2], assign("n2", pool, 1)...)
		// n1 goes, and leaves its blocks to n2, as far as n2 has addresses there.
		if _, err := ipam.New(admin).ReleaseHost(t.Context(), "n1",
			func(context.Context) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		second = append(second, assign("n2", pool, 1)...)
		release("n2", second)
		clients["n1"] = fresh("n1")
	}
	// n1 lets addresses rest, and n2 assigns them when they have rested.
	resting, limits := fresh("n1"), ipam.Limits{Cooldown: time.Minute}
	resting.SetLimits(func() ipam.Limits { return limits })
	short := ipam.Pool{Name: "r", CIDR: netip.MustParsePrefix("10.4.0.0/28"), BlockSize: 28}
	clients["n1"] = resting
	release("n1", assign("n1", short, 16))
	release("n2", assign("n2", short, 16))
	clients["n1"] = fresh("n1")
	host := ipam.Host{Name: "n1"}
	pool := ipam.Pool{Name: "t", CIDR: netip.MustParsePrefix("10.3.0.0/26")}
	if _, err := clients["n1"].EnsureTunnelAddress(t.Context(), host, []ipam.Pool{pool}, encap.VXLAN,
		ipam.IPv4); err != nil {
		t.Error(err)
	}
	if err := clients["n1"].ReleaseTunnelAddress(t.Context(), "n1", encap.VXLAN, ipam.IPv4); err != nil {
		t.Error(err)
	}
}
