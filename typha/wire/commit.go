package wire

import (
	"slices"
	"strings"
)

// Commit is one change of what a node needs, to be applied as one.
//
// Upserts are in an order that is safe to add in (by Kind, ascending); Deletes are to be
// removed after the Upserts, in the order given (by Kind, descending).
type Commit struct {
	// Number grows by at least one with each commit of one source.
	Number  uint64
	Upserts []Object
	// Sets are changes of sets that the receiver has, to be applied with the Upserts, which do not name them.
	Sets    []SetDelta
	Deletes []ID
	// InSync says that with this commit everything the source knew when the node connected has
	// been delivered. Until the first such commit nothing may be removed from the kernel.
	InSync bool
	// Versions are the resource versions the commit was computed from, by kind name.
	Versions map[string]string
	// Datastore identifies the datastore that the Versions are of; empty where that is not known. Versions of another
	// one mean nothing.
	Datastore string
}

// Report is what Felix tells upward after it applied commits.
type Report struct {
	// Applied is the Number of the last commit that the kernel enforces.
	Applied uint64 `cbor:"1,keyasint"`
	// Errors are what could not be done, at most 100, each naming object and cause.
	Errors []string `cbor:"2,keyasint,omitempty"`
	// Notices are facts that are as configured, but may surprise a user; at most 100.
	Notices []string `cbor:"3,keyasint,omitempty"`
}

// MaxReportTexts is the largest number of errors, and of notices, in a report that is shortened. MaxReportText is the
// largest size of each, in octets, before an ellipsis.
const (
	MaxReportTexts = 100
	MaxReportText  = 1000
)

// Shortened returns a copy of the report within these limits.
func (r Report) Shortened() Report {
	for _, list := range []*[]string{&r.Errors, &r.Notices} {
		*list = slices.Clone((*list)[:min(len(*list), MaxReportTexts)])
		for i, text := range *list {
			if len(text) > MaxReportText {
				(*list)[i] = strings.ToValidUTF8(text[:MaxReportText], "") + "…"
			}
		}
	}
	return r
}
