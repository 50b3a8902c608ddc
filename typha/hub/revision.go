package hub

import (
	"fmt"
	"maps"
	"strings"
)

// revisions are resource versions by kind. They only grow. Kubernetes defines that the resource versions of a kind can
// be compared as decimal numbers.
type revisions map[string]string

// raise sets a kind's revision, unless the present one is as new. It ignores what is not a decimal number, which cannot
// be compared.
func (r revisions) raise(kind, revision string) {
	if decimal(revision) && CompareRevisions(revision, r[kind]) > 0 {
		r[kind] = revision
	}
}

// versions say how new a Hub's state is. Each kind needs two numbers: a list's revision is that of the whole datastore,
// so a comparison of what two replicas have seen would refuse a replica that lacks nothing.
type versions struct {
	changed revisions // of the newest change that the state contains
	seen    horizons
}

// horizons are the revisions up to which every change has been seen, of every kind that is read. The revision is empty
// while there is none.
type horizons revisions

// raise is revisions.raise, and adds the kind whatever the revision.
func (h horizons) raise(kind, revision string) {
	if _, noted := h[kind]; !noted {
		h[kind] = ""
	}
	revisions(h).raise(kind, revision)
}

func newVersions() versions { return versions{changed: revisions{}, seen: horizons{}} }

// changedNow returns a copy of changed.
func (v versions) changedNow() map[string]string { return maps.Clone(v.changed) }

// covers returns an error if a node that has applied the given changes would go back in time. A kind with an empty
// horizon may lack any change. A kind that is not read, because only another release or datastore has it, does not
// count: waiting for it would not help.
func (v versions) covers(applied map[string]string) error {
	for kind, revision := range applied {
		seen, read := v.seen[kind]
		if read && decimal(revision) && CompareRevisions(seen, revision) < 0 {
			return fmt.Errorf("%s: seen up to resource version %q, the node has applied %s", kind, seen, revision)
		}
	}
	return nil
}

func decimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// CompareRevisions compares two resource versions of one kind, which are decimal numbers of any length. The empty
// string is the least.
func CompareRevisions(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
