// Package scale makes the resources of large clusters, for benchmarks of what computes on them.
//
// A shape is a sequence of resources, each made when it is asked for, so that none is held that its reader does not
// hold. The same arguments give the same resources; no two of them share a string, as if each had been decoded by
// itself. The package is pure, and any goroutine may read a sequence.
package scale

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Resources are a cluster's, in an order in which they could have been created.
type Resources = iter.Seq[metav1.Object]

// markers is how many labels shape Labelled has that policies select by.
const markers = 30

// Labelled is a cluster whose policies select by labels: pods with six labels each in 100 namespaces, perNode of them
// on a node; and global policies, each of which selects the pods with one of 30 labels and allows those with five
// others in.
func Labelled(pods, policies, perNode int) Resources {
	return func(yield func(metav1.Object) bool) {
		each := all(policies, LabelledPolicy, yield) && all(100,
			func(i int) *corev1.Namespace { return namespace(fmt.Sprintf("namespace-%d", i), nil) }, yield)
		if each {
			all(pods, func(i int) *corev1.Pod { return LabelledPod(i, i/perNode) }, yield)
		}
	}
}

func all[T metav1.Object](n int, make func(int) T, yield func(metav1.Object) bool) bool {
	for i := range n {
		if !yield(make(i)) {
			return false
		}
	}
	return true
}

// LabelledPod is the i-th pod of Labelled.
func LabelledPod(i, node int) *corev1.Pod {
	labels := map[string]string{marker(i): "true"}
	for _, n := range []int{10, 11, 20, 30, 40} {
		labels[fmt.Sprintf("one-in-%d", n)] = fmt.Sprintf("value-%d", i%n)
	}
	return pod(fmt.Sprintf("namespace-%d", i%100), fmt.Sprintf("pod-%d", i), i, node, labels)
}

func marker(i int) string { return fmt.Sprintf("example.com/marker-%d", i%markers) }

// LabelledPolicy is the i-th policy of Labelled.
func LabelledPolicy(i int) *v3.GlobalNetworkPolicy {
	p := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("policy-%d", i)}}
	p.Spec.Selector = "has(" + marker(i) + ")"
	for j := range 5 {
		p.Spec.Ingress = append(p.Spec.Ingress, v3.Rule{Action: v3.Allow,
			Source: v3.EntityRule{Selector: "has(" + marker(i+j) + ")"}})
	}
	return p
}

// setSizes are the numbers of networks of the sets of NetworkSets, in turn.
var setSizes = []int{1, 1, 1, 1, 2, 3, 4, 5, 100, 1000}

// NetworkSets is a cluster of pods as in Labelled with global network sets of up to 1,000 networks, and for each set a
// global policy that applies to all pods and allows the set in.
func NetworkSets(pods, sets, perNode int) Resources {
	return func(yield func(metav1.Object) bool) {
		if !Until(yield, Labelled(pods, 0, perNode)) {
			return
		}
		next := netip.MustParseAddr("100.64.0.0")
		for i := range sets {
			name := setName(i)
			s := &v3.GlobalNetworkSet{ObjectMeta: metav1.ObjectMeta{Name: name,
				Labels: map[string]string{"name": name}}}
			for range setSizes[i%len(setSizes)] {
				s.Spec.Nets = append(s.Spec.Nets, next.String()+"/32")
				next = next.Next()
			}
			if !yield(s) || !yield(SetPolicy(i)) {
				return
			}
		}
	}
}

// SetPolicy is the policy of the i-th set of NetworkSets.
func SetPolicy(i int) *v3.GlobalNetworkPolicy {
	p := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("policy-%d", i)}}
	p.Spec.Selector = "all()"
	p.Spec.Ingress = []v3.Rule{{Action: v3.Allow, Source: v3.EntityRule{Selector: "name == '" + setName(i) + "'"}}}
	return p
}

func setName(i int) string { return fmt.Sprintf("set-%d", i) }

// Until passes resources on, and says whether more are wanted.
func Until(yield func(metav1.Object) bool, r Resources) bool {
	for o := range r {
		if !yield(o) {
			return false
		}
	}
	return true
}

// Customers is a cluster of isolated namespaces, each with a pod of 15 labels, five of them its own, and a policy that
// allows traffic within the namespace and to the cluster's DNS; perNode pods are on a node.
func Customers(n, perNode int) Resources {
	return func(yield func(metav1.Object) bool) {
		for i := range n {
			name := fmt.Sprintf("customer-%d", i)
			labels := map[string]string{"namespace-id": text(i, 20), "production": fmt.Sprint(i%2 == 0),
				"kubernetes.io/metadata.name": name}
			if !yield(namespace(name, labels)) || !yield(isolation(name)) || !yield(CustomerPod(i, i/perNode)) {
				return
			}
		}
	}
}

// CustomerPod is the pod of the i-th namespace of Customers.
func CustomerPod(i, node int) *corev1.Pod {
	labels := map[string]string{
		"pod-id": text(5*i, 20), "instance-id": text(5*i+1, 20), "short-id": text(5*i+2, 10),
		"config-hash": text(5*i+3, 20), "version-tag": text(5*i+4, 8),
		"enabled": fmt.Sprint(i % 2), "debug": fmt.Sprint(i / 2 % 2), "canary": fmt.Sprint(i / 4 % 2),
		"managed":     fmt.Sprint(i / 8 % 2),
		"environment": fmt.Sprint("env-", i%3), "tier": fmt.Sprint("tier-", i%4), "region": fmt.Sprint("region-", i%4),
		"team":       fmt.Sprint("team-", i%5),
		"managed-by": "saas-controller", "tenant-id": text(i%5000, 10),
	}
	return pod(fmt.Sprintf("customer-%d", i), fmt.Sprintf("app-%09x", i*7+3), i, node, labels)
}

func isolation(ns string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "isolation"}}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	within := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	udp, dns := corev1.ProtocolUDP, intstr.FromInt32(53)
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: within}}
	p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: within}, {
		To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.96.0.10/32"}}},
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &dns}}}}
	return p
}

// Cluster is a large ordinary cluster: nodes, and in namespaces of 100 pods each ten applications of ten pods; a
// policy, of which each namespace has its share, allows an application's pods in from the next one's. Node i has the
// pods that are congruent to it.
func Cluster(nodes, pods, policies int) Resources {
	return func(yield func(metav1.Object) bool) {
		spaces := (pods + 99) / 100
		_ = all(nodes, Node, yield) &&
			all(spaces, func(i int) *corev1.Namespace { return namespace(fmt.Sprintf("team-%d", i), nil) }, yield) &&
			all(policies, func(i int) *networkingv1.NetworkPolicy { return applicationPolicy(i%spaces, i/spaces) },
				yield) &&
			all(pods, func(i int) *corev1.Pod { return ClusterPod(i, i%nodes) }, yield)
	}
}

// ClusterPod is the i-th pod of Cluster, on a node.
func ClusterPod(i, node int) *corev1.Pod {
	space, application := i/100, i/10%10
	return pod(fmt.Sprintf("team-%d", space), fmt.Sprintf("app-%d-%d", application, i%10), i, node, map[string]string{
		"app.kubernetes.io/name":    fmt.Sprintf("app-%d", application),
		"app.kubernetes.io/part-of": fmt.Sprintf("team-%d", space),
		"pod-template-hash":         text(i/10, 10)})
}

func applicationPolicy(space, i int) *networkingv1.NetworkPolicy {
	application := func(i int) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": fmt.Sprintf("app-%d",
			i%10)}}
	}
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", space),
		Name: fmt.Sprintf("policy-%d", i)}}
	p.Spec.PodSelector = *application(i)
	port := intstr.FromInt32(8080)
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From:  []networkingv1.NetworkPolicyPeer{{PodSelector: application(i + 1)}},
		Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}}
	return p
}

// Blocks are an IP pool with tunnels between subnets, and a block of it on each node, from which nothing is allocated.
func Blocks(nodes int) Resources {
	return func(yield func(metav1.Object) bool) {
		pool := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"}}
		pool.Spec = v3.IPPoolSpec{CIDR: "100.64.0.0/10", VXLANMode: v3.VXLANModeCrossSubnet}
		_ = yield(pool) && all(nodes, block, yield)
	}
}

func block(i int) *v3.IPAMBlock {
	b := blockOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(i>>10), byte(i >> 2), byte(i << 6)}), 26), i)
	for place := range b.Spec.Allocations {
		b.Spec.Unallocated = append(b.Spec.Unallocated, place)
	}
	return b
}

func blockOf(cidr netip.Prefix, node int) *v3.IPAMBlock {
	b := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: strings.NewReplacer(".", "-", "/",
		"-").Replace(cidr.String())}}
	b.Spec = v3.IPAMBlockSpec{CIDR: cidr.String(), Affinity: "host:" + NodeName(node),
		Allocations: make([]*int, blockSize)}
	return b
}

// blockSize is how many addresses a block has.
const blockSize = 64

// Allocated is Labelled with as many pods on a node as a block has addresses, and the blocks that they have theirs
// from.
func Allocated(pods, policies int) Resources {
	return func(yield func(metav1.Object) bool) {
		_ = Until(yield, Labelled(pods, policies, blockSize)) &&
			all((pods+blockSize-1)/blockSize, func(i int) *v3.IPAMBlock { return fullBlock(i, pods) }, yield)
	}
}

// fullBlock is the block of the i-th node of Allocated.
func fullBlock(node, pods int) *v3.IPAMBlock {
	b := blockOf(netip.PrefixFrom(podAddress(node*blockSize), 26), node)
	for place := range b.Spec.Allocations {
		i := node*blockSize + place
		if i >= pods {
			b.Spec.Unallocated = append(b.Spec.Unallocated, place)
			continue
		}
		p := LabelledPod(i, node)
		b.Spec.Allocations[place] = &place
		b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{HandleID: &p.Name,
			ActiveOwnerAttrs: map[string]string{
				v3.AttributeNamespace: p.Namespace, v3.AttributePod: p.Name, v3.AttributeUID: string(p.UID),
				v3.AttributeNode: p.Spec.NodeName}})
	}
	return b
}

// Node is the i-th node of Cluster.
func Node(i int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName(i),
		Labels: map[string]string{"kubernetes.io/hostname": NodeName(i)}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP,
		Address: netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}).String()}}
	return n
}

// NodeName is the name of the i-th node of every shape.
func NodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func namespace(name string, labels map[string]string) *corev1.Namespace {
	if labels == nil {
		labels = map[string]string{"kubernetes.io/metadata.name": strings.Clone(name)}
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func pod(ns, name string, i, node int, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels,
		UID:               types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)),
		CreationTimestamp: metav1.NewTime(time.Unix(int64(1_700_000_000+i), 0))}}
	p.Spec.NodeName, p.Spec.ServiceAccountName = NodeName(node), "default"
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIPs = []corev1.PodIP{{IP: podAddress(i).String()}}
	return p
}

func podAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// text returns a text of a length that follows from n.
func text(n, length int) string {
	const letters = "abcdef0123456789"
	out := make([]byte, length)
	v := uint64(n)*2654435761 + 1
	for i := range out {
		v = v*6364136223846793005 + 1442695040888963407
		out[i] = letters[v>>60]
	}
	return string(out)
}
