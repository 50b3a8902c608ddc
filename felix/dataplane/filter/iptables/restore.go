package iptables

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// waitSeconds is how long a command waits for the lock file that the legacy variant uses.
const waitSeconds = 10

// transaction is the input of one restore command, and what is so once it succeeded.
type transaction struct {
	table *table
	text  bytes.Buffer
	lines uint64
	rules int // by how many our rules become more
	done  []func()
}

func (x *transaction) add(format string, args ...any) {
	fmt.Fprintf(&x.text, format+"\n", args...)
	x.lines++
}

// transaction returns the commands from what there is to what is desired. Of the chains that should go only
// those in dead go.
func (t *table) transaction(dead []string) *transaction {
	x := &transaction{table: t}
	wanted, _ := t.chains.Pending()
	slices.Sort(wanted)
	dead = slices.Sorted(slices.Values(dead))
	for _, name := range wanted {
		if _, there := t.chains.Actual(name); !there {
			x.add(":%s - [0:0]", name)
		}
	}
	for _, name := range dead { // emptied now, deleted when nothing names them
		x.add(":%s - [0:0]", name)
	}
	for _, name := range wanted {
		desired, _ := t.chains.Desired(name)
		actual, _ := t.chains.Actual(name)
		x.edit(name, actual, desired)
		x.rules += len(desired) - len(actual)
		x.done = append(x.done, func() { t.chains.Observe(name, desired) })
	}
	t.editHooks(x)
	for _, name := range dead {
		x.add("-X %s", name)
		actual, _ := t.chains.Actual(name)
		x.rules -= len(actual)
		x.done = append(x.done, func() { t.chains.Forget(name) })
	}
	return x
}

// emptying returns the commands that empty chains that are to be deleted.
func (t *table) emptying(names []string) *transaction {
	x := &transaction{table: t}
	for _, name := range names {
		x.add(":%s - [0:0]", name)
		actual, _ := t.chains.Actual(name)
		x.rules -= len(actual)
		x.done = append(x.done, func() { t.chains.Observe(name, nil) })
	}
	return x
}

// edit changes a chain of ours: what differs between the longest common beginning and end is replaced.
func (x *transaction) edit(name string, actual, desired []line) {
	first := 0
	for first < len(actual) && first < len(desired) && actual[first].hash == desired[first].hash {
		first++
	}
	rest := 0
	for rest < len(actual)-first && rest < len(desired)-first &&
		actual[len(actual)-1-rest].hash == desired[len(desired)-1-rest].hash {
		rest++
	}
	for range len(actual) - rest - first {
		x.add("-D %s %d", name, first+1)
	}
	for i, r := range desired[first : len(desired)-rest] {
		if rest == 0 {
			x.add("-A %s %s", name, r.args)
		} else {
			x.add("-I %s %d %s", name, first+i+1, r.args)
		}
	}
}

// editHooks puts our rules of other chains where they belong. There they are deleted by content:
// between reading and writing, somebody may have moved them.
func (t *table) editHooks(x *transaction) {
	names := map[string]bool{}
	for name := range t.hooks {
		names[name] = true
	}
	for name := range t.foreign {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		h, actual := t.hooks[name], t.foreign[name]
		if h.inPlace(actual) {
			continue
		}
		mine := ours(actual)
		for _, r := range mine {
			x.add("-D %s %s", name, r.args)
		}
		for _, r := range slices.Backward(h.insert) {
			x.add("-I %s %s", name, r.args)
		}
		for _, r := range h.append {
			x.add("-A %s %s", name, r.args)
		}
		x.rules += len(h.insert) + len(h.append) - len(mine)
		now := slices.Concat(h.insert, make([]line, len(actual)-len(mine)), h.append)
		x.done = append(x.done, func() { t.foreign[name] = now })
	}
}

// inPlace reports whether a chain begins and ends with our rules and has no other of ours.
func (h hooks) inPlace(actual []line) bool {
	first, last := len(h.insert), len(actual)-len(h.append)
	return first <= last && sameRules(h.insert, actual[:first]) && sameRules(h.append, actual[last:]) &&
		len(ours(actual)) == len(h.insert)+len(h.append)
}

// restore executes a transaction of one table.
func (t *table) restore(ctx context.Context, x *transaction) error {
	return t.commands.restore(ctx, []*transaction{x})()
}

// finish is called when the process of that id has executed a transaction.
func (t *table) finish(x *transaction, pid int) {
	if t.commands.variant == NFT {
		t.own[uint32(pid)]++
	}
	for _, done := range x.done {
		done()
	}
	t.counts.Lines.Add(x.lines)
	t.rules += x.rules
	t.count()
}

// culprit quotes the line of the input that an error of the restore command names by number.
func culprit(stdin string, err error) string {
	for _, word := range []string{"line ", "line: "} {
		_, rest, found := strings.Cut(err.Error(), word)
		var n int
		if _, e := fmt.Sscanf(rest, "%d", &n); !found || e != nil {
			continue
		}
		if lines := strings.Split(stdin, "\n"); n >= 1 && n <= len(lines) {
			return fmt.Sprintf(" (line %d is %q)", n, lines[n-1])
		}
	}
	return ""
}
