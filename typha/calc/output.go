package calc

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// output holds the objects that were handed out and those that may differ from them.
type output struct {
	current map[wire.ID]wire.Object
	pending map[wire.ID]wire.Object // nil: gone
}

func (o *output) set(object wire.Object) { o.pending[object.ID()] = object }

func (o *output) remove(id wire.ID) { o.pending[id] = nil }

func (o *output) flush() (upserts []wire.Object, sets []wire.SetDelta, deletes []wire.ID) {
	for id, object := range o.pending {
		before, existed := o.current[id]
		switch {
		case object == nil && existed:
			delete(o.current, id)
			deletes = append(deletes, id)
		case object != nil && !(existed && equal(before, object)):
			o.current[id] = object
			if set, is := object.(*wire.IPSet); is && existed {
				sets = append(sets, setDelta(before.(*wire.IPSet), set))
				continue
			}
			upserts = append(upserts, object)
		}
	}
	o.pending = map[wire.ID]wire.Object{}
	slices.SortFunc(upserts, func(a, b wire.Object) int { return compareIDs(a.ID(), b.ID()) })
	slices.SortFunc(deletes, func(a, b wire.ID) int { return compareIDs(b, a) })
	slices.SortFunc(sets, func(a, b wire.SetDelta) int { return strings.Compare(a.Name, b.Name) })
	return upserts, sets, deletes
}

func setDelta(before, after *wire.IPSet) wire.SetDelta {
	return wire.SetDelta{
		Name:      after.Name,
		AddedNets: without(after.Nets, before.Nets), RemovedNets: without(before.Nets, after.Nets),
		AddedPorts: without(after.Ports, before.Ports), RemovedPorts: without(before.Ports, after.Ports),
	}
}

// without gives what of a is not in b.
func without[T comparable](a, b []T) (rest []T) {
	there := make(map[T]bool, len(b))
	for _, x := range b {
		there[x] = true
	}
	for _, x := range a {
		if !there[x] {
			rest = append(rest, x)
		}
	}
	return rest
}

func equal(a, b wire.Object) bool {
	x, ok := a.(*wire.IPSet)
	if y, both := b.(*wire.IPSet); ok && both { // large; reflection would be slow
		return x.Type == y.Type && slices.Equal(x.Nets, y.Nets) && slices.Equal(x.Ports, y.Ports)
	}
	return reflect.DeepEqual(a, b)
}

func compareIDs(a, b wire.ID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// interest counts, by node, the reasons for which it needs an object.
type interest struct {
	nodes  map[string]map[wire.ID]int
	before map[string]map[wire.ID]bool // whether it was needed at the last flush, for what changed
}

// add changes the count of reasons by n.
func (i *interest) add(node string, id wire.ID, n int) {
	counts := i.nodes[node]
	if counts == nil {
		counts = map[wire.ID]int{}
		i.nodes[node] = counts
	}
	was := counts[id]
	if now := was + n; now > 0 {
		counts[id] = now
	} else {
		delete(counts, id)
		if len(counts) == 0 {
			delete(i.nodes, node)
		}
	}
	if (was > 0) == (was+n > 0) {
		return
	}
	if i.before[node] == nil {
		i.before[node] = map[wire.ID]bool{}
	}
	if _, noted := i.before[node][id]; !noted {
		i.before[node][id] = was > 0
	}
}

func (i *interest) flush() map[string]Interest {
	changes := map[string]Interest{}
	for node, ids := range i.before {
		var change Interest
		for id, was := range ids {
			now := i.nodes[node][id] > 0
			switch {
			case now && !was:
				change.Added = append(change.Added, id)
			case was && !now:
				change.Removed = append(change.Removed, id)
			}
		}
		if len(change.Added)+len(change.Removed) > 0 {
			slices.SortFunc(change.Added, compareIDs)
			slices.SortFunc(change.Removed, compareIDs)
			changes[node] = change
		}
	}
	i.before = map[string]map[wire.ID]bool{}
	return changes
}

// judge notes why a resource cannot be used; an empty reason says that it can, or is gone.
func (e *Engine) judge(kind, ns, name, reason string) {
	key := Verdict{Kind: kind, Namespace: ns, Name: name}
	if e.judged[key] == reason {
		return
	}
	if reason == "" {
		delete(e.judged, key)
	} else {
		e.judged[key] = reason
	}
	verdict := key
	verdict.Reason = reason
	e.verdicts[key] = verdict
}

func (e *Engine) flushVerdicts() []Verdict {
	var verdicts []Verdict
	for _, v := range e.verdicts {
		verdicts = append(verdicts, v)
	}
	e.verdicts = map[Verdict]Verdict{}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return verdicts
}
