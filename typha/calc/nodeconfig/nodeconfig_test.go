package nodeconfig

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		nodes := New()
		return func(c transcript.Command) string { return run(t, nodes, c) }
	})
}

func run(t *testing.T, nodes *Nodes, c transcript.Command) string {
	meta := metav1.ObjectMeta{Name: strings.Join(c.Args[:min(1, len(c.Args))], "")}
	switch c.Name {
	case "flush":
		return printed(nodes.Flush())
	case "node":
		var labels map[string]string
		c.Into(t, &labels)
		nodes.SetNode(meta.Name, labels)
	case "felix": // NAME CREATED
		o := &v3.FelixConfiguration{ObjectMeta: meta}
		var created int64
		if _, err := fmt.Sscan(c.Args[1], &created); err != nil {
			t.Fatal(err)
		}
		o.CreationTimestamp = metav1.Unix(created, 0)
		c.Into(t, &o.Spec)
		nodes.SetFelix(o)
	case "status":
		o := &v3.CalicoNodeStatus{ObjectMeta: meta}
		c.Into(t, &o.Spec)
		nodes.SetStatus(o)
	case "cluster":
		o := &v3.ClusterInformation{}
		c.Into(t, &o.Spec)
		nodes.SetClusterInformation(o)
	case "delete":
		for kind, remove := range map[string]func(string){"node": nodes.DeleteNode, "felix": nodes.DeleteFelix,
			"status": nodes.DeleteStatus, "cluster": func(string) { nodes.SetClusterInformation(nil) }} {
			if kind == c.Args[0] {
				remove(c.Args[1])
			}
		}
	default:
		t.Fatalf("there is no command %s", c.Name)
	}
	return ""
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
	var needs []string
	for _, n := range changes.Needs {
		text := "%s needs %s"
		if !n.Needed {
			text = "%s does not need %s"
		}
		needs = append(needs, fmt.Sprintf(text, n.Node, n.ID))
	}
	lines = append(lines, slices.Sorted(slices.Values(needs))...)
	for _, name := range slices.Sorted(maps.Keys(changes.Problems)) {
		if reason := changes.Problems[name]; reason != "" {
			lines = append(lines, fmt.Sprintf("problem of FelixConfiguration %s: %s", name, reason))
		}
	}
	return strings.Join(lines, "\n")
}

// state is what the changes so far amount to.
type state struct {
	objects  map[wire.ID]wire.Object
	needs    map[string]bool
	problems map[string]string
}

func newState() state {
	return state{map[wire.ID]wire.Object{}, map[string]bool{}, map[string]string{}}
}

func (s state) apply(changes Changes) {
	for id, object := range changes.Objects {
		if object == nil {
			delete(s.objects, id)
		} else {
			s.objects[id] = object
		}
	}
	for _, n := range changes.Needs {
		key := n.Node + " " + n.ID.String()
		if n.Needed {
			s.needs[key] = true
		} else {
			delete(s.needs, key)
		}
	}
	maps.Copy(s.problems, changes.Problems)
}

// TestHistoriesEndAlike: whatever the history was, nodes have what a new Nodes computes from the last state.
func TestHistoriesEndAlike(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		nodes, got, last := New(), newState(), map[string]func(*Nodes){}
		for range 60 {
			key, set, remove := randomStep(random)
			last[key] = set
			if random.IntN(3) == 0 {
				delete(last, key)
				set = remove
			}
			set(nodes)
			if random.IntN(2) == 0 {
				got.apply(nodes.Flush())
			}
		}
		got.apply(nodes.Flush())
		fresh, want := New(), newState()
		for _, set := range last {
			set(fresh)
		}
		want.apply(fresh.Flush())
		if diff := gocmp.Diff([]any{want.objects, want.needs}, []any{got.objects, got.needs}); diff != "" {
			t.Fatalf("seed %d: objects and needs (-want +got):\n%s", seed, diff)
		}
		for name, reason := range want.problems {
			if got.problems[name] != reason {
				t.Fatalf("seed %d: problem of %s: %q, want %q", seed, name, got.problems[name], reason)
			}
		}
		for key := range last {
			kind, name, _ := strings.Cut(key, " ")
			run(t, nodes, transcript.Command{Name: "delete", Args: []string{kind, name}})
		}
		got.apply(nodes.Flush())
		if nodes.Size()+len(got.objects)+len(got.needs) > 0 {
			t.Fatalf("seed %d: without resources, %d of them, %v and %v are left", seed, nodes.Size(), got.objects,
				got.needs)
		}
	}
}

// randomStep returns a change to one resource, and how to remove the resource.
func randomStep(random *rand.Rand) (key string, set, remove func(*Nodes)) {
	i := random.IntN(4)
	name := fmt.Sprint("n", i)
	switch random.IntN(3) {
	case 0:
		labels := map[string]string{"rack": fmt.Sprint(random.IntN(3))}
		return "node " + name, func(n *Nodes) { n.SetNode(name, labels) }, func(n *Nodes) { n.DeleteNode(name) }
	case 1:
		period := uint32(random.IntN(3))
		o := &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.CalicoNodeStatusSpec{
			Node: fmt.Sprint("n", random.IntN(3)), UpdatePeriodSeconds: &period,
			Classes: []v3.NodeStatusClassType{v3.NodeStatusClassTypeBGP,
				v3.NodeStatusClassTypeRoutes}[:random.IntN(3)]}}
		return "status " + name, func(n *Nodes) { n.SetStatus(o) }, func(n *Nodes) { n.DeleteStatus(name) }
	}
	name = []string{"default", "node.n1", "a", "b"}[i]
	selector := []string{"", "rack == '0'", "has(rack)", "rack =="}[random.IntN(4)]
	port := 4000 + random.IntN(3)
	o := &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name,
		CreationTimestamp: metav1.Unix(random.Int64N(2), 0)},
		Spec: v3.FelixConfigurationSpec{NodeSelector: &selector, VXLANPort: &port}}
	return "felix " + name, func(n *Nodes) { n.SetFelix(o) }, func(n *Nodes) { n.DeleteFelix(name) }
}
