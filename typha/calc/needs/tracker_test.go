package needs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestTranscripts runs the files in testdata.
func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string { return newScript(t).run })
}

// script runs the commands of a transcript: count GROUP NODE N, add POLICY GROUP SET…, replace POLICY SET…, remove
// POLICY, own NODE OBJECT, disown NODE OBJECT, move OBJECT FROM TO and flush.
type script struct {
	t        *testing.T
	tracker  *Tracker
	groups   map[string]*Group
	sets     map[string]*Set
	policies map[string]Version
}

func newScript(t *testing.T) *script {
	s := &script{t, New(), map[string]*Group{}, map[string]*Set{}, map[string]Version{}}
	s.groups["every-node"] = &s.tracker.EveryNode
	return s
}

func entry[V any](m map[string]*V, name string, made V) *V {
	if m[name] == nil {
		m[name] = &made
	}
	return m[name]
}

func (s *script) version(name string, g *Group, names []string) Version {
	list := make([]*Set, len(names))
	for i, name := range names {
		list[i] = entry(s.sets, name, Set{Name: name})
	}
	return Version{&Policy{name, g}, slices.Values(list)}
}

func object(name string) wire.ID { return wire.ID{Kind: wire.KindEndpoint, Name: name} }

func nodeOrNone(name string) Node { return NodeNamed(strings.Trim(name, "-")) }

func (s *script) run(c transcript.Command) string {
	arg := c.Args
	switch c.Name {
	case "count":
		n, err := strconv.Atoi(arg[2])
		if err != nil {
			s.t.Fatal(err)
		}
		s.tracker.Count(entry(s.groups, arg[0], Group{}), NodeNamed(arg[1]), int32(n))
	case "add":
		v := s.version(arg[0], entry(s.groups, arg[1], Group{}), arg[2:])
		s.tracker.Add(v.Policy, v.Sets)
		s.policies[arg[0]] = v
	case "replace":
		before := s.policies[arg[0]]
		s.policies[arg[0]] = s.version(arg[0], before.Group, arg[1:])
		s.tracker.Replace(before, s.policies[arg[0]])
	case "remove":
		s.tracker.Remove(s.policies[arg[0]].Policy, s.policies[arg[0]].Sets)
		delete(s.policies, arg[0])
	case "own", "disown":
		s.tracker.Own(NodeNamed(arg[0]), object(arg[1]), c.Name == "own")
	case "move":
		s.tracker.Move(object(arg[0]), nodeOrNone(arg[1]), nodeOrNone(arg[2]))
	case "flush":
		var out strings.Builder
		changes := s.tracker.Flush()
		for _, node := range slices.Sorted(maps.Keys(changes)) {
			fmt.Fprintf(&out, "%s: added %v, removed %v\n", node, changes[node].Added, changes[node].Removed)
		}
		return out.String()
	default:
		s.t.Fatalf("no command %s", c.Name)
	}
	return ""
}

// model is what a Tracker should hold, in the simplest form.
type model struct {
	members  map[[2]string]int // by group and node
	policies map[string]modelPolicy
	objects  map[string]string // nodes, by the objects that belong to them
}

type modelPolicy struct {
	group string
	sets  []string
}

// needed returns everything that each node needs.
func (m *model) needed() map[string]map[wire.ID]bool {
	all := map[string]map[wire.ID]bool{}
	add := func(node string, id wire.ID) {
		if all[node] == nil {
			all[node] = map[wire.ID]bool{}
		}
		all[node][id] = true
	}
	for at, n := range m.members {
		for name, p := range m.policies {
			if n == 0 || p.group != at[0] {
				continue
			}
			add(at[1], wire.ID{Kind: wire.KindPolicy, Name: name})
			for _, set := range p.sets {
				add(at[1], wire.ID{Kind: wire.KindIPSet, Name: set})
			}
		}
	}
	for name, node := range m.objects {
		add(node, object(name))
	}
	return all
}

// changed returns the difference of two results of needed.
func changed(before, now map[string]map[wire.ID]bool) map[string]Interest {
	changes := map[string]Interest{}
	for _, node := range slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(now))) {
		var c Interest
		for id := range now[node] {
			if !before[node][id] {
				c.Added = append(c.Added, id)
			}
		}
		for id := range before[node] {
			if !now[node][id] {
				c.Removed = append(c.Removed, id)
			}
		}
		slices.SortFunc(c.Added, wire.ID.Compare)
		slices.SortFunc(c.Removed, wire.ID.Compare)
		if len(c.Added)+len(c.Removed) > 0 {
			changes[node] = c
		}
	}
	return changes
}

// TestFlushReturnsTheDifference does random things and compares what Flush returns with the difference of two full
// computations. In the end everything is removed, and nothing may be left.
func TestFlushReturnsTheDifference(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newScript(t)
		m := &model{map[[2]string]int{}, map[string]modelPolicy{}, map[string]string{}}
		before := m.needed()
		flush := func() {
			t.Helper()
			now := m.needed()
			if diff := cmp.Diff(changed(before, now), s.tracker.Flush()); diff != "" {
				t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
			}
			before = now
		}
		for range 40 {
			for range r.IntN(8) {
				randomStep(r, s, m)
			}
			flush()
		}
		removeAll(s, m)
		flush()
		for what, n := range s.tracker.Held() {
			if n > 0 {
				t.Errorf("seed %d: %d of %s are left", seed, n, what)
			}
		}
	}
}

func randomStep(r *rand.Rand, s *script, m *model) {
	pick := func(prefix string, n int) string { return prefix + strconv.Itoa(r.IntN(n)) }
	group, node, policy, object := pick("g", 3), pick("n", 3), pick("p", 4), pick("o", 3)
	if r.IntN(4) == 0 {
		group = "every-node"
	}
	var sets []string
	for i := range r.IntN(3) {
		sets = append(sets, "s"+strconv.Itoa(r.IntN(2)*2+i))
	}
	stands, at := m.policies[policy], [2]string{group, node}
	_, exists := m.policies[policy]
	switch {
	case r.IntN(3) == 0:
		n := 1
		if m.members[at] > 0 && r.IntN(2) == 0 {
			n = -1
		}
		m.members[at] += n
		s.run(transcript.Command{Name: "count", Args: []string{group, node, strconv.Itoa(n)}})
	case r.IntN(3) == 0:
		if at, owned := m.objects[object]; owned {
			delete(m.objects, object)
			s.run(transcript.Command{Name: "disown", Args: []string{at, object}})
		} else {
			m.objects[object] = node
			s.run(transcript.Command{Name: "own", Args: []string{node, object}})
		}
	case !exists:
		m.policies[policy] = modelPolicy{group, sets}
		s.run(transcript.Command{Name: "add", Args: append([]string{policy, group}, sets...)})
	case r.IntN(2) == 0:
		m.policies[policy] = modelPolicy{stands.group, sets}
		s.run(transcript.Command{Name: "replace", Args: append([]string{policy}, sets...)})
	default:
		delete(m.policies, policy)
		s.run(transcript.Command{Name: "remove", Args: []string{policy}})
	}
}

func removeAll(s *script, m *model) {
	for at, n := range m.members {
		if n > 0 {
			s.run(transcript.Command{Name: "count", Args: []string{at[0], at[1], strconv.Itoa(-n)}})
		}
	}
	for name := range m.policies {
		s.run(transcript.Command{Name: "remove", Args: []string{name}})
	}
	for name, node := range m.objects {
		s.run(transcript.Command{Name: "disown", Args: []string{node, name}})
	}
	m.members, m.policies, m.objects = nil, nil, nil
}

// TestManySets adds and removes so many sets that a search of all of them for each one would not end.
func TestManySets(t *testing.T) {
	const many = 200_000
	list := make([]*Set, many)
	for i := range list {
		list[i] = &Set{Name: strconv.Itoa(i)}
	}
	tracker, p := New(), &Policy{"p", &Group{}}
	tracker.Add(p, slices.Values(list))
	tracker.Remove(p, slices.Values(list))
	if n := p.Group.sets.sets.Len(); n > 0 {
		t.Errorf("%d sets are left", n)
	}
}
