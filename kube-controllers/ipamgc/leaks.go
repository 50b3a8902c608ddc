package ipamgc

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// snapshot is what the controller's cache holds at one time.
type snapshot struct {
	blocks     []v3.IPAMBlock
	affinities []v3.BlockAffinity
	pools      []v3.IPPool
	nodes      map[string]bool // existing nodes; false for one whose kubelet does not report
	pods       map[types.NamespacedName]*corev1.Pod
	reserved   ipreservation.Set
}

// verdict is what a collector concludes from a snapshot.
type verdict struct {
	// nodes are gone, and leases leaked, for longer than their grace periods.
	nodes  []string
	leases []block.Allocation
	// candidates are all leaked addresses, those within the grace period included.
	candidates []block.Allocation
	// next is when the first grace period that still runs ends; 0 when none runs.
	next time.Duration
}

// collector finds addresses that nobody uses. It is pure but for remembering since when
// it has seen each: a leak counts from when it was first seen in a row of snapshots.
type collector struct {
	leakGrace time.Duration
	nodeGrace time.Duration

	leaked map[block.Lease]time.Time
	gone   map[string]time.Time
}

func newCollector(leakGrace, nodeGrace time.Duration) *collector {
	return &collector{leakGrace: leakGrace, nodeGrace: nodeGrace,
		leaked: map[block.Lease]time.Time{}, gone: map[string]time.Time{}}
}

// judge compares a snapshot with what was seen before.
func (c *collector) judge(s *snapshot, now time.Time) verdict {
	var v verdict
	leaked, gone := map[block.Lease]time.Time{}, map[string]time.Time{}
	for node := range s.absentNodes() {
		gone[node] = first(c.gone, node, now)
		if v.ripe(gone[node], c.nodeGrace, now) {
			v.nodes = append(v.nodes, node)
		}
	}
	for i := range s.blocks {
		// A block that contradicts itself is left for its owner to look at.
		allocations, err := block.Allocations(&s.blocks[i])
		if err != nil {
			continue
		}
		for _, a := range allocations {
			if !s.leaked(a) {
				continue
			}
			v.candidates = append(v.candidates, a)
			leaked[a.Lease] = first(c.leaked, a.Lease, now)
			if v.ripe(leaked[a.Lease], c.leakGrace, now) {
				v.leases = append(v.leases, a)
			}
		}
	}
	slices.Sort(v.nodes)
	c.leaked, c.gone = leaked, gone
	return v
}

func first[K comparable](seen map[K]time.Time, key K, now time.Time) time.Time {
	if since, ok := seen[key]; ok {
		return since
	}
	return now
}

// ripe reports whether a grace period is over, and otherwise notes when it will be.
func (v *verdict) ripe(since time.Time, grace time.Duration, now time.Time) bool {
	left := since.Add(grace).Sub(now)
	if left <= 0 {
		return true
	}
	if v.next == 0 || left < v.next {
		v.next = left
	}
	return false
}

// absentNodes are the nodes that hold addresses or blocks, do not exist, and have no live
// pod. While pods of a deleted node live, their addresses are in use.
func (s *snapshot) absentNodes() map[string]bool {
	absent := map[string]bool{}
	note := func(node string) {
		if _, exists := s.nodes[node]; node != "" && !exists {
			absent[node] = true
		}
	}
	for i := range s.blocks {
		note(block.NodeOf(&s.blocks[i]))
		allocations, err := block.Allocations(&s.blocks[i])
		if err != nil {
			continue
		}
		for _, a := range allocations {
			note(a.Attributes[ipam.AttrNode])
		}
	}
	for i := range s.affinities {
		if s.affinities[i].Spec.Type != "virtual" {
			note(s.affinities[i].Spec.Node)
		}
	}
	for _, pod := range s.pods {
		if !finished(pod) {
			delete(absent, pod.Spec.NodeName)
		}
	}
	return absent
}

// leaked reports whether an allocation names a pod that does not hold it. What names no pod,
// such as a tunnel address, lives as long as its node.
func (s *snapshot) leaked(a block.Allocation) bool {
	name := podOf(a)
	heard, exists := s.nodes[a.Attributes[ipam.AttrNode]]
	return name.Name != "" && unused(s.pods[name], a, heard || !exists)
}

// unused reports whether the pod that an allocation names does not use it; the pod is nil if it does not exist. A pod
// on a node whose kubelet does not report goes on running, whatever happens to it in the API: there only what the
// kubelet wrote counts.
func unused(pod *corev1.Pod, a block.Allocation, heard bool) bool {
	return !holds(pod, a) && (heard || pod != nil && isOwner(pod, a))
}

// heardOf reports whether the API shows which pods run on a node: its kubelet reports, or somebody has declared that
// the node is off.
func heardOf(node *corev1.Node) bool {
	off := func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeOutOfService }
	reports := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionUnknown
	}
	return slices.ContainsFunc(node.Spec.Taints, off) || slices.ContainsFunc(node.Status.Conditions, reports)
}

func podOf(a block.Allocation) types.NamespacedName {
	return types.NamespacedName{Namespace: a.Attributes[ipam.AttrNamespace], Name: a.Attributes[ipam.AttrPod]}
}

// holds reports whether a pod, or nil for one that does not exist, can be the owner of an
// allocation. An older sandbox of the same pod shows in the pod's status having other addresses.
func holds(pod *corev1.Pod, a block.Allocation) bool {
	if pod == nil || finished(pod) || !isOwner(pod, a) {
		return false
	}
	return len(pod.Status.PodIPs) == 0 || slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool {
		addr, err := netip.ParseAddr(ip.IP)
		return err == nil && addr.Unmap() == a.Addr
	})
}

// isOwner reports whether a pod is exactly the one that an allocation was made for.
func isOwner(pod *corev1.Pod, a block.Allocation) bool {
	// kubelet runs a static pod by a UID of its own, which the mirror pod has in an annotation.
	uid := a.Attributes[ipam.AttrUID]
	if uid != "" && uid != string(pod.UID) && uid != pod.Annotations[corev1.MirrorPodAnnotationKey] {
		return false
	}
	node := a.Attributes[ipam.AttrNode]
	return node == "" || pod.Spec.NodeName == "" || node == pod.Spec.NodeName
}

// finished reports whether a pod has ended for good, so that nothing runs that uses its addresses.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
