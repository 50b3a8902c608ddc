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
	if decimal(revision) && compareDecimal(revision, r[kind]) > 0 {
		r[kind] = revision
	}
}

// versions say how new a Hub is. Two numbers a kind are needed: a list's revision is that of the
// whole datastore, so comparing what was seen with what was seen would refuse a replica in
// which nothing is missing.
type versions struct {
	changed revisions // of the newest change that is contained
	seen    revisions // up to which nothing is missing
}

func newVersions() versions { return versions{changed: revisions{}, seen: revisions{}} }

// covers returns an error if a node that applied the given changes would go back in time.
func (v versions) covers(applied map[string]string) error {
	for kind, revision := range applied {
		seen, known := v.seen[kind]
		if known && decimal(revision) && compareDecimal(seen, revision) < 0 {
			return fmt.Errorf("%s: seen up to resource version %s, the node has applied %s", kind, seen, revision)
		}
	}
	return nil
}

func decimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// compareDecimal compares decimal numbers of any length; the empty string is least.
func compareDecimal(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
