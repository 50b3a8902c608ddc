package calc

import (
	"cmp"
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// class is items that nothing tells apart for a selector: in one place, with the same labels and named ports. The pods
// of a ReplicaSet are one, mostly.
type class struct {
	place  *place
	labels labels // their own
	ports  string // packed
	items  []*item
	nets   int // of its items

	matches []match // as of the last Flush, sorted by number
	stack   *stack  // likewise; nil if no policy selects them
}

// dirt says what of a class has to be decided again.
type dirt uint8

const (
	dirtyStack   dirt = iota + 1 // which policies apply to it
	dirtyMatches                 // and, before, which selectors select it
)

// classKey is what the items of a class have in common.
type classKey struct {
	place  *place
	labels labels
	ports  string
}

func (c *class) key() classKey { return classKey{c.place, c.labels, c.ports} }

// Get implements selector.Labels: its own labels, what follows from its place, and what its profiles give it. Labels of
// namespaces and service accounts are given by profiles alone: a pod does not have them by saying so.
func (c *class) Get(name string) (string, bool) {
	switch name {
	case v3.LabelNamespace:
		return c.place.space.name, c.place.space.name != ""
	case v3.LabelServiceAccount:
		return c.place.account, c.place.account != ""
	case v3.LabelOrchestrator:
		return c.place.orchestrator, c.place.orchestrator != ""
	}
	number, known := c.place.space.names.numbers[name]
	if !known {
		return "", false
	}
	if !inherited(name) {
		if v, ok := c.labels.get(number); ok {
			return v, true
		}
	}
	for _, p := range c.place.profiles {
		if v, ok := p.labels.get(number); ok {
			return v, true
		}
	}
	return "", false
}

// inherited reports whether a label is one of a namespace or a service account.
func inherited(label string) bool {
	return strings.HasPrefix(label, v3.NamespaceLabelPrefix) || strings.HasPrefix(label, v3.ServiceAccountLabelPrefix)
}

// match is a selector that selects a class, and where in its members the class is.
type match struct {
	*selector
	at int32
}

// find reports whether a selector selects the class, as of the last Flush, and where in its matches that is.
func (c *class) find(s *selector) (int, bool) {
	return slices.BinarySearchFunc(c.matches, s.number, func(m match, number int32) int { return cmp.Compare(m.number, number) })
}

func (c *class) selectedBy(s *selector) bool {
	_, is := c.find(s)
	return is
}

// leave takes the class out of the selector's members, whose last one takes its place.
func (m match) leave() {
	if m.users == 0 {
		return // all its members are about to be removed together
	}
	last := m.members[len(m.members)-1]
	i, _ := last.find(m.selector)
	last.matches[i].at = m.at
	m.members[m.at], m.members[len(m.members)-1] = last, nil
	m.members = m.members[:len(m.members)-1]
}

// classOf returns the class of items in a place with labels and ports, which it makes if need be.
func (e *Engine) classOf(to placeSpec, own map[string]string, ports string) *class {
	key := classKey{e.placeOf(to), e.names.pack("", own), ports}
	c := e.classes.Get(key)
	if c != nil {
		e.names.release(key.labels)
	} else {
		c = &class{place: key.place, labels: key.labels, ports: key.ports}
		e.classes.Add(c)
		c.place.classes.Add(c)
		e.markClass(c, dirtyMatches)
	}
	return c
}

// markClass notes that something about the class has to be decided again at the next Flush.
func (e *Engine) markClass(c *class, d dirt) {
	e.dirtyClasses[c] = max(e.dirtyClasses[c], d)
}

// classify makes a class that of the item; nil is none.
func (e *Engine) classify(it *item, to *class) {
	from := it.class
	if from == to {
		return
	}
	e.uncount(it)
	for net := range it.nets.All {
		e.noteNet(from, net)
		e.noteNet(to, net)
	}
	if from != nil {
		from.remove(it)
		e.grow(from, -it.nets.Len())
	}
	if it.class = to; to != nil {
		it.at = int32(len(to.items))
		to.items = append(to.items, it)
		e.grow(to, it.nets.Len())
	}
	if from != nil && len(from.items) == 0 {
		e.dropClass(from)
	}
	e.mark(it)
}

// grow records that the items of a class have more or fewer networks.
func (e *Engine) grow(c *class, n int) {
	if n == 0 {
		return
	}
	c.nets += n
	for _, m := range c.matches {
		e.resize(m.selector, n)
	}
}

// remove takes an item out.
func (c *class) remove(it *item) {
	last := c.items[len(c.items)-1]
	c.items[it.at], last.at = last, it.at
	c.items[len(c.items)-1] = nil
	c.items = c.items[:len(c.items)-1]
}

// dropClass forgets a class without items.
func (e *Engine) dropClass(c *class) {
	e.classes.Remove(c)
	delete(e.dirtyClasses, c)
	for _, m := range c.matches {
		m.leave()
	}
	c.matches = nil
	e.unstack(c)
	e.names.release(c.labels)
	c.place.classes.Remove(c)
	if c.place.classes.Len() == 0 {
		e.dropPlace(c.place)
	}
}
