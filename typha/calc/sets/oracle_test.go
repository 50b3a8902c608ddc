package sets_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

var seed = flag.Uint64("seed", 0, "of the random histories; 0 is another one each time")

// bound is how many members a Service may have in the random histories.
const bound = 6

// oracle knows what there is, and makes every set from the beginning.
type oracle struct {
	env    string // a label of the namespace
	pods   map[string]pod
	slices map[string]*sets.Slice
}

// members returns the members of a set, sorted.
func (o *oracle) members(s spec.Set) []string {
	all := map[string]bool{}
	if s.Service != nil {
		o.endpoints(s.Content, all)
	}
	for _, p := range o.pods {
		labels := maps.Clone(p.labels)
		labels["pcns.env"] = o.env
		if s.Service != nil || !s.Items.Expression.Matches(labels) {
			continue
		}
		for _, net := range p.nets {
			if s.Port == "" {
				all[net.String()] = true
			}
			for _, port := range p.ports {
				if port.Name == s.Port && net.IsSingleIP() {
					all[fmt.Sprintf("%s/%d:%d", net.Addr(), port.Protocol, port.Number)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (o *oracle) endpoints(c spec.Content, all map[string]bool) {
	size := 0
	for _, slice := range o.slices {
		if slice.Service == *c.Service {
			size += len(slice.Addrs) * (1 + len(slice.Ports))
		}
	}
	for _, slice := range o.slices {
		if slice.Service != *c.Service || size > bound {
			continue
		}
		for _, addr := range slice.Addrs {
			if !c.WithPorts {
				all[netip.PrefixFrom(addr, addr.BitLen()).String()] = true
			}
			for _, port := range slice.Ports {
				if c.WithPorts {
					all[fmt.Sprintf("%s/%d:%d", addr, port.Protocol, port.Number)] = true
				}
			}
		}
	}
}

// receiver holds the sets as they were handed out.
type receiver map[string]map[string]bool

func texts(nets []netip.Prefix, ports []wire.PortMember) (list []string) {
	for _, n := range nets {
		list = append(list, n.String())
	}
	for _, m := range ports {
		list = append(list, fmt.Sprintf("%s/%d:%d", m.Addr, m.Protocol, m.Port))
	}
	return list
}

func (r receiver) apply(t *testing.T, c sets.Changes) {
	for _, s := range c.New {
		if r[s.Name] != nil {
			t.Errorf("%s is new again", s.Name)
		}
		r[s.Name] = map[string]bool{}
		for _, m := range texts(s.Nets, s.Ports) {
			r[s.Name][m] = true
		}
	}
	for _, d := range c.Deltas {
		for _, m := range texts(d.AddedNets, d.AddedPorts) {
			if r[d.Name][m] {
				t.Errorf("%s has %s already", d.Name, m)
			}
			r[d.Name][m] = true
		}
		for _, m := range texts(d.RemovedNets, d.RemovedPorts) {
			if !r[d.Name][m] {
				t.Errorf("%s has not %s", d.Name, m)
			}
			delete(r[d.Name], m)
		}
	}
	for _, id := range c.Gone {
		delete(r, id.Name)
	}
}

// TestRandomHistories compares the sets that were handed out with the oracle's.
func TestRandomHistories(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	for n := range long.Or(2000, 100) {
		index := labelindex.New()
		h := &history{T: t, r: rand.New(rand.NewPCG(*seed, uint64(n))), index: index, sets: sets.New(index),
			oracle: oracle{"", map[string]pod{}, map[string]*sets.Slice{}}, received: receiver{}}
		h.sets.BoundServices(bound)
		for range 100 {
			h.step()
			if h.r.IntN(4) == 0 {
				h.flush()
			}
		}
		h.removeAll()
		if t.Failed() {
			t.Fatalf("history %d", n)
		}
	}
}

// history is a random history of sets, with an oracle beside it.
type history struct {
	*testing.T
	r        *rand.Rand
	index    *labelindex.Index
	sets     *sets.Sets
	oracle   oracle
	received receiver
	inUse    []*sets.Set // once for each use
}

func pick[T any](h *history, of ...T) T { return of[h.r.IntN(len(of))] }

func some[T any](h *history, of ...T) []T {
	return slices.DeleteFunc(slices.Clone(of), func(T) bool { return h.r.IntN(2) == 0 })
}

func (h *history) step() {
	name := pick(h, "one", "two", "three", "four")
	switch h.r.IntN(7) {
	case 0, 1:
		p := pod{labels: map[string]string{"app": pick(h, "web", "mail"), "env": pick(h, "prod", "test")},
			ports: some(h, labelindex.Port{Name: "http", Protocol: 6, Number: 80},
				labelindex.Port{Name: "http", Protocol: 6, Number: 8080},
				labelindex.Port{Name: "dns", Protocol: 17, Number: 53}),
			nets: some(h, netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32"),
				netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::1/128"))}
		setPod(h.index, name, p)
		h.oracle.pods[name] = p
	case 2:
		h.removePod(name)
	case 3:
		h.setSlice(name)
	case 4:
		h.acquire()
	case 6:
		h.oracle.env = pick(h, "prod", "test")
		h.index.SetLabels(h.index.Profile("kns.shop"), "pcns.", map[string]string{"env": h.oracle.env})
	case 5:
		if n := len(h.inUse); n > 0 {
			i := h.r.IntN(n)
			h.sets.Release(h.inUse[i])
			h.inUse = slices.Delete(h.inUse, i, i+1)
		}
	}
}

func (h *history) removePod(name string) {
	if it := h.index.Find(podKey(name)); it != nil {
		h.index.Remove(it)
		delete(h.oracle.pods, name)
	}
}

func (h *history) setSlice(name string) {
	if h.r.IntN(3) == 0 {
		h.sets.SetSlice(sets.SliceName{Name: name}, nil)
		delete(h.oracle.slices, name)
		return
	}
	s := &sets.Slice{Service: spec.Service{Namespace: "shop", Name: pick(h, "db", "cache")},
		Addrs: some(h, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"),
			netip.MustParseAddr("fd00::1")),
		Ports: some(h, sets.ServicePort{Protocol: 6, Number: 80}, sets.ServicePort{Protocol: 17, Number: 53})}
	h.sets.SetSlice(sets.SliceName{Name: name}, s)
	h.oracle.slices[name] = s
}

// acquire acquires a set, and hands it out now or at the next flush.
func (h *history) acquire() {
	want := specOf(h.T, pick(h, []string{"networks", "app == 'web'"}, []string{"networks", "env != 'prod'"},
		[]string{"ports", "http", "has(app)"}, []string{"service", "db"}, []string{"service-ports", "db"},
		[]string{"service-ports", "cache"}, []string{"networks", "pcns.env == 'prod'"}))
	s := h.sets.Acquire(want)
	h.inUse = append(h.inUse, s)
	matched := s.Selector() == nil || s.Selector().Matched()
	if !s.Published() && matched && h.r.IntN(2) == 0 {
		h.sets.HandOut(s)
		return
	}
	h.sets.Publish(s)
}

// flush compares every set with the oracle's.
func (h *history) flush() {
	h.Helper()
	h.index.Flush()
	h.received.apply(h.T, h.sets.Flush())
	inUse := map[string]bool{}
	for _, s := range h.inUse {
		inUse[s.Name] = true
		want, got := h.oracle.members(s.Spec()), slices.Sorted(maps.Keys(h.received[s.Name]))
		if diff := cmp.Diff(want, got); diff != "" || h.received[s.Name] == nil {
			h.Errorf("set %+v, there is %v (-want +got):\n%s", s.Spec(), h.received[s.Name] != nil, diff)
		}
		size, known := h.sets.SizeOf(new(s.Spec()))
		if !known || size != h.sets.Size(s) || size < len(want) && s.Port == "" {
			h.Errorf("set %+v with %d members has the size %d, %v", s.Spec(), len(want), size, known)
		}
	}
	for name := range h.received {
		if !inUse[name] {
			h.Errorf("set %s is left, which nobody uses", name)
		}
	}
}

// removeAll removes everything, after which nothing is held.
func (h *history) removeAll() {
	for _, s := range h.inUse {
		h.sets.Release(s)
	}
	h.inUse = nil
	for name := range maps.Keys(maps.Clone(h.oracle.pods)) {
		h.removePod(name)
	}
	for name := range h.oracle.slices {
		h.sets.SetSlice(sets.SliceName{Name: name}, nil)
	}
	clear(h.oracle.slices)
	namespace := h.index.Profile("kns.shop")
	h.index.SetLabels(namespace, "", nil)
	h.index.DropIfUnused(namespace)
	h.flush()
	h.sets.TakeServiceChanges()
	h.index.Sweep(1 << 30)
	held := h.sets.Held()
	maps.Copy(held, h.index.Held())
	for sort, n := range held {
		if n > 0 {
			h.Errorf("of %s are left: %d", sort, n)
		}
	}
}
