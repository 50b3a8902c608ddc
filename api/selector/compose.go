package selector

import "slices"

// Labels is a set of names with one value each that is no map.
type Labels interface {
	// Get returns the value of a label and whether the label is there.
	Get(name string) (value string, ok bool)
}

// Evaluate is Matches for labels that are no map. It does not allocate.
func (s *Selector) Evaluate(l Labels) bool { return evaluate(s.root, l) }

func evaluate(n node, l Labels) bool {
	switch n := n.(type) {
	case *has:
		_, ok := l.Get(n.label)
		return ok
	case *comparison:
		value, ok := l.Get(n.label)
		return n.holds(value, ok)
	case *membership:
		value, ok := l.Get(n.label)
		return n.holds(value, ok)
	case *negation:
		return !evaluate(n.operand, l)
	case *junction:
		for _, operand := range n.operands {
			if evaluate(operand, l) == n.any {
				return n.any
			}
		}
		return !n.any
	}
	return n.matches(nil) // a constant
}

// And returns a selector of what all the given ones select; of none, all(). Operands that are all() add nothing.
func And(selectors ...*Selector) *Selector {
	var operands []node
	for _, s := range selectors {
		j, joined := s.root.(*junction)
		c, fixed := s.root.(*constant)
		switch {
		case joined && !j.any:
			operands = append(operands, j.operands...)
		case !fixed || !c.value:
			operands = append(operands, s.root)
		}
	}
	switch len(operands) {
	case 0:
		return All()
	case 1:
		return newSelector(operands[0])
	}
	return newSelector(&junction{operands: operands})
}

// Or returns a selector of what one of the two selects.
func Or(a, b *Selector) *Selector {
	return newSelector(&junction{any: true, operands: []node{a.root, b.root}})
}

// Not returns a selector of everything else.
func Not(s *Selector) *Selector { return newSelector(negated(s.root)) }

// Has returns has(label).
func Has(label string) *Selector { return newSelector(&has{label}) }

// In returns label in {…}, or label == "…" for one value.
func In(label string, values ...string) *Selector {
	m := newMembership(label, opIn, slices.Clone(values))
	if len(m.values) == 1 {
		return newSelector(&comparison{label, opEqual, m.values[0]})
	}
	return newSelector(m)
}

// Prefixed returns the selector with a prefix before the names of its labels, for labels that are inherited under such
// names.
func (s *Selector) Prefixed(prefix string) *Selector {
	return newSelector(rewrite(s.root, func(n node) node {
		switch n := n.(type) {
		case *has:
			return &has{prefix + n.label}
		case *comparison:
			return &comparison{prefix + n.label, n.op, n.operand}
		case *membership:
			return &membership{prefix + n.label, n.op, n.values}
		}
		return n
	}))
}

// WithGlobal returns the selector with global() replaced: by all() if value is true, and else by a selector of nothing.
// It also says whether there was one.
func (s *Selector) WithGlobal(value bool) (*Selector, bool) {
	found := false
	root := rewrite(s.root, func(n node) node {
		c, ok := n.(*constant)
		if !ok || c.text != "global()" {
			return n
		}
		found = true
		if value {
			return All().root
		}
		return &negation{All().root}
	})
	return newSelector(root), found
}

// rewrite makes the same expression with other leaves.
func rewrite(n node, leaf func(node) node) node {
	switch n := n.(type) {
	case *negation:
		return negated(rewrite(n.operand, leaf))
	case *junction:
		out := &junction{any: n.any, operands: make([]node, len(n.operands))}
		for i, operand := range n.operands {
			out.operands[i] = rewrite(operand, leaf)
		}
		return out
	}
	return leaf(n)
}

// Fact is something that labels can have: a name, and unless Any is set the value.
type Fact struct {
	Label, Value string
	Any          bool
}

// Facts returns facts of which everything that the selector selects has at least one. It is false where there is no
// such list. Where there are several, it is the first of lowest rank; the rank of a list is that of its worst fact.
func (s *Selector) Facts(rank func(Fact) int) ([]Fact, bool) { return facts(s.root, rank) }

func facts(n node, rank func(Fact) int) ([]Fact, bool) {
	switch n := n.(type) {
	case *has:
		return []Fact{{Label: n.label, Any: true}}, true
	case *comparison:
		if n.op == opEqual {
			return []Fact{{Label: n.label, Value: n.operand}}, true
		}
		if n.op == opNotEqual {
			return nil, false
		}
		return []Fact{{Label: n.label, Any: true}}, true
	case *membership:
		if n.op != opIn {
			return nil, false
		}
		list := make([]Fact, len(n.values))
		for i, v := range n.values {
			list[i] = Fact{Label: n.label, Value: v}
		}
		return list, true
	case *negation:
		c, ok := n.operand.(*constant)
		return nil, ok && c.value // a selector of nothing
	case *junction:
		if !n.any {
			return bestFacts(n.operands, rank)
		}
		var all []Fact
		for _, operand := range n.operands {
			list, ok := facts(operand, rank)
			if !ok {
				return nil, false
			}
			all = append(all, list...)
		}
		return all, true
	}
	return nil, false
}

func bestFacts(operands []node, rank func(Fact) int) (best []Fact, found bool) {
	lowest := 0
	for _, operand := range operands {
		list, ok := facts(operand, rank)
		if !ok {
			continue
		}
		worst := 0
		for i, f := range list {
			if r := rank(f); i == 0 || r > worst {
				worst = r
			}
		}
		if !found || worst < lowest {
			best, lowest, found = list, worst, true
		}
	}
	return best, found
}

// Terms returns the number of the selector's requirements: comparisons, has(…), and the values of lists. It is an upper
// bound of the cost of one evaluation.
func (s *Selector) Terms() int { return terms(s.root) }

func terms(n node) int {
	switch n := n.(type) {
	case *membership:
		return max(1, len(n.values))
	case *negation:
		return terms(n.operand)
	case *junction:
		sum := 0
		for _, operand := range n.operands {
			sum += terms(operand)
		}
		return sum
	case *constant:
		return 0
	}
	return 1
}
