package ipset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// Config says which sets a Sets owns.
type Config struct {
	Family dataplane.Family
	// MaxElements is the limit of members of a set that is created; 0 is DefaultMaxElements.
	MaxElements uint32
}

// Kernel is the kernel's side: that of Dial, or a Fake.
type Kernel interface {
	// Headers lists all sets, ours or not.
	Headers() ([]Header, error)
	Members(name string) ([]filter.Member, error)
	Create(h Header) error
	Destroy(name string) error
	// Swap exchanges what two sets of one type have.
	Swap(a, b string) error
	// Add and Remove take any number of members; that one is, or is not, in the set already is no error.
	Add(name string, members []filter.Member) error
	Remove(name string, members []filter.Member) error
	Close() error
}

// Header is a set without its members.
type Header struct {
	Name        string
	Type        Type
	Family      dataplane.Family
	MaxElements uint32
	Elements    int // how many there are, or will be soon
	References  int // how many rules name it
}

// set is both sides of one set.
type set struct {
	wanted  bool
	typ     Type    // if wanted
	actual  *Header // nil if there is none
	members *delta.Map[filter.Member, struct{}]
	// wide are the desired members of which more than one makes the kernel have a half of all addresses: /0 and /1.
	wide map[filter.Member]bool
}

// Sets is the driver.
type Sets struct {
	kernel Kernel
	cfg    Config
	loaded bool
	sets   map[string]*set
	// dirty holds the sets that may have something to do; every other one is as desired.
	dirty    map[string]bool
	withheld map[string]error
	keep     bool
	counts   *Counts
}

// Open connects to the kernel in the calling thread's network namespace and returns a driver that wants no sets.
func Open(cfg Config) (*Sets, error) {
	k, err := Dial(cfg.Family)
	if err != nil {
		return nil, err
	}
	return New(k, cfg), nil
}

// New returns a driver that wants no sets.
func New(k Kernel, cfg Config) *Sets {
	if cfg.MaxElements == 0 {
		cfg.MaxElements = DefaultMaxElements
	}
	counts := &Counts{}
	return &Sets{kernel: counted{k, counts}, cfg: cfg, counts: counts,
		sets: map[string]*set{}, dirty: map[string]bool{}}
}

// Close closes the connection; the sets stay.
func (s *Sets) Close() error { return s.kernel.Close() }

// entry returns the set of that name, about to change.
func (s *Sets) entry(name string) *set {
	e, ok := s.sets[name]
	if !ok {
		same := func(_, _ struct{}) bool { return true }
		e = &set{members: delta.New[filter.Member](same), wide: map[filter.Member]bool{}}
		s.sets[name] = e
	}
	s.dirty[name] = true
	return e
}

// Set makes a set desired, in place of what was desired under its name.
func (s *Sets) Set(d Set) {
	e := s.entry(d.Name)
	e.wanted, e.typ = true, d.Type
	members := make(map[filter.Member]struct{}, len(d.Members))
	clear(e.wide)
	for _, m := range d.Members {
		for _, half := range expand(m, s.cfg.Family) {
			members[half] = struct{}{}
			if m.Net.Bits() <= 1 {
				e.wide[m] = true
			}
		}
	}
	e.members.Replace(members)
}

// AddMembers makes further members of a desired set desired; of a set that is not, it panics.
func (s *Sets) AddMembers(name string, members ...filter.Member) { s.change(name, members, true) }

// RemoveMembers is the reverse of AddMembers.
func (s *Sets) RemoveMembers(name string, members ...filter.Member) { s.change(name, members, false) }

func (s *Sets) change(name string, members []filter.Member, add bool) {
	e := s.entry(name)
	if !e.wanted {
		panic("ipset: members of " + name + ", which is not desired")
	}
	for _, m := range members {
		halves := expand(m, s.cfg.Family)
		if len(halves) > 0 && m.Net.Bits() <= 1 {
			e.wide[m] = true
			if !add {
				delete(e.wide, m)
			}
		}
		for _, half := range halves {
			if add {
				e.members.Set(half, struct{}{})
			} else if !e.covers(half) {
				e.members.Unset(half)
			}
		}
	}
}

// covers reports whether a wide member is, or has in it, one that the kernel holds.
func (e *set) covers(half filter.Member) bool {
	for m := range e.wide {
		if m.Net.Bits() <= half.Net.Bits() && m.Net.Contains(half.Net.Addr()) && half.Net.Bits() <= 1 {
			return true
		}
	}
	return false
}

// Remove makes a set not desired.
func (s *Sets) Remove(name string) {
	e := s.entry(name)
	e.wanted = false
	clear(e.wide)
	e.members.Replace(map[filter.Member]struct{}{})
}

// Withhold keeps desired sets out of the kernel, with the reasons. It replaces the former list. Before reports these
// sets as failed. After removes those that exist, when no rule names them any more.
func (s *Sets) Withhold(reasons map[string]error) {
	if len(s.withheld)+len(reasons) == 0 {
		return
	}
	for _, names := range []map[string]error{s.withheld, reasons} {
		for name := range names {
			if s.sets[name] != nil {
				s.dirty[name] = true
			}
		}
	}
	s.withheld = maps.Clone(reasons)
}

// Rename makes a desired set desired under another name instead, which the kernel does not have.
func (s *Sets) Rename(name, next string) {
	e, n := s.entry(name), s.entry(next)
	n.wanted, n.typ, n.wide = true, e.typ, e.wide
	n.members.Replace(e.members.AllDesired())
	e.wanted, e.wide = false, map[filter.Member]bool{}
	e.members.Replace(map[filter.Member]struct{}{})
}

// Dirty returns the names of the sets that may differ from what the kernel has.
func (s *Sets) Dirty() []string { return slices.Sorted(maps.Keys(s.dirty)) }

// Actual returns the set of that name that the kernel has, as far as is known.
func (s *Sets) Actual(name string) (Header, bool) {
	if e := s.sets[name]; e != nil && e.actual != nil {
		return *e.actual, true
	}
	return Header{}, false
}

// Retyped reports whether a desired set is of another type than the kernel's of its name.
func (s *Sets) Retyped(name string) bool {
	e := s.sets[name]
	return e != nil && e.wanted && e.actual != nil && e.actual.Type != e.typ
}

// Pending returns the members that a desired set is to get and to lose.
func (s *Sets) Pending(name string) (added, removed []filter.Member) {
	if e := s.sets[name]; e != nil && e.wanted {
		return e.members.Pending()
	}
	return nil, nil
}

// Keep says whether members and sets that are not desired stay for the time being.
func (s *Sets) Keep(keep bool) { s.keep = keep }

// Resync makes the next Before or After read the kernel's sets back.
func (s *Sets) Resync() { s.loaded = false }

// Changed asks the kernel cheaply, without the members, whether somebody else created, deleted or resized one
// of our sets, and if so does what Resync does. A member exchanged for another goes unnoticed until the next
// Resync.
func (s *Sets) Changed(ctx context.Context) (bool, error) {
	if !s.loaded {
		return false, nil
	}
	headers, err := s.ours()
	if err != nil {
		return false, err
	}
	known := 0
	for _, e := range s.sets {
		if e.actual != nil {
			known++
		}
	}
	changed := known != len(headers)
	for _, h := range headers {
		e := s.sets[h.Name]
		changed = changed || e == nil || e.actual == nil || e.actual.Type != h.Type ||
			len(e.members.AllActual()) != h.Elements
	}
	if changed {
		s.Resync()
	}
	return changed, nil
}

// ours lists the headers of our sets.
func (s *Sets) ours() ([]Header, error) {
	headers, err := s.kernel.Headers()
	if err != nil {
		return nil, fmt.Errorf("list ip sets: %w", err)
	}
	return slices.DeleteFunc(headers, func(h Header) bool {
		return !isOurs(s.cfg.Family, h.Name)
	}), nil
}

// Load reads our sets back, unless they are known.
func (s *Sets) Load() error {
	if s.loaded {
		return nil
	}
	headers, err := s.ours()
	if err != nil {
		return err
	}
	s.counts.Sets.Store(int64(len(headers)))
	for name, e := range s.sets {
		e.actual = nil
		s.dirty[name] = true
	}
	for _, h := range headers {
		list, err := s.kernel.Members(h.Name)
		if errors.Is(err, unix.ENOENT) {
			continue // it went in between
		}
		if err != nil {
			return fmt.Errorf("list ip set %s: %w", h.Name, err)
		}
		e := s.entry(h.Name)
		e.actual = &h
		members := make(map[filter.Member]struct{}, len(list))
		for _, m := range list {
			members[m] = struct{}{}
		}
		e.members.Load(members)
	}
	for _, e := range s.sets {
		if e.actual == nil {
			e.members.Load(map[filter.Member]struct{}{})
		}
	}
	s.loaded = true
	return nil
}
