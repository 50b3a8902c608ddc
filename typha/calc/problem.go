package calc

import (
	"cmp"
	"slices"
	"strings"
)

// Problem says why a resource, or a part of it, cannot be used. An empty Reason says that the resource can now be used,
// or is gone.
type Problem struct {
	Kind      string
	Namespace string
	Name      string
	Reason    string
}

// problems holds the reasons why resources cannot be used. The keys are Problems without their reasons.
type problems struct {
	reasons map[Problem]string
	// ofServices are further reasons, of policies: a Service that the policy names has too many members.
	ofServices map[Problem]string
	changed    map[Problem]struct{} // since the last flush
}

func newProblems() problems {
	return problems{reasons: map[Problem]string{}, ofServices: map[Problem]string{}, changed: map[Problem]struct{}{}}
}

// set stores why a resource cannot be used. An empty reason says that it can be used, or is gone.
func (p *problems) set(kind, ns, name, reason string) {
	p.change(p.reasons, Problem{Kind: kind, Namespace: ns, Name: name}, reason)
}

// setOfService is set for a reason that lies in a Service that the policy names. It is added to the policy's own
// reason.
func (p *problems) setOfService(policy Problem, reason string) {
	p.change(p.ofServices, policy, reason)
}

func (p *problems) change(reasons map[Problem]string, key Problem, reason string) {
	switch {
	case reasons[key] == reason:
		return
	case reason == "":
		delete(reasons, key)
	default:
		reasons[key] = reason
	}
	p.changed[key] = struct{}{}
}

// flush returns the problems that changed since the last call, sorted by kind, namespace and name.
func (p *problems) flush() []Problem {
	var list []Problem
	for key := range p.changed {
		key.Reason = joined(p.reasons[key], p.ofServices[key])
		list = append(list, key)
	}
	if len(list) > 0 {
		p.changed = map[Problem]struct{}{}
	}
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Name, b.Name))
	})
	return list
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
