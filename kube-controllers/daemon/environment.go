package daemon

import (
	"regexp"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/effects"
)

// problem is an environment variable that does nothing.
type problem struct{ name, reason string }

// ours are the beginnings of the names of variables that Maneki's and Calico's programs read.
var ours = []string{"TYPHA_", "FELIX_", "FELIXDEFAULT_", "CALICO_", "ETCD_", "KUBE_CONTROLLERS_", "WEBHOOK_",
	"AUTHORITY_"}

// ofService matches the variables that Kubernetes sets for each Service of the namespace.
var ofService = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_[A-Z]+(_PROTO|_PORT|_ADDR)?)?)$`)

// unusedVariables returns the variables of an environment ("NAME=value" each) that somebody set for this program and
// that do nothing: Calico's, and names that are misspelt. It is sorted.
func unusedVariables(environ []string) []problem {
	var c Config
	var known []string
	for _, s := range c.settings() {
		known = append(known, s.env)
	}
	var all []problem
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		row, inTable := effects.Lookup(effects.Controller, "environment", name)
		switch {
		case value == "" || slices.Contains(known, name):
		case inTable:
			if row.Misses(value) {
				all = append(all, problem{name, row.Why})
			}
		case ofService.MatchString(name):
		default:
			if reason := misspelt(name, known); reason != "" {
				all = append(all, problem{name, reason})
			}
		}
	}
	slices.SortFunc(all, func(a, b problem) int { return strings.Compare(a.name, b.name) })
	return all
}

// whyNot says why a controller of Calico's is not here.
func whyNot(controller string) string {
	row, _ := effects.Lookup(effects.Controller, "controller", controller)
	return row.Why
}

// misspelt says what is wrong with a name that is not known, and "" if it is none of ours.
func misspelt(name string, known []string) string {
	for _, right := range known {
		if len(name) > 6 && distance(name, right) <= 2 {
			return "there is no such variable; is " + right + " meant?"
		}
	}
	if slices.ContainsFunc(ours, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return "kube-controllers has no such variable"
	}
	return ""
}

// distance returns how many letters have to be added, removed or changed to make one word of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
