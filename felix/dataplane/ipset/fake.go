package ipset

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// Fake is a Kernel in memory, for tests. It refuses what the kernel refuses: to create a set that exists, to destroy
// one that a rule names, to change one that is missing or full, and to swap sets of different types.
type Fake struct {
	// Named returns how many rules name a set; nil is none.
	Named func(name string) int
	// Fail, when set, is called before each change; what it returns is the change's error.
	Fail func(verb, name string) error
	// Changed, when set, is called after each change of one member, and of one set.
	Changed func()

	sets map[string]*fakeSet
}

type fakeSet struct {
	Header
	members map[filter.Member]bool
}

// NewFake returns a Fake without sets.
func NewFake() *Fake { return &Fake{sets: map[string]*fakeSet{}} }

// Has returns whether there is a set, and what it has.
func (f *Fake) Has(name string) (members []filter.Member, exists bool) {
	s, exists := f.sets[name]
	if !exists {
		return nil, false
	}
	return slices.Collect(maps.Keys(s.members)), true
}

// Names returns the names of the sets, sorted.
func (f *Fake) Names() []string { return slices.Sorted(maps.Keys(f.sets)) }

func (f *Fake) named(name string) int {
	if f.Named == nil {
		return 0
	}
	return f.Named(name)
}

// check returns why a change of a set that must exist fails.
func (f *Fake) check(verb, name string) error {
	if f.Fail != nil {
		if err := f.Fail(verb, name); err != nil {
			return err
		}
	}
	if f.sets[name] == nil && verb != "create" {
		return unix.ENOENT
	}
	return nil
}

func (f *Fake) changed() {
	if f.Changed != nil {
		f.Changed()
	}
}

// Headers implements Kernel.
func (f *Fake) Headers() ([]Header, error) {
	var list []Header
	for _, name := range f.Names() {
		h := f.sets[name].Header
		h.Elements, h.References = len(f.sets[name].members), f.named(name)
		list = append(list, h)
	}
	return list, nil
}

// Members implements Kernel.
func (f *Fake) Members(name string) ([]filter.Member, error) {
	if members, exists := f.Has(name); exists {
		return members, nil
	}
	return nil, unix.ENOENT
}

// Create implements Kernel.
func (f *Fake) Create(h Header) error {
	if err := f.check("create", h.Name); err != nil {
		return err
	}
	if f.sets[h.Name] != nil {
		return fmt.Errorf("set %s exists already", h.Name)
	}
	f.sets[h.Name] = &fakeSet{Header: h, members: map[filter.Member]bool{}}
	f.changed()
	return nil
}

// Destroy implements Kernel.
func (f *Fake) Destroy(name string) error {
	if err := f.check("destroy", name); err != nil {
		return err
	}
	if f.named(name) > 0 {
		return fmt.Errorf("a rule names set %s", name)
	}
	delete(f.sets, name)
	f.changed()
	return nil
}

// Swap implements Kernel.
func (f *Fake) Swap(a, b string) error {
	for _, name := range []string{a, b} {
		if err := f.check("swap", name); err != nil {
			return err
		}
	}
	if f.sets[a].Type != f.sets[b].Type {
		return fmt.Errorf("sets %s and %s are of different types", a, b)
	}
	f.sets[a], f.sets[b] = f.sets[b], f.sets[a]
	f.sets[a].Name, f.sets[b].Name = a, b
	f.changed()
	return nil
}

// Add implements Kernel.
func (f *Fake) Add(name string, members []filter.Member) error {
	if err := f.check("add", name); err != nil {
		return err
	}
	for _, m := range members {
		if s := f.sets[name]; !s.members[m] && len(s.members) >= int(s.MaxElements) {
			return fmt.Errorf("set %s is full", name)
		}
		f.sets[name].members[m] = true
		f.changed()
	}
	return nil
}

// Remove implements Kernel.
func (f *Fake) Remove(name string, members []filter.Member) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	for _, m := range members {
		delete(f.sets[name].members, m)
		f.changed()
	}
	return nil
}

// Close implements Kernel.
func (f *Fake) Close() error { return nil }
