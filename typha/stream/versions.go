package stream

import (
	"fmt"
	"strings"
)

// revisions are resource versions by kind. They only grow: Kubernetes defines them to be
// comparable as decimal numbers within a kind.
type revisions map[string]string

// raise sets a kind's revision unless the present one is as new. What is not a decimal
// number cannot be compared and is left out.
func (r revisions) raise(kind, revision string) {
	if decimal(revision) && CompareRevisions(revision, r[kind]) > 0 {
		r[kind] = revision
	}
}

// versions say how new a Hub is. Two numbers a kind are needed: a list's revision is that of the
// whole datastore, so comparing what was seen with what was seen would refuse a replica in
// which nothing is missing.
type versions struct {
	changed revisions // of the newest change that is contained
	seen    horizons
}

// horizons are the revisions up to which nothing is missing, of every kind that is read; empty where there is none yet.
type horizons revisions

// raise is that of revisions, and notes the kind whatever the revision.
func (h horizons) raise(kind, revision string) {
	if _, noted := h[kind]; !noted {
		h[kind] = ""
	}
	revisions(h).raise(kind, revision)
}

func newVersions() versions { return versions{changed: revisions{}, seen: horizons{}} }

// covers returns an error if a node that applied the given changes would go back in time. A kind of which it is not known up
// to when it was seen may lack anything. One that is not read at all, because another release or datastore had it, does
// not come by waiting and counts for nothing.
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

// CompareRevisions compares resource versions of one kind, which are decimal numbers of any length; the empty string is least.
func CompareRevisions(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
