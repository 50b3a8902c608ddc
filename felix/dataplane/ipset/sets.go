package ipset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// Config says which sets a Sets owns.
type Config struct {
	Family dataplane.Family
	// MaxElements is the limit of members of a set that is created; 0 is DefaultMaxElements.
	MaxElements uint32
}

// kernel is the kernel's side: a *conn.
type kernel interface {
	headers() ([]header, error)
	members(name string) ([]Member, error)
	create(h header) error
	destroy(name string) error
	swap(a, b string) error
	// add and remove take any number of members; that one is, or is not, in the set already is no error.
	add(name string, members []Member) error
	remove(name string, members []Member) error
	close() error
}

// header is a set without its members.
type header struct {
	name        string
	typ         Type
	family      dataplane.Family
	maxElements uint32
	elements    int // how many there are, or will be soon
}

// set is both sides of one set.
type set struct {
	wanted  bool
	typ     Type    // if wanted
	actual  *header // nil if there is none
	members *delta.Map[Member, struct{}]
	// wide are the desired members of which more than one makes the kernel have a half of all addresses: /0 and /1.
	wide map[Member]bool
}

// Sets is the driver.
type Sets struct {
	kernel kernel
	cfg    Config
	loaded bool
	sets   map[string]*set
	// dirty holds the sets that may have something to do; every other one is as desired.
	dirty    map[string]bool
	withheld map[string]error
	counts   *Counts
}

// Open connects to the kernel in the calling thread's network namespace and returns a driver that wants no sets.
func Open(cfg Config) (*Sets, error) {
	c, err := dial(cfg.Family)
	if err != nil {
		return nil, err
	}
	return newSets(c, cfg), nil
}

func newSets(k kernel, cfg Config) *Sets {
	if cfg.MaxElements == 0 {
		cfg.MaxElements = DefaultMaxElements
	}
	counts := &Counts{}
	return &Sets{kernel: counted{k, counts}, cfg: cfg, sets: map[string]*set{}, dirty: map[string]bool{}, counts: counts}
}

// Close closes the connection; the sets stay.
func (s *Sets) Close() error { return s.kernel.close() }

// entry returns the set of that name, about to change.
func (s *Sets) entry(name string) *set {
	e, ok := s.sets[name]
	if !ok {
		e = &set{members: delta.New[Member](func(_, _ struct{}) bool { return true }), wide: map[Member]bool{}}
		s.sets[name] = e
	}
	s.dirty[name] = true
	return e
}

// Set makes a set desired, in place of what was desired under its name.
func (s *Sets) Set(d Set) {
	e := s.entry(d.Name)
	e.wanted, e.typ = true, d.Type
	members := make(map[Member]struct{}, len(d.Members))
	clear(e.wide)
	for _, m := range d.Members {
		for _, half := range m.expand(s.cfg.Family) {
			members[half] = struct{}{}
			if m.Net.Bits() <= 1 {
				e.wide[m] = true
			}
		}
	}
	e.members.Replace(members)
}

// AddMembers makes further members of a desired set desired; of a set that is not, it panics.
func (s *Sets) AddMembers(name string, members ...Member) { s.change(name, members, true) }

// RemoveMembers is the reverse of AddMembers.
func (s *Sets) RemoveMembers(name string, members ...Member) { s.change(name, members, false) }

func (s *Sets) change(name string, members []Member, add bool) {
	e := s.entry(name)
	if !e.wanted {
		panic("ipset: members of " + name + ", which is not desired")
	}
	for _, m := range members {
		halves := m.expand(s.cfg.Family)
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
func (e *set) covers(half Member) bool {
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
	e.members.Replace(map[Member]struct{}{})
}

// Withhold keeps desired sets out of the kernel, with the reasons. It replaces the former list. Grow reports these sets
// as failed. Shrink removes those that exist, when no rule names them any more.
func (s *Sets) Withhold(reasons map[string]error) {
	for _, names := range []map[string]error{s.withheld, reasons} {
		for name := range names {
			if s.sets[name] != nil {
				s.dirty[name] = true
			}
		}
	}
	s.withheld = maps.Clone(reasons)
}

// Name is "ipset".
func (s *Sets) Name() string { return "ipset" }

// Resync makes the next Grow or Shrink read the kernel's sets back.
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
		e := s.sets[h.name]
		changed = changed || e == nil || e.actual == nil || e.actual.typ != h.typ || len(e.members.AllActual()) != h.elements
	}
	if changed {
		s.Resync()
	}
	return changed, nil
}

// ours lists the headers of our sets.
func (s *Sets) ours() ([]header, error) {
	headers, err := s.kernel.headers()
	if err != nil {
		return nil, fmt.Errorf("list ip sets: %w", err)
	}
	return slices.DeleteFunc(headers, func(h header) bool {
		return !strings.HasPrefix(h.name, prefix(s.cfg.Family)) && !strings.HasPrefix(h.name, temporaryPrefix(s.cfg.Family))
	}), nil
}

// load reads our sets back.
func (s *Sets) load() error {
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
		list, err := s.kernel.members(h.name)
		if errors.Is(err, unix.ENOENT) {
			continue // it went in between
		}
		if err != nil {
			return fmt.Errorf("list ip set %s: %w", h.name, err)
		}
		e := s.entry(h.name)
		e.actual = &h
		members := make(map[Member]struct{}, len(list))
		for _, m := range list {
			members[m] = struct{}{}
		}
		e.members.Load(members)
	}
	for _, e := range s.sets {
		if e.actual == nil {
			e.members.Load(map[Member]struct{}{})
		}
	}
	s.loaded = true
	return nil
}
