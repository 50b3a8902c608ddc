package ipam

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// faults wraps a Store: it counts writes, and makes them fail as a seed decides.
type faults struct {
	datastore.Store
	// rate of each fault per write, of 1000. Zero only counts.
	rate int
	// script says what happens at the first writes, instead.
	script []fault

	mu     sync.Mutex
	rng    *rand.Rand
	writes map[string]int // by "verb Kind"
	dead   bool
}

func newFaults(store datastore.Store, rate int, seed uint64) *faults {
	return &faults{Store: store, rate: rate, rng: rand.New(rand.NewPCG(seed, 2)), writes: map[string]int{}}
}

// errCrash is what a process that no longer runs would get.
var errCrash = errors.New("crashed")

// fault says what happens at a write.
type fault int

const (
	none fault = iota
	conflict
	lostAnswer
	crashBefore
	crashAfter
)

func (f *faults) next(verb string, kind datastore.Kind) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes[verb+" "+kind.String()]++
	if f.dead {
		return crashBefore
	}
	what := none
	switch n := f.rng.IntN(1000); {
	case len(f.script) > 0:
		what, f.script = f.script[0], f.script[1:]
	case n < f.rate && verb != "create":
		what = conflict
	case n >= f.rate && n < 4*f.rate:
		what = lostAnswer + fault((n-f.rate)/f.rate)
	}
	f.dead = what == crashBefore || what == crashAfter
	return what
}

func (f *faults) crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *faults) read() error {
	if f.crashed() {
		return errCrash
	}
	return nil
}

func (f *faults) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, kind, key)
}

func (f *faults) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if err := f.read(); err != nil {
		return datastore.List{}, err
	}
	return f.Store.List(ctx, kind, opts)
}

func (f *faults) Create(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	return f.write("create", kind, func() (datastore.Object, error) { return f.Store.Create(ctx, kind, obj) })
}

func (f *faults) Update(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	return f.write("update", kind, func() (datastore.Object, error) { return f.Store.Update(ctx, kind, obj) })
}

func (f *faults) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key,
	pre datastore.Preconditions) error {
	_, err := f.write("delete", kind, func() (datastore.Object, error) {
		return nil,
			f.Store.Delete(ctx, kind, key, pre)
	})
	return err
}

func (f *faults) write(verb string, kind datastore.Kind, do func() (datastore.Object, error)) (datastore.Object,
	error) {
	what := f.next(verb, kind)
	switch what {
	case conflict:
		return nil, datastore.ErrConflict
	case crashBefore:
		return nil, errCrash
	}
	obj, err := do()
	switch what {
	case lostAnswer:
		return nil, datastore.ErrUnavailable
	case crashAfter:
		return nil, errCrash
	}
	return obj, err
}

// take returns the writes counted since the last call.
func (f *faults) take() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes := f.writes
	f.writes = map[string]int{}
	return writes
}

// blocksOf lists the stored blocks by name.
func blocksOf(t *testing.T, store datastore.Store) map[string]block.Block {
	t.Helper()
	list, err := store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]block.Block{}
	for _, item := range list.Items {
		b, err := block.Parse(item.(*v3.IPAMBlock))
		if err != nil {
			t.Fatal(err)
		}
		blocks[b.Name] = b
	}
	return blocks
}

// affinitiesOf gives "node cidr state" of each stored affinity, sorted.
func affinitiesOf(t *testing.T, store datastore.Store) []string {
	t.Helper()
	list, err := store.List(t.Context(), datastore.BlockAffinities, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, item := range list.Items {
		a := item.(*v3.BlockAffinity)
		all = append(all, strings.Join([]string{a.Spec.Node, a.Spec.CIDR, string(a.Spec.State)}, " "))
	}
	slices.Sort(all)
	return all
}

// wantedAffinities is what affinitiesOf gives when each agrees with its block.
func wantedAffinities(t *testing.T, store datastore.Store) []string {
	t.Helper()
	var all []string
	for b := range maps.Values(blocksOf(t, store)) {
		if b.Node() != "" {
			all = append(all, b.Node()+" "+b.CIDR.String()+" confirmed")
		}
	}
	slices.Sort(all)
	return all
}
