package reconcile_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// kernel is a target whose objects are numbers. It logs what is done to it, and fails where it is told to.
type kernel struct {
	objects map[string]int
	log     []string
	fail    map[string]error // by log line
	late    bool             // what fails has happened nevertheless
	after   func(line string)
}

func (k *kernel) do(line string) error {
	k.log = append(k.log, line)
	if k.after != nil {
		k.after(line)
	}
	return k.fail[line]
}

func (k *kernel) List(context.Context) (map[string]int, error) {
	return maps.Clone(k.objects), k.do("list")
}

func (k *kernel) Update(_ context.Context, c reconcile.Change[string, int]) error {
	err := k.do(fmt.Sprintf("update %s %d", c.Key, c.Desired))
	if err == nil || k.late {
		k.objects[c.Key] = c.Desired
	}
	return err
}

func (k *kernel) Delete(_ context.Context, c reconcile.Change[string, int]) error {
	err := k.do("delete " + c.Key)
	if err == nil || k.late {
		delete(k.objects, c.Key)
	}
	return err
}

func newKernel(objects map[string]int) *kernel {
	return &kernel{objects: objects, fail: map[string]error{}}
}

// config takes an event of a route as a contradiction, and one of a link as a reason to retry.
var config = reconcile.Config[string, int]{
	Equal:   func(a, b int) bool { return a == b },
	Compare: cmp.Compare[string],
	Effect: func(e dataplane.Event) reconcile.Effect {
		return map[dataplane.EventKind]reconcile.Effect{
			dataplane.EventRoute: reconcile.Contradicts, dataplane.EventLink: reconcile.Retry}[e.Kind]
	},
}

var errBroken = errors.New("broken")

// TestSteps is a table of what an owner and a kernel do, one after the other, and what the loop does then.
func TestSteps(t *testing.T) {
	type loop = reconcile.Loop[string, int]
	type step struct {
		name string
		do   func(*loop, *kernel)
		log  []string // of the Apply that follows
		err  error    // wrapped in Apply's
	}
	event := func(kind dataplane.EventKind, due bool) func(*loop, *kernel) {
		return func(l *loop, _ *kernel) {
			if got := l.Observe(dataplane.Event{Kind: kind}); got != due {
				t.Errorf("Observe(%d) = %v, want %v", kind, got, due)
			}
		}
	}
	fails := func(line string, err error) func(*loop, *kernel) {
		return func(_ *loop, k *kernel) { k.fail[line] = err }
	}
	works := func(line string) func(*loop, *kernel) {
		return func(_ *loop, k *kernel) { delete(k.fail, line) }
	}
	set := func(key string, value int) func(*loop, *kernel) {
		return func(l *loop, _ *kernel) { l.Set(key, value) }
	}
	unchanged := func(l *loop, _ *kernel) { l.Replace(map[string]int{"a": 1, "b": 2, "c": 3}) }
	for name, steps := range map[string][]step{
		"only what differs": {
			{"a start", func(l *loop, _ *kernel) { l.Replace(map[string]int{"b": 2, "c": 3, "d": 4}) },
				[]string{"list", "update d 4", "delete a"}, nil},
			{"nothing", func(*loop, *kernel) {}, nil, nil},
			{"one key", set("b", 5), []string{"update b 5"}, nil},
			{"and back before Apply", func(l *loop, _ *kernel) { l.Set("b", 6); l.Set("b", 5) }, nil, nil},
			{"removed", func(l *loop, _ *kernel) { l.Remove("b") }, []string{"delete b"}, nil},
		},
		"what an earlier process made stays until all is said": {
			{"the first key", set("b", 7), []string{"list", "update b 7"}, nil},
			{"its own may go", func(l *loop, _ *kernel) { l.Remove("b") }, []string{"delete b"}, nil},
			{"complete", func(l *loop, _ *kernel) { l.Complete() }, []string{"delete a", "delete c"}, nil},
		},
		"removed and desired again before all is said": {
			{"both", func(l *loop, _ *kernel) { l.Remove("a"); l.Set("a", 1) }, []string{"list"}, nil},
			{"no longer desired", func(l *loop, _ *kernel) { l.Remove("a") }, []string{"delete a"}, nil},
		},
		"nothing without a list": {
			{"list fails", func(l *loop, k *kernel) { l.Replace(map[string]int{"a": 9}); k.fail["list"] = errBroken },
				[]string{"list"}, errBroken},
			{"list works", works("list"), []string{"list", "update a 9", "delete b", "delete c"}, nil},
		},
		"a failed key holds up no other": {
			{"one fails", func(l *loop, k *kernel) {
				l.Replace(map[string]int{"a": 9, "d": 4})
				k.fail["update a 9"], k.fail["delete b"] = errBroken, errBroken
			}, []string{"list", "update a 9", "update d 4", "delete b", "delete c"}, errBroken},
			{"again, without a list", func(*loop, *kernel) {}, []string{"update a 9", "delete b"}, errBroken},
			{"again, with one", works("update a 9"), []string{"list", "update a 9", "delete b"}, errBroken},
			{"the last", works("delete b"), []string{"delete b"}, nil},
			{"nothing", func(*loop, *kernel) {}, nil, nil},
		},
		"an error that leaves the kernel as it was": {
			{"fails", func(l *loop, k *kernel) {
				l.Replace(map[string]int{"a": 9, "b": 2, "c": 0})
				k.fail["update a 9"] = fmt.Errorf("key: %w", reconcile.Unchanged(errBroken))
			}, []string{"list", "update a 9", "update c 0"}, errBroken},
			{"again", func(*loop, *kernel) {}, []string{"update a 9"}, errBroken},
			{"and again", func(*loop, *kernel) {}, []string{"update a 9"}, errBroken},
			{"works", works("update a 9"), []string{"update a 9"}, nil},
		},
		"a key that yields": {
			{"yields", func(l *loop, k *kernel) {
				l.Replace(map[string]int{"a": 9, "b": 2, "c": 3})
				k.fail["update a 9"] = reconcile.ErrYields
			}, []string{"list", "update a 9"}, nil},
			{"again", func(*loop, *kernel) {}, []string{"update a 9"}, nil},
			{"no longer", works("update a 9"), []string{"update a 9"}, nil},
		},
		"events": {
			{"a start", unchanged, []string{"list"}, nil},
			{"irrelevant", event(dataplane.EventAddr, false), nil, nil},
			{"retry", event(dataplane.EventLink, true), nil, nil},
			{"contradiction", event(dataplane.EventRoute, true), []string{"list"}, nil},
			{"lost", event(dataplane.EventLost, true), []string{"list"}, nil},
			{"somebody deletes, nobody says so", func(_ *loop, k *kernel) { delete(k.objects, "b") }, nil, nil},
			{"resync", func(l *loop, _ *kernel) { l.Resync() }, []string{"list", "update b 2"}, nil},
			{"forgotten", func(l *loop, _ *kernel) { l.Forget("b") }, []string{"update b 2"}, nil},
			{"found", func(l *loop, _ *kernel) { l.Found("x", 1) }, []string{"delete x"}, nil},
		},
		"a list that fails later changes nothing": {
			{"a start", unchanged, []string{"list"}, nil},
			{"resync", func(l *loop, k *kernel) { l.Resync(); l.Set("a", 2); k.fail["list"] = errBroken },
				[]string{"list"}, errBroken},
			{"works", works("list"), []string{"list", "update a 2"}, nil},
		},
		"unlisted error of a delete": {
			{"a start", unchanged, []string{"list"}, nil},
			{"fails", func(l *loop, k *kernel) { l.Remove("b"); fails("delete b", errBroken)(l, k) },
				[]string{"delete b"}, errBroken},
			{"it went meanwhile", func(_ *loop, k *kernel) { delete(k.objects, "b") }, []string{"list"}, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(map[string]int{"a": 1, "b": 2, "c": 3})
			l := reconcile.New(k, config)
			for _, s := range steps {
				s.do(l, k)
				k.log = nil
				if err := l.Apply(t.Context()); !errors.Is(err, s.err) {
					t.Errorf("%s: Apply: %v, want %v", s.name, err, s.err)
				}
				if diff := gocmp.Diff(s.log, k.log); diff != "" {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
			}
		})
	}
}

// TestInPlace: a key is in place if the kernel was read and has what is desired, whatever another key does.
func TestInPlace(t *testing.T) {
	k := newKernel(map[string]int{"a": 1})
	l := reconcile.New(k, config)
	expect := func(what, want string) {
		t.Helper()
		got := ""
		for _, key := range []string{"a", "b", "c"} {
			if l.InPlace(key) {
				got += key
			}
		}
		if got != want {
			t.Errorf("%s: %q in place, want %q", what, got, want)
		}
	}
	l.Replace(map[string]int{"a": 1, "b": 2})
	expect("before Apply", "")
	k.fail["update b 2"] = errBroken
	for range 3 {
		if err := l.Apply(t.Context()); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		expect("b fails", "ac")
	}
	delete(k.fail, "update b 2")
	if err := l.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("b works", "abc")
	l.Remove("a")
	expect("a is not desired", "bc")
}

// TestContext: Apply stops between two keys, and goes on with the rest the next time.
func TestContext(t *testing.T) {
	k := newKernel(map[string]int{"x": 1})
	l := reconcile.New(k, config)
	l.Replace(map[string]int{"a": 1, "b": 2})
	ctx, cancel := context.WithCancel(t.Context())
	k.after = func(line string) {
		if line == "update a 1" {
			cancel()
		}
	}
	if err := l.Apply(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v", err)
	}
	if err := l.Apply(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := gocmp.Diff([]string{"list", "update a 1", "update b 2", "delete x"}, k.log); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// batches is a kernel that deletes many objects at once.
type batches struct{ *kernel }

func (b batches) DeleteBatch(_ context.Context, changes []reconcile.Change[string, int]) error {
	line := "delete"
	for _, c := range changes {
		line += " " + c.Key
	}
	err := b.do(line)
	if err == nil {
		for _, c := range changes {
			delete(b.objects, c.Key)
		}
	}
	return err
}

func TestBatch(t *testing.T) {
	k := newKernel(map[string]int{"a": 1, "b": 2})
	l := reconcile.New(batches{k}, config)
	l.Replace(map[string]int{"c": 3})
	k.fail["delete a b"] = errBroken
	if err := l.Apply(t.Context()); !errors.Is(err, errBroken) || l.InPlace("a") || !l.InPlace("c") {
		t.Errorf("Apply: %v; in place: a %v, c %v", err, l.InPlace("a"), l.InPlace("c"))
	}
	clear(k.fail)
	if err := l.Apply(t.Context()); err != nil || !l.InPlace("a") {
		t.Errorf("Apply: %v; in place: a %v", err, l.InPlace("a"))
	}
	if diff := gocmp.Diff([]string{"list", "update c 3", "delete a b", "delete a b"}, k.log); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestConverges: whatever a hostile kernel and its user do, once both are quiet two Applies make the kernel as
// desired, and a third changes nothing.
func TestConverges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	k := newKernel(map[string]int{})
	l := reconcile.New(k, config)
	l.Complete()
	desired := map[string]int{}
	keys := []string{"a", "b", "c", "d"}
	for range 3000 {
		k.late = r.IntN(2) == 0
		for range r.IntN(30) {
			key, value := keys[r.IntN(len(keys))], r.IntN(3)
			switch r.IntN(10) {
			case 0, 1, 2:
				l.Set(key, value)
				desired[key] = value
			case 3:
				l.Remove(key)
				delete(desired, key)
			case 4: // somebody else changes the kernel, and an event says so
				k.objects[key] = value
				l.Observe(dataplane.Event{Kind: dataplane.EventRoute})
			case 5:
				delete(k.objects, key)
				l.Observe(dataplane.Event{Kind: dataplane.EventLost})
			case 6:
				lines := []string{"list", "delete " + key, fmt.Sprintf("update %s %d", key, value)}
				k.fail[lines[r.IntN(len(lines))]] = errBroken
			default:
				_ = l.Apply(t.Context()) // may fail
			}
		}
		clear(k.fail)
		for range 2 {
			if err := l.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := gocmp.Diff(desired, k.objects); diff != "" {
			t.Fatalf("kernel (-want +got):\n%s", diff)
		}
		k.log = nil
		if err := l.Apply(t.Context()); err != nil || len(k.log) > 0 {
			t.Fatalf("with nothing to do: %v, %v", k.log, err)
		}
	}
}
