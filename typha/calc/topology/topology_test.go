package topology

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/wire"
)

// noPods are pods that never run.
type noPods map[owner.Name]owner.Pod

type noPod struct {
	name  owner.Name
	claim owner.Claim
}

func (p *noPod) PodName() owner.Name { return p.name }
func (*noPod) NodeName() string      { return "" }
func (p *noPod) Claim() *owner.Claim { return &p.claim }

func (p noPods) Pod(name owner.Name) owner.Pod {
	if p[name] == nil {
		p[name] = &noPod{name: name}
	}
	return p[name]
}

func (noPods) Owner(netip.Addr) owner.Pod { return nil }

func newTopology() *Topology { return New(owner.New(noPods{})) }

func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		topology := newTopology()
		return func(c transcript.Command) string { return run(t, topology, c) }
	})
}

func run(t *testing.T, topology *Topology, c transcript.Command) string {
	meta := metav1.ObjectMeta{Name: strings.Join(c.Args[:min(1, len(c.Args))], "")}
	switch c.Name {
	case "flush":
		return printed(topology.Flush())
	case "pool":
		o := &v3.IPPool{ObjectMeta: meta}
		c.Into(t, &o.Spec)
		return problem(topology.SetPool(o))
	case "close":
		topology.ClosePool(meta.Name, "it cannot be read")
	case "block":
		return problem(topology.SetBlock(blockFrom(t, c)))
	case "reservation":
		o := &v3.IPReservation{ObjectMeta: meta}
		c.Into(t, &o.Spec)
		return problem(topology.SetReservation(o))
	case "cooldown":
		o := &v3.IPAMConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		c.Into(t, &o.Spec.IPCooldownSeconds)
		return problem(topology.SetIPAMConfiguration(o))
	case "node":
		o := &corev1.Node{ObjectMeta: meta}
		c.Into(t, &o.Annotations)
		topology.SetNode("Node", o)
	case "port":
		topology.SetBGPPort(meta.Name, 1790)
	case "delete":
		for kind, remove := range map[string]func(string){"pool": topology.DeletePool, "node": topology.DeleteNode,
			"reservation": topology.DeleteReservation, "cooldown": topology.DeleteIPAMConfiguration,
			"block": func(cidr string) { topology.DeleteBlock(v3.BlockName(netip.MustParsePrefix(cidr))) },
		} {
			if kind == c.Args[0] {
				remove(c.Args[1])
			}
		}
	default:
		t.Fatalf("there is no command %s", c.Name)
	}
	return ""
}

// blockFrom reads a block with its allocations by index.
func blockFrom(t *testing.T, c transcript.Command) *v3.IPAMBlock {
	var spec struct {
		Node        string
		Created     int64
		Allocations map[int]struct{ Node, Pod string }
	}
	c.Into(t, &spec)
	o := newBlock(netip.MustParsePrefix(c.Args[0]), spec.Node, spec.Created)
	for _, index := range slices.Sorted(maps.Keys(spec.Allocations)) {
		allocate(o, index, spec.Allocations[index].Node, spec.Allocations[index].Pod)
	}
	return o
}

func newBlock(cidr netip.Prefix, node string, created int64) *v3.IPAMBlock {
	o := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: v3.BlockName(cidr),
		CreationTimestamp: metav1.Unix(created, 0)},
		Spec: v3.IPAMBlockSpec{CIDR: cidr.String(), Allocations: make([]*int, 1<<(cidr.Addr().BitLen()-cidr.Bits()))}}
	if node != "" {
		o.Spec.Affinity = "host:" + node
	}
	for i := range o.Spec.Allocations {
		o.Spec.Unallocated = append(o.Spec.Unallocated, i)
	}
	return o
}

func allocate(o *v3.IPAMBlock, index int, node, pod string) {
	attribute := len(o.Spec.Attributes)
	o.Spec.Allocations[index] = &attribute
	o.Spec.Unallocated = slices.DeleteFunc(o.Spec.Unallocated, func(i int) bool { return i == index })
	attributes := map[string]string{v3.AttributeNode: node}
	if pod != "" {
		attributes[v3.AttributeNamespace], attributes[v3.AttributePod] = "ns", pod
	}
	o.Spec.Attributes = append(o.Spec.Attributes, v3.AllocationAttribute{ActiveOwnerAttrs: attributes})
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return "problem: " + err.Error()
}

func printed(changes Changes) string {
	var lines []string
	ids := slices.SortedFunc(maps.Keys(changes.Objects), func(a, b wire.ID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	for _, id := range ids {
		if object := changes.Objects[id]; object != nil {
			lines = append(lines, fmt.Sprintf("%s %s", id, transcript.Format(object)))
		} else {
			lines = append(lines, fmt.Sprintf("%s is gone", id))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes.Blocks)) {
		if reason := changes.Blocks[name]; reason != "" {
			lines = append(lines, fmt.Sprintf("problem of block %s: %s", name, reason))
		}
	}
	for node, reason := range changes.Nodes {
		if reason != "" {
			lines = append(lines, fmt.Sprintf("problem of %s %s: %s", node.Kind, node.Name, reason))
		}
	}
	return strings.Join(lines, "\n")
}

// TestHistoriesEndAlike: whatever the history was, nodes have the objects that a new Topology computes from the last
// state.
func TestHistoriesEndAlike(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		topology, got, last := newTopology(), map[wire.ID]wire.Object{}, map[string]func(*Topology){}
		for range 60 {
			key, set, remove := randomStep(random)
			last[key] = set
			if random.IntN(3) == 0 {
				delete(last, key)
				set = remove
			}
			set(topology)
			if random.IntN(2) == 0 {
				take(got, topology.Flush())
			}
		}
		take(got, topology.Flush())
		fresh, want := newTopology(), map[wire.ID]wire.Object{}
		for _, set := range last {
			set(fresh)
		}
		take(want, fresh.Flush())
		if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Fatalf("seed %d: objects (-want +got):\n%s", seed, diff)
		}
	}
}

func take(objects map[wire.ID]wire.Object, changes Changes) {
	for id, object := range changes.Objects {
		if object == nil {
			delete(objects, id)
		} else {
			objects[id] = object
		}
	}
}

// randomStep returns a change to one resource, and how to remove the resource.
func randomStep(random *rand.Rand) (key string, set, remove func(*Topology)) {
	node := fmt.Sprint("n", random.IntN(3))
	switch random.IntN(4) {
	case 0:
		name := fmt.Sprint("p", random.IntN(3))
		cidr := []string{"10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/27", "10.1.0.0/16"}[random.IntN(4)]
		o := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(random.Int64N(3), 0)},
			Spec: v3.IPPoolSpec{CIDR: cidr, Disabled: random.IntN(4) == 0}}
		return "pool " + name, func(t *Topology) { t.SetPool(o) }, func(t *Topology) { t.DeletePool(name) }
	case 1:
		o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Annotations: map[string]string{
			v3.NodeIPv4Address: "172.30.0.1/24", v3.NodeIPv4VXLANTunnelAddr: fmt.Sprint("10.0.0.", random.IntN(16))}}}
		return "node " + node, func(t *Topology) { t.SetNode("Node", o) }, func(t *Topology) { t.DeleteNode(node) }
	}
	cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), 0, byte(8 * random.IntN(3))}),
		28+random.IntN(2)).Masked()
	o := newBlock(cidr, node, random.Int64N(3))
	for index := range 8 {
		switch random.IntN(6) {
		case 0:
			allocate(o, index, fmt.Sprint("n", random.IntN(3)), "")
		case 1:
			allocate(o, index, fmt.Sprint("n", random.IntN(3)), "db")
		}
	}
	return "block " + o.Name, func(t *Topology) { t.SetBlock(o) }, func(t *Topology) { t.DeleteBlock(o.Name) }
}
