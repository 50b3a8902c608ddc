// Package iptables is the backend of package filter that writes rules with the commands of iptables, and sets with the
// kernel's ipset.
//
// A Backend owns, in one IP family, the chains whose names begin with "cali-", the rules that carry a hash of ours in a
// comment, and the sets of package ipset; it touches no other. Each rule's hash is read back, so that what is right is
// not written again, whoever programmed it. It drives the save and restore commands of the nft or the legacy variant.
// It knows nothing of policy. The goroutine that owns the drivers calls it.
package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
)

// Config says what a Backend drives and how.
type Config struct {
	Family  dataplane.Family
	Variant Variant
	Runner  Runner       // Exec, or a Fake
	Sets    ipset.Kernel // that of ipset.Dial, or a Fake's; Open dials
	// MaxElements is the limit of members of a set; 0 is ipset.DefaultMaxElements.
	MaxElements uint32
	// Scratch are two bits of the mark that rules with alternatives use, and nothing else.
	Scratch uint32
}

// Backend implements filter.Backend.
type Backend struct {
	commands *commands
	writer   writer
	tables   map[filter.Table]*table
	unread   map[filter.Table]error // tables that could not be read for the last commit
	sets     *ipset.Sets
	pending  []filter.Commit // not recorded yet, because the sets could not be read

	chains     map[filter.ChainID]filter.Chain // that are desired, without those of dispatches
	dispatches map[filter.ChainID]*dispatch
	names      map[string]string // the kernel's names of sets, by id
	ids        map[string]string // the reverse
	usage      usage
	broken     map[string]error // sets that are not whole, by id
	withheld   map[string]error // by id
	change     change
	keep       bool // as the last commit has it
	first      bool // nothing was programmed yet by this process
}

var _ filter.Backend = (*Backend)(nil)

// Open returns a backend of the kernel's rules and sets in the calling thread's network namespace. It changes nothing.
// Call Close after use.
func Open(cfg Config) (*Backend, error) {
	sets, err := ipset.Dial(cfg.Family)
	if err != nil {
		return nil, err
	}
	cfg.Sets = sets
	return New(cfg), nil
}

// New returns a backend that wants nothing and has not read the kernel yet.
func New(cfg Config) *Backend {
	b := &Backend{
		commands: &commands{family: cfg.Family, variant: cfg.Variant, runner: cfg.Runner},
		tables:   map[filter.Table]*table{}, unread: map[filter.Table]error{},
		sets:   ipset.New(cfg.Sets, ipset.Config{Family: cfg.Family, MaxElements: cfg.MaxElements}),
		chains: map[filter.ChainID]filter.Chain{}, dispatches: map[filter.ChainID]*dispatch{},
		names: map[string]string{}, ids: map[string]string{}, usage: newUsage(), change: newChange(),
		broken: map[string]error{}, withheld: map[string]error{}, first: true,
	}
	all := cfg.Scratch & -cfg.Scratch
	b.writer = writer{family: cfg.Family, all: all, part: cfg.Scratch &^ all, setName: b.setName}
	for _, name := range filter.Tables() {
		b.tables[name] = newTable(name, b.commands)
	}
	return b
}

// Close closes the connection; chains and sets stay.
func (b *Backend) Close() error { return b.sets.Close() }

// Name is "iptables".
func (b *Backend) Name() string { return "iptables" }

// Counts returns the counts of the commands.
func (b *Backend) Counts() *Counts { return &b.commands.counts }

// TableCounts returns the counts of a table.
func (b *Backend) TableCounts(t filter.Table) *TableCounts { return &b.tables[t].counts }

// SetCounts returns the counts of the sets.
func (b *Backend) SetCounts() *ipset.Counts { return b.sets.Counts() }

// ResyncChains makes the next commit read the tables back.
func (b *Backend) ResyncChains() {
	for _, t := range b.tables {
		t.resync()
	}
}

// ResyncSets makes the next commit read the sets back.
func (b *Backend) ResyncSets() { b.sets.Resync() }

// Observe implements dataplane.Observer.
func (b *Backend) Observe(e dataplane.Event) bool {
	act := false
	for _, t := range b.tables {
		act = t.observe(e) || act
	}
	return act
}

// Changed implements filter.Backend. The nft variant has events of changed chains.
func (b *Backend) Changed(ctx context.Context) (bool, error) {
	changed, err := b.sets.Changed(ctx)
	errs := []error{err}
	if b.commands.variant == Legacy {
		for _, name := range filter.Tables() {
			more, err := b.tables[name].changed(ctx)
			changed, errs = changed || more, append(errs, err)
		}
	}
	return changed, errors.Join(errs...)
}

// Programmed implements filter.Backend.
func (b *Backend) Programmed(ctx context.Context) (bool, error) {
	return b.tables[filter.Filter].programmed(ctx)
}

// setName returns the kernel's name of a set.
func (b *Backend) setName(id string) string {
	if name, known := b.names[id]; known {
		return name
	}
	return ipset.SetName(b.commands.family, id)
}

// Start implements filter.Backend.
func (b *Backend) Start(ctx context.Context, c filter.Commit) (finish func() error) {
	b.pending = append(b.pending, c)
	if err := b.begin(ctx); err != nil {
		return func() error { return err }
	}
	wait := b.commands.restore(ctx, b.transactions())
	return func() error {
		failed := b.finish(ctx, wait())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return b.after(ctx, failed)
	}
}

// Commit is Start and its finish.
func (b *Backend) Commit(ctx context.Context, c filter.Commit) error { return b.Start(ctx, c)() }

// begin records the pending commits and makes the changes of sets that come before the rules. A table that cannot be
// read is left out, so that it does not hold up the others.
func (b *Backend) begin(ctx context.Context) error {
	if err := b.sets.Load(); err != nil {
		return err
	}
	clear(b.unread)
	for name, t := range b.tables {
		err := t.load(ctx)
		if err != nil {
			b.unread[name] = err
		}
	}
	for _, c := range b.pending {
		b.record(c)
		b.keep = c.Keep
	}
	b.sets.Keep(b.keep)
	b.pending = nil
	b.withhold()
	orders := b.plan()
	err := b.sets.Before(ctx, func(name string) ipset.Order { return orders[name] })
	return b.learn(err, true)
}

// transactions returns what each table needs, in the order in which packets pass the tables.
func (b *Backend) transactions() []*transaction {
	var all []*transaction
	for _, name := range filter.Tables() {
		if b.unread[name] == nil {
			all = append(all, b.tables[name].begin())
		}
	}
	return all
}

// finish does what is left of the tables once the one command for all of them ended. It returns an error for each table
// that is not as desired.
func (b *Backend) finish(ctx context.Context, err error) []error {
	var failed []error
	for _, name := range filter.Tables() {
		cause := b.unread[name]
		if cause == nil && err != nil {
			cause = b.tables[name].repair(ctx)
		}
		if cause != nil {
			failed = append(failed, &filter.Error{Table: name, Err: cause})
		}
	}
	for _, name := range filter.Tables() {
		if b.unread[name] == nil {
			b.tables[name].again(ctx)
		}
	}
	return failed
}

// after makes the changes of sets that come after the rules. If tables are not as desired, it leaves out the sets that
// these tables name: their rules may be the former ones.
func (b *Backend) after(ctx context.Context, failed []error) error {
	errs := failed
	settled := func(string) bool { return true }
	if len(failed) > 0 {
		settled = b.namedElsewhere(failed)
	} else {
		b.change, b.first = newChange(), b.first && b.keep
	}
	before := len(b.broken)
	if err := b.learn(b.sets.After(ctx, settled), false); err != nil {
		return err
	}
	for id := range b.broken { // which is tried again
		b.change.sets[id] = true
	}
	if len(failed) == 0 && len(b.broken) > before { // chains that name a set which is not whole are closed at once
		errs = b.finish(ctx, b.commands.restore(ctx, b.transactions())())
	}
	for _, id := range slices.Sorted(maps.Keys(b.broken)) {
		errs = append(errs, &filter.Error{Set: id, Closed: b.usage.tally(id).open == 0, Err: b.broken[id]})
	}
	for _, name := range filter.Tables() {
		errs = append(errs, b.tables[name].refusals()...)
	}
	return errors.Join(errs...)
}

// namedElsewhere returns a function that reports whether a set, by the kernel's name, is named by no rule of the tables
// that failed, neither by a former rule nor by a new one.
func (b *Backend) namedElsewhere(failed []error) func(name string) bool {
	tables := map[filter.Table]bool{}
	for _, err := range failed {
		if e, is := errors.AsType[*filter.Error](err); is {
			tables[e.Table] = true
		}
	}
	return func(name string) bool {
		id, known := b.ids[name]
		if !known || b.names[id] != name {
			return false // a former name, which rules of these tables may still have
		}
		for chain := range b.usage.users[id] {
			if tables[chain.Table] {
				return false
			}
		}
		for chain, formers := range b.change.former {
			for _, former := range formers {
				if _, uses := former[id]; uses && tables[chain.Table] {
					return false
				}
			}
		}
		return true
	}
}

// learn takes in which sets are not whole. Chains with a fallback that name one of them get it. With all, every other
// set is whole again. Its error is one that is not about single sets.
func (b *Backend) learn(err error, all bool) error {
	failed, known := errors.AsType[*ipset.FailedError](err)
	if err != nil && !known {
		return err
	}
	former := maps.Clone(b.broken)
	if all {
		clear(b.broken)
	}
	if known {
		for name, reason := range failed.Sets {
			id, ours := b.ids[name]
			if !ours {
				id = name
			}
			b.broken[id] = reason
		}
	}
	for id := range b.broken {
		if former[id] == nil {
			b.writeUsers(id)
		}
	}
	for id := range former {
		if b.broken[id] == nil {
			b.writeUsers(id)
		}
	}
	return nil
}

// writeUsers writes the chains that name a set again.
func (b *Backend) writeUsers(id string) {
	for chain := range b.usage.users[id] {
		b.write(b.chains[chain])
	}
}

// write makes a chain's rules desired in its table.
func (b *Backend) write(c filter.Chain) {
	rules := c.Rules
	if c.Fallback != nil {
		for id := range b.usage.of[c.ID()] {
			if b.broken[id] != nil {
				rules = c.Fallback
			}
		}
	}
	form := closable{rules: b.writer.lines(rules), about: c.About}
	if c.Fallback != nil {
		form.fallback = b.writer.lines(c.Fallback)
	}
	b.tables[c.Table].set(c.Name, form)
}

// Clean removes everything that a Backend of either variant made in a family, in the calling thread's network
// namespace.
func Clean(ctx context.Context, f dataplane.Family) error {
	var errs []error
	for _, variant := range []Variant{NFT, Legacy} {
		if !hasOurs(ctx, variant, f) {
			continue
		}
		c := &commands{family: f, variant: variant, runner: Exec{}}
		for _, name := range filter.Tables() {
			t := newTable(name, c)
			x, err := t.prepare(ctx)
			if err == nil {
				err = c.restore(ctx, []*transaction{x})()
			}
			if err != nil {
				err = t.repair(ctx)
			}
			err = errors.Join(append(t.refusals(), err)...)
			if err != nil {
				errs = append(errs, fmt.Errorf("remove %s rules of iptables-%s: %w", f, variant, err))
			}
		}
	}
	sets, err := ipset.Open(ipset.Config{Family: f})
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, sets.Apply(ctx), sets.Close())...)
}

// hasOurs reports whether a variant of iptables has chains of ours. To ask for all tables makes none, unlike to ask for
// one. A variant that cannot be asked has nothing.
func hasOurs(ctx context.Context, v Variant, f dataplane.Family) bool {
	out, _, err := Run(ctx, Exec{}, Command{Name: command(f, v, "save")})
	return err == nil && strings.Contains(string(out), filter.ChainPrefix)
}
