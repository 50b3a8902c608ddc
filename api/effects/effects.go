// Package effects is the table of everything that users can write and what it does: it works, it has no effect, or it
// will have one later. Each field of a resource, setting of Felix, annotation, key of the CNI configuration, setting of
// kube-controllers, metric and command of calicoctl has one row.
// The rows are in the .tsv files of this folder. A commit that makes something work also changes its row. Fields of the
// FelixConfiguration have no rows of their own: they follow from settings.tsv.
// Admission, calicoctl, Felix and the calculation all use this package, so that all of them warn of the same. It is
// pure, and any number of goroutines may call it.
package effects

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what becomes of something that users can write.
type State string

// States.
const (
	Works State = "works" // it does what Calico's documentation says; Why tells of a difference
	None  State = "none"  // it has no effect, and none is planned
	Later State = "later" // it has no effect yet
)

// Class is a kind of thing that users can write.
type Class string

// Classes. The comment says what On and Name of their rows are.
const (
	Field      Class = "field"      // kind, and path such as spec.ingress[].http
	Setting    Class = "setting"    // field of the FelixConfiguration or nothing, and name such as LogSeverityScreen
	Annotation Class = "annotation" // kind or * for every kind, and key; a * at its end is any rest
	Label      Class = "label"      // likewise
	Finalizer  Class = "finalizer"  // likewise
	CNIKey     Class = "cni"        // configuration or installer, and path or variable
	Controller Class = "controller" // environment, calico-node or controller, and variable or name
	Metric     Class = "metric"     // program, and name
	Command    Class = "command"    // command of calicoctl, and flag or nothing
)

// AnyValue among the values of Unless says that the thing is no request: another program writes it, or the result is
// the same without it. Its use is never a finding.
const AnyValue = "*"

// Row says what becomes of one thing.
type Row struct {
	Class    Class
	On, Name string
	State    State
	// Protects is set if the thing asks for protection that is not there, so that its use is an error.
	Protects bool
	// Unless are the values that ask for nothing that is missing, in upper or lower case. AnyValue is all of them.
	Unless []string
	// Why is the reason, one clause without a full stop. Within something without effect it can be empty.
	Why string
}

// Finding is a value without effect.
type Finding struct {
	Row
	// Value is what is set, and empty for an object or a list.
	Value string
}

// String returns a sentence such as "spec.reachableBy: has no effect yet: …". It is short enough for a warning of the
// API server, which cuts one after 256 characters.
func (f Finding) String() string {
	name := f.Name
	if f.Class != Field && f.Class != Setting {
		name = string(f.Class) + " " + name
	}
	if len(f.Unless) > 0 && f.Value != "" && f.Value != "true" {
		name += fmt.Sprintf(": %q", shortened(f.Value))
	} else {
		name += ":"
	}
	if f.State == Later {
		return name + " has no effect yet: " + f.Why
	}
	return name + " has no effect: " + f.Why
}

func shortened(value string) string {
	const most = 40
	if len(value) <= most {
		return value
	}
	return strings.ToValidUTF8(value[:most], "") + "…"
}

// Rows returns the rows of a class, sorted by On and Name.
func Rows(class Class) []Row { return slices.Clone(tables().rows[class]) }

// Lookup returns the row of a thing. Names of settings are in any case, and their on is ignored.
func Lookup(class Class, on, name string) (Row, bool) {
	i, ok := tables().index[key(class, on, name)]
	if !ok {
		return Row{}, false
	}
	return tables().rows[class][i], true
}

// ForSetting returns the finding of a Felix setting with a value, and false if the value asks for nothing that is
// missing or there is no such setting. Names and values are in any case.
func ForSetting(name, value string) (Finding, bool) {
	row, ok := Lookup(Setting, "", name)
	if slices.Contains(row.Unless, "false") || slices.Contains(row.Unless, "true") {
		value = boolean(value)
	}
	if !ok || !row.Misses(value) {
		return Finding{}, false
	}
	return Finding{row, value}, true
}

// boolean returns true or false for the texts that Calico reads as them, and other texts as they are.
func boolean(text string) string {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "y", "t":
		return "true"
	case "false", "0", "no", "n", "f":
		return "false"
	}
	return text
}

// Misses reports whether a value asks for something that is missing. The empty text asks for nothing. Durations are
// equal in every notation: 90s is 1m30s.
func (r Row) Misses(value string) bool {
	duration, notDuration := time.ParseDuration(value)
	covers := func(unless string) bool {
		if other, err := time.ParseDuration(unless); err == nil && notDuration == nil && other == duration {
			return true
		}
		return unless == AnyValue || strings.EqualFold(unless, value)
	}
	return r.State != Works && value != "" && !slices.ContainsFunc(r.Unless, covers)
}

// Markdown returns the row as one of a Markdown table: name, which is Markdown itself, State, Unless and Why. In bold,
// the state is that of what asks for protection.
func (r Row) Markdown(name string) string {
	state := string(r.State)
	if r.Protects {
		state = "**" + state + "**"
	}
	unless := strings.Join(r.Unless, ", ")
	if unless == AnyValue {
		unless = "any value"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", name, state, unless, r.Why)
}
