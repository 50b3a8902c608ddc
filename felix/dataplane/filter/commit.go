package filter

import (
	"context"
	"errors"
	"fmt"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// ChainID names a chain or a dispatch.
type ChainID struct {
	Table Table
	Name  string
}

// ID returns what names the chain.
func (c Chain) ID() ChainID { return ChainID{c.Table, c.Name} }

// ID returns what names the dispatch.
func (d Dispatch) ID() ChainID { return ChainID{d.Table, d.Name} }

// Target is a change of one target of a dispatch that is desired. Without a Chain the interface has none any more.
type Target struct {
	Dispatch  ChainID
	Interface string
	Chain     string
}

// Commit is a change of what is desired in one family. A backend makes it as one step, as far as packets can tell: see
// Backend.
type Commit struct {
	Sets []SetChange
	// Chains and Dispatches take the place of those of the same names.
	Chains     []Chain
	Dispatches []Dispatch
	Targets    []Target
	// Gone are chains and dispatches that are not desired any more.
	Gone []ChainID
	// Hooks has, for each table that it names, all our rules at its hooks.
	Hooks map[Table]map[Hook]HookRules
	// Withheld are desired sets that are not to be made, with the reasons. Chains that name them are in their
	// fallback. Nil leaves the former list.
	Withheld map[string]error
	// Keep is set while not everything is known yet, as at a start: sets gain members and lose none, until a commit
	// without it. A set in use that ought to lose members at once with the rules does not.
	Keep bool
}

// Backend makes the kernel's rules, chains and sets of one family match the commits that it was given. It touches
// nothing that it did not make.
//
// While a commit is made, no packet passes a table that passes it neither as the table was before nor as it is
// afterwards. A chain with a fallback that the kernel refuses, or that names a set which cannot be made whole, is
// replaced by its fallback and holds up nothing else.
type Backend interface {
	// Name is for messages and metrics, for example "iptables".
	Name() string
	// Start adds a commit to what is desired and begins to make the kernel match; finish does the rest. In between the
	// backends of other families can be started. The error of finish is made of Errors where it is about single chains
	// and sets. What failed is tried again with the next commit, which may be empty.
	Start(ctx context.Context, c Commit) (finish func() error)
	// ResyncChains and ResyncSets make the next commit read the kernel back.
	ResyncChains()
	ResyncSets()
	// Changed looks whether somebody else changed what the kernel has, as far as there are no events for that, and if
	// so makes the next commit read the kernel back.
	Changed(ctx context.Context) (bool, error)
	// Programmed reports whether the kernel has chains that this or an earlier process made.
	Programmed(ctx context.Context) (bool, error)
	dataplane.Observer
}

// Error says what is wrong with one chain, one set, or, without either, one table.
type Error struct {
	Table Table
	Chain string
	Set   string // id
	// Closed is set if nothing passes that should not: what depends on the chain or the set is in its fallback.
	Closed bool
	Err    error
}

func (e *Error) Error() string {
	switch {
	case e.Set != "":
		return fmt.Sprintf("ip set %s: %v", e.Set, e.Err)
	case e.Chain != "":
		return fmt.Sprintf("chain %s of table %s: %v", e.Chain, e.Table, e.Err)
	}
	return fmt.Sprintf("table %s: %v", e.Table, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Enforced reports whether everything that is to be closed is closed: err is nil, or made of Errors that are Closed.
func Enforced(err error) bool {
	if err == nil {
		return true
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			if !Enforced(one) {
				return false
			}
		}
		return true
	}
	one, ok := errors.AsType[*Error](err)
	return ok && one.Closed
}
