package owner

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
)

// testPod is a pod, and what it said of itself last.
type testPod struct {
	name   Name
	node   string
	exists bool
	status Status
	claim  Claim
}

func (p *testPod) PodName() Name    { return p.name }
func (p *testPod) NodeName() string { return p.node }
func (p *testPod) Claim() *Claim    { return &p.claim }

// testPods applies the changes of a Table.
type testPods struct {
	pods   map[Name]*testPod
	owners map[netip.Addr]Pod
	table  *Table
	blocks map[netip.Prefix][]Allocation // of the Table
}

func newTestPods() *testPods {
	p := &testPods{pods: map[Name]*testPod{}, owners: map[netip.Addr]Pod{}, blocks: map[netip.Prefix][]Allocation{}}
	p.table = New(p)
	return p
}

func (p *testPods) Pod(name Name) Pod {
	if p.pods[name] == nil {
		p.pods[name] = &testPod{name: name}
	}
	return p.pods[name]
}

func (p *testPods) Owner(addr netip.Addr) Pod { return p.owners[addr] }

// apply applies what changed and returns it as text.
func (p *testPods) apply() string {
	changes := p.table.Changes()
	var lines []string
	for _, c := range changes.Owners {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", c.Addr, nameOf(c.From), nameOf(c.To)))
		if c.To == nil {
			delete(p.owners, c.Addr)
		} else {
			p.owners[c.Addr] = c.To
		}
	}
	for _, pod := range changes.Unnamed {
		if pod := pod.(*testPod); !pod.exists && p.pods[pod.name] == pod {
			lines = append(lines, nameOf(pod)+" is unknown")
			delete(p.pods, pod.name)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func nameOf(p Pod) string {
	if p == nil {
		return "nobody"
	}
	return p.PodName().Name
}

func (p *testPods) setPod(name, node string, s Status) {
	pod := p.Pod(Name{"ns", name}).(*testPod)
	pod.node, pod.status, pod.exists = node, s, true
	p.table.Claim(pod, s)
}

func (p *testPods) removePod(name string) {
	pod := p.pods[Name{"ns", name}]
	if pod == nil {
		return
	}
	pod.status, pod.exists = Status{}, false
	p.table.Claim(pod, Status{})
	if !pod.claim.Named() {
		delete(p.pods, pod.name)
	}
}

func (p *testPods) setBlock(cidr netip.Prefix, list []Allocation) []netip.Addr {
	p.blocks[cidr] = list
	return p.table.SetBlock(cidr, list)
}

func (p *testPods) removeBlock(cidr netip.Prefix) []Allocation {
	delete(p.blocks, cidr)
	return p.table.RemoveBlock(cidr)
}

func addrs(texts ...string) compact.Networks {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, single(netip.MustParseAddr(text)))
	}
	return compact.PackNetworks(list)
}

func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		p := newTestPods()
		return func(c transcript.Command) string {
			switch c.Name {
			case "pod":
				var s struct {
					Node, UID   string
					Created     int64
					Terminating bool
					Ended       bool
					IPs         []string
				}
				c.Into(t, &s)
				p.setPod(c.Args[0], s.Node, Status{UID: PackUID(s.UID), Running: !s.Ended, Created: s.Created,
					Terminating: s.Terminating, Addrs: addrs(s.IPs...)})
			case "delete":
				p.removePod(c.Args[0])
			case "block":
				var list []struct {
					Index          uint16
					Node, Pod, UID string
				}
				c.Into(t, &list)
				var allocations []Allocation
				for _, from := range list {
					a := Allocation{Index: from.Index, Node: from.Node, UID: PackUID(from.UID)}
					if from.Pod != "" {
						a.Pod = Name{"ns", from.Pod}
					}
					allocations = append(allocations, a)
				}
				p.setBlock(netip.MustParsePrefix(c.Args[0]), allocations)
			case "remove":
				p.removeBlock(netip.MustParsePrefix(c.Args[0]))
			default:
				t.Fatalf("there is no command %s", c.Name)
			}
			return p.apply()
		}
	})
}

// decided returns the owner of an address as the package comment says it, from the blocks and statuses alone.
func (p *testPods) decided(addr netip.Addr) string {
	for cidr, list := range p.blocks {
		if !cidr.Contains(addr) {
			continue
		}
		for _, a := range list {
			pod := p.pods[a.Pod]
			if a.Addr(cidr) == addr && pod != nil && pod.status.Running && (a.Node == "" || a.Node == pod.node) &&
				(a.UID == "" || a.UID == pod.status.UID) {
				return a.Pod.Name
			}
		}
		return "nobody"
	}
	var claiming []*testPod
	for _, pod := range p.pods {
		for net := range pod.status.Addrs.All {
			if net.Addr() == addr && pod.status.Running {
				claiming = append(claiming, pod)
			}
		}
	}
	if len(claiming) == 0 {
		return "nobody"
	}
	return slices.MinFunc(claiming, func(a, b *testPod) int {
		if a.status.Terminating != b.status.Terminating {
			if b.status.Terminating {
				return -1
			}
			return 1
		}
		return -cmp.Or(cmp.Compare(a.status.Created, b.status.Created), cmp.Compare(a.status.UID, b.status.UID),
			cmp.Compare(a.name.Name, b.name.Name))
	}).name.Name
}

// TestOwnersAreThoseDecidedFromScratch gives random histories to a Table and to decided.
func TestOwnersAreThoseDecidedFromScratch(t *testing.T) {
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.0.0.8/29"),
		netip.MustParsePrefix("fd00::/125")}
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		p := newTestPods()
		for step := range 80 {
			randomStep(random, p, cidrs)
			if random.IntN(3) > 0 {
				continue // the changes of several steps together
			}
			p.apply()
			for _, cidr := range append(cidrs, netip.MustParsePrefix("10.0.0.16/30")) {
				for addr := cidr.Addr(); cidr.Contains(addr); addr = addr.Next() {
					if got, want := nameOf(p.owners[addr]), p.decided(addr); got != want {
						t.Fatalf("seed %d, step %d: %s owns %s, want %s", seed, step, got, addr, want)
					}
				}
			}
		}
		for _, cidr := range cidrs {
			p.removeBlock(cidr)
		}
		for name := range p.pods {
			p.removePod(name.Name)
		}
		p.apply()
		if len(p.owners)+len(p.pods)+p.table.Size() > 0 {
			t.Fatalf("seed %d: without pods and blocks, %d owners, %d pods and a table of %d are left",
				seed, len(p.owners), len(p.pods), p.table.Size())
		}
	}
}

func randomStep(random *rand.Rand, p *testPods, cidrs []netip.Prefix) {
	name := fmt.Sprint("p", random.IntN(4))
	node := fmt.Sprint("n", random.IntN(2))
	uid := PackUID([]string{"", "u1", "00000000-0000-4000-8000-000000000001"}[random.IntN(3)])
	cidr := cidrs[random.IntN(len(cidrs))]
	switch random.IntN(6) {
	case 0:
		p.removePod(name)
	case 1:
		if before := p.blocks[cidr]; !slices.Equal(p.removeBlock(cidr), before) {
			panic("RemoveBlock did not return the allocations")
		}
	case 2, 3:
		var list []Allocation
		for index := range uint16(8) {
			a := Allocation{Index: index, UID: uid}
			if random.IntN(2) == 0 {
				a.Node = node
			}
			if random.IntN(4) > 0 {
				a.Pod = Name{"ns", fmt.Sprint("p", random.IntN(4))}
			}
			if random.IntN(2) == 0 {
				list = append(list, a)
			}
		}
		p.setBlock(cidr, list)
	default:
		s := Status{UID: uid, Running: random.IntN(5) > 0, Created: random.Int64N(3), Terminating: random.IntN(4) == 0}
		s.Addrs = addrs(fmt.Sprintf("10.0.0.%d", random.IntN(20)), fmt.Sprintf("fd00::%x", random.IntN(8)))
		p.setPod(name, node, s)
	}
}

func TestUIDs(t *testing.T) {
	for text, size := range map[string]int{"": 0, "u": 1, "0123456789abcdef": 17, "0123456789abcdef0": 17,
		"3f2b1c5e-0000-4000-8000-00000000002a": 16, "3F2B1C5E-0000-4000-8000-00000000002A": 36,
		"3f2b1c5e000040008000-00000000002a": 33, "d0c1ab9ae8a8f0d1d0c1ab9ae8a8f0d1": 32,
	} {
		if uid := PackUID(text); len(uid) != size || uid.String() != text {
			t.Errorf("UID %q has %d bytes and is %q again, want %d bytes", text, len(uid), uid, size)
		}
	}
}
