package labelindex_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/selector"
	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

var seed = flag.Uint64("seed", 0, "of the random histories; 0 is another one each time")

// oracle knows what there is, and evaluates every selector on every item.
type oracle struct {
	items    map[labelindex.Key]labelindex.Attributes // that can be selected
	networks map[labelindex.Key][]netip.Prefix
	profiles map[string]map[string]string // by full names
}

// labels returns what selectors see of an item.
func (o *oracle) labels(key labelindex.Key) map[string]string {
	a, all := o.items[key], map[string]string{}
	profiles := a.Profiles
	if key.Kind == labelindex.Pod {
		profiles = []string{"kns." + key.Namespace}
		if a.ServiceAccount != "" {
			profiles = append(profiles, "ksa."+key.Namespace+"."+a.ServiceAccount)
		}
	}
	for _, p := range slices.Backward(profiles) {
		maps.Copy(all, o.profiles[p])
	}
	for name, value := range a.Labels {
		if !strings.HasPrefix(name, "pcns.") && !strings.HasPrefix(name, "pcsa.") {
			all[name] = value
		}
	}
	for name, value := range map[string]string{"projectcalico.org/namespace": key.Namespace,
		"projectcalico.org/serviceaccount": a.ServiceAccount, "projectcalico.org/orchestrator": a.Orchestrator} {
		delete(all, name)
		if value != "" {
			all[name] = value
		}
	}
	return all
}

// selects reports whether a selector selects an item.
func (o *oracle) selects(s spec.Selector, key labelindex.Key) bool {
	_, is := o.items[key]
	switch {
	case !is, s.Namespace != "" && s.Namespace != key.Namespace,
		(s.Scope == spec.Nodes) != (key.Kind == labelindex.Node),
		s.Scope == spec.Pods && o.items[key].Orchestrator != "k8s":
		return false
	}
	return s.Expression.Matches(o.labels(key))
}

// selected returns the items that a selector selects, and the number of their networks.
func (o *oracle) selected(s spec.Selector) (keys []string, networks int) {
	for key := range o.items {
		if o.selects(s, key) {
			keys = append(keys, fmt.Sprint(key))
			networks += len(o.networks[key])
		}
	}
	slices.Sort(keys)
	return keys, networks
}

// events has what an observer knows of the selected items from the events alone.
type events struct {
	selected map[*labelindex.Selector]map[*labelindex.Item]bool
	sizes    map[*labelindex.Selector]int
}

func (e *events) set(s *labelindex.Selector, it *labelindex.Item, selected bool) {
	if e.selected[s] == nil {
		e.selected[s] = map[*labelindex.Item]bool{}
	}
	if e.selected[s][it] == selected {
		panic(fmt.Sprintf("%s selects %v already: %v", s.Spec().Expression, it.Key(), selected))
	}
	e.selected[s][it] = selected
	if !selected {
		delete(e.selected[s], it)
	}
}

func (e *events) ItemMoved(it *labelindex.Item, from *labelindex.Group) {
	if from != nil {
		for s := range from.Selectors {
			e.set(s, it, false)
		}
	}
	if it.Group() != nil {
		for s := range it.Group().Selectors {
			e.set(s, it, true)
		}
	}
}

func (e *events) SelectionChanged(s *labelindex.Selector, g *labelindex.Group, selected bool) {
	for _, it := range g.Items() {
		e.set(s, it, selected)
	}
}

func (e *events) Resized(s *labelindex.Selector, before int) {
	if e.sizes[s] != before {
		panic(fmt.Sprintf("%s had %d networks, not %d", s.Spec().Expression, e.sizes[s], before))
	}
	e.sizes[s] = s.Networks()
}

func (e *events) NetworksChanged(*labelindex.Item, compact.Networks) {}

func (e *events) GroupDropped(g *labelindex.Group) {
	if len(g.Items()) > 0 {
		panic("a group with items is dropped")
	}
}

// history is a random history of an index, with an oracle beside it.
type history struct {
	*testing.T
	r      *rand.Rand
	index  *labelindex.Index
	oracle oracle
	events events
	inUse  []*labelindex.Selector // once for each use
}

// TestRandomHistories compares the index, and what its observers know, with the oracle.
func TestRandomHistories(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	for n := range long.Or(2000, 100) {
		h := &history{T: t, r: rand.New(rand.NewPCG(*seed, uint64(n))), index: labelindex.New(),
			oracle: oracle{map[labelindex.Key]labelindex.Attributes{}, map[labelindex.Key][]netip.Prefix{},
				map[string]map[string]string{}},
			events: events{map[*labelindex.Selector]map[*labelindex.Item]bool{}, map[*labelindex.Selector]int{}}}
		h.index.Observe(&h.events)
		for range 100 {
			h.step()
			if h.r.IntN(4) == 0 {
				h.index.Flush()
				h.compare()
			}
		}
		h.removeAll()
		if t.Failed() {
			t.Fatalf("history %d", n)
		}
	}
}

func pick[T any](h *history, of ...T) T { return of[h.r.IntN(len(of))] }

// step changes something.
func (h *history) step() {
	switch h.r.IntN(8) {
	case 0, 1, 2:
		h.setItem(h.key())
	case 3:
		h.setNetworks(h.key())
	case 4:
		h.removeItem(h.key(), h.r.IntN(2) == 0)
	case 5:
		h.setProfile(pick(h, "kns.a", "kns.b", "ksa.a.x", "ksa.b.x", "p", "q"))
	case 6:
		s := h.index.Acquire(h.selector())
		h.inUse = append(h.inUse, s)
		if h.r.IntN(5) > 0 {
			h.index.Match(s)
		}
	case 7:
		h.release()
	}
}

func (h *history) key() labelindex.Key {
	k := labelindex.Key{Kind: labelindex.Kind(h.r.IntN(5)), Name: pick(h, "one", "two", "three")}
	if k.Kind != labelindex.Host && k.Kind != labelindex.Node {
		k.Namespace = pick(h, "a", "b")
	}
	return k
}

func (h *history) item(key labelindex.Key) *labelindex.Item {
	it := h.index.Find(key)
	if it == nil {
		it = &labelindex.Item{}
		h.index.Add(it, key)
	}
	return it
}

func (h *history) labels(names ...string) map[string]string {
	m := map[string]string{}
	for _, name := range names {
		if h.r.IntN(2) == 0 {
			m[name] = pick(h, "x", "y")
		}
	}
	return m
}

func (h *history) setItem(key labelindex.Key) {
	a := labelindex.Attributes{Labels: h.labels("l", "m", "pcns.n", "projectcalico.org/namespace"),
		Ports: labelindex.PackPorts([]labelindex.Port{{Name: "http", Protocol: 6, Number: pick[uint16](h, 80, 8080)}})}
	switch key.Kind {
	case labelindex.Pod:
		a.ServiceAccount, a.Orchestrator = pick(h, "", "x"), "k8s"
	case labelindex.Workload:
		a.ServiceAccount, a.Orchestrator = pick(h, "", "x"), pick(h, "", "k8s", "openstack")
		a.Profiles = pick(h, nil, []string{"p"}, []string{"q", "p"}, []string{"kns.a"})
	case labelindex.Host:
		a.Profiles = pick(h, nil, []string{"p", "q"})
	}
	h.index.SetAttributes(h.item(key), a)
	h.oracle.items[key] = a
}

func (h *history) setNetworks(key labelindex.Key) {
	var list []netip.Prefix
	for _, text := range []string{"10.0.0.1/32", "10.0.0.0/24", "fd00::1/128"} {
		if h.r.IntN(2) == 0 {
			list = append(list, netip.MustParsePrefix(text))
		}
	}
	h.index.SetNetworks(h.item(key), compact.PackNetworks(slices.Clone(list)))
	h.oracle.networks[key] = list
}

func (h *history) removeItem(key labelindex.Key, whole bool) {
	it := h.index.Find(key)
	if it == nil {
		return
	}
	delete(h.oracle.items, key)
	h.index.Exclude(it)
	if whole {
		delete(h.oracle.networks, key)
		h.index.Remove(it)
	}
}

func (h *history) setProfile(name string) {
	prefix := map[string]string{"kns": "pcns.", "ksa": "pcsa."}[name[:min(3, len(name))]]
	own := h.labels("l", "n")
	h.setLabels(name, prefix, own)
}

func (h *history) setLabels(name, prefix string, own map[string]string) {
	p := h.index.Profile(name)
	full := map[string]string{}
	for label, value := range own {
		full[prefix+label] = value
	}
	if got, want := h.index.SetLabels(p, prefix, own), !maps.Equal(full, h.oracle.profiles[name]); got != want {
		h.Errorf("profile %s from %v to %v has other labels: %v", name, h.oracle.profiles[name], full, got)
	}
	h.oracle.profiles[name] = full
	h.index.DropIfUnused(p)
}

func (h *history) selector() spec.Selector {
	s := spec.Selector{Scope: pick(h, spec.Any, spec.Pods, spec.Nodes), Namespace: pick(h, "", "", "a", "b")}
	terms := make([]string, 1+h.r.IntN(2))
	for i := range terms {
		label := pick(h, "l", "m", "pcns.n", "pcns.l", "pcsa.n", "n", "projectcalico.org/namespace",
			"projectcalico.org/orchestrator", "projectcalico.org/serviceaccount")
		term := pick(h, "%s == 'x'", "has(%s)", "!has(%s)", "%s in {'x', 'a'}", "%s != 'y'", "%s == 'k8s'")
		terms[i] = fmt.Sprintf(term, label)
	}
	expression, err := selector.Parse(strings.Join(terms, pick(h, " && ", " || ")))
	if err != nil {
		h.Fatal(err)
	}
	s.Expression = expression
	return s
}

// release gives up a selector, or matches those that are not matched in steps.
func (h *history) release() {
	if n := len(h.inUse); n > 0 && h.r.IntN(3) > 0 {
		i := h.r.IntN(n)
		h.index.Release(h.inUse[i])
		h.inUse = slices.Delete(h.inUse, i, i+1)
		h.index.Sweep(h.r.IntN(4))
		return
	}
	bound := h.r.IntN(2) == 0 // to namespaces
	skip := func(s *labelindex.Selector) bool { return s.Matched() || bound && s.Spec().Namespace == "" }
	scanned := slices.DeleteFunc(slices.Clone(h.inUse), skip)
	scan := h.index.NewScan(slices.Clone(scanned))
	for scan.Remaining() > 0 {
		scan.Step(h.index, 1+h.r.IntN(10))
		if h.r.IntN(2) == 0 {
			h.setItem(h.key())
		}
		h.index.Flush()
	}
	scan.Finish()
	for _, s := range scanned {
		if !s.Matched() {
			h.Errorf("selector %+v was scanned and is not matched", s.Spec())
		}
	}
}

// compare compares the index with the oracle, after a Flush.
func (h *history) compare() {
	h.Helper()
	for _, s := range h.inUse {
		if !s.Matched() {
			continue
		}
		want, networks := h.oracle.selected(s.Spec())
		var got, followed []string
		for _, g := range s.Groups() {
			for _, it := range g.Items() {
				got = append(got, fmt.Sprint(it.Key()))
				if !it.SelectedBy(s) || !slices.Contains(slices.Collect(g.Selectors), s) {
					h.Errorf("%v does not know that %s selects it", it.Key(), s.Spec().Expression)
				}
			}
		}
		for it := range h.events.selected[s] {
			followed = append(followed, fmt.Sprint(it.Key()))
		}
		slices.Sort(got)
		slices.Sort(followed)
		if diff := cmp.Diff(want, got); diff != "" {
			h.Errorf("selector %+v selects (-want +got):\n%s", s.Spec(), diff)
		}
		if diff := cmp.Diff(want, followed); diff != "" {
			h.Errorf("by the events selector %+v selects (-want +got):\n%s", s.Spec(), diff)
		}
		if s.Networks() != networks || h.events.sizes[s] != networks {
			h.Errorf("selector %+v has %d networks, by the events %d, want %d", s.Spec(), s.Networks(),
				h.events.sizes[s], networks)
		}
	}
}

// removeAll removes everything, after which the index has to hold nothing.
func (h *history) removeAll() {
	for _, s := range h.inUse {
		h.index.Release(s)
	}
	for key := range maps.Keys(h.oracle.networks) {
		h.removeItem(key, true)
	}
	for key := range maps.Keys(maps.Clone(h.oracle.items)) {
		h.removeItem(key, true)
	}
	for name := range maps.Keys(maps.Clone(h.oracle.profiles)) {
		h.setLabels(name, "", nil)
	}
	for kind := range labelindex.Node + 1 {
		for _, ns := range []string{"", "a", "b"} {
			for _, name := range []string{"one", "two", "three"} {
				h.removeItem(labelindex.Key{Kind: kind, Namespace: ns, Name: name}, true)
			}
		}
	}
	h.index.Flush()
	h.index.Sweep(1 << 30)
	for sort, n := range h.index.Held() {
		if n > 0 {
			h.Errorf("of %s are left: %d", sort, n)
		}
	}
	if s := h.index.Stats(); s.Items+s.Indexed+s.Unindexed != 0 {
		h.Errorf("left are %+v", s)
	}
}
