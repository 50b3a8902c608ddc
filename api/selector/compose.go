package selector

// And gives a selector of what all the given ones select; of none, all(). Operands that are all() add nothing.
func And(selectors ...*Selector) *Selector {
	var operands conjunction
	for _, s := range selectors {
		switch n := s.root.(type) {
		case conjunction:
			operands = append(operands, n...)
		case constant:
			if !n.value {
				operands = append(operands, n)
			}
		default:
			operands = append(operands, n)
		}
	}
	switch len(operands) {
	case 0:
		return All()
	case 1:
		return newSelector(operands[0])
	}
	return newSelector(operands)
}

// Or gives a selector of what one of the two selects.
func Or(a, b *Selector) *Selector { return newSelector(disjunction{a.root, b.root}) }

// Not gives a selector of everything else.
func Not(s *Selector) *Selector { return newSelector(negation{s.root}) }

// Has gives has(label).
func Has(label string) *Selector { return newSelector(has{label}) }

// In gives label in {…}, or label == "…" for one value.
func In(label string, values ...string) *Selector {
	m := newMembership(label, values, false)
	if len(m.values) == 1 {
		return newSelector(comparison{label, opEqual, m.values[0]})
	}
	return newSelector(m)
}

// Prefixed gives the selector with a prefix before the names of its labels, for labels that are inherited under such
// names.
func (s *Selector) Prefixed(prefix string) *Selector { return newSelector(prefixed(s.root, prefix)) }

func prefixed(n node, prefix string) node {
	switch n := n.(type) {
	case has:
		return has{prefix + n.label}
	case comparison:
		n.label = prefix + n.label
		return n
	case membership:
		n.label = prefix + n.label
		return n
	case negation:
		return negation{prefixed(n.operand, prefix)}
	case conjunction:
		return conjunction(prefixedList(n, prefix))
	case disjunction:
		return disjunction(prefixedList(n, prefix))
	}
	return n
}

func prefixedList(operands []node, prefix string) []node {
	out := make([]node, len(operands))
	for i, operand := range operands {
		out[i] = prefixed(operand, prefix)
	}
	return out
}

// WithGlobal gives the selector with global() replaced: by all() if value is true, and else by a selector of nothing. It
// also says whether there was one.
func (s *Selector) WithGlobal(value bool) (*Selector, bool) {
	root, found := withGlobal(s.root, value)
	if !found {
		return s, false
	}
	return newSelector(root), true
}

func withGlobal(n node, value bool) (node, bool) {
	switch n := n.(type) {
	case constant:
		if n.text != "global()" {
			return n, false
		}
		if value {
			return constant{"all()", true}, true
		}
		return negation{constant{"all()", true}}, true
	case negation:
		operand, found := withGlobal(n.operand, value)
		return negation{operand}, found
	case conjunction:
		operands, found := withGlobalList(n, value)
		return conjunction(operands), found
	case disjunction:
		operands, found := withGlobalList(n, value)
		return disjunction(operands), found
	}
	return n, false
}

func withGlobalList(operands []node, value bool) (out []node, found bool) {
	for _, operand := range operands {
		replaced, had := withGlobal(operand, value)
		out, found = append(out, replaced), found || had
	}
	return out, found
}

// Fact is something that labels can have: a name, and unless Any is set the value.
type Fact struct {
	Label, Value string
	Any          bool
}

// Facts gives facts of which everything that the selector selects has at least one. It is false where there is no
// such list. Where there are several, it is the first of lowest rank; the rank of a list is that of its worst fact.
func (s *Selector) Facts(rank func(Fact) int) ([]Fact, bool) { return facts(s.root, rank) }

func facts(n node, rank func(Fact) int) ([]Fact, bool) {
	switch n := n.(type) {
	case has:
		return []Fact{{Label: n.label, Any: true}}, true
	case comparison:
		if n.op == opEqual {
			return []Fact{{Label: n.label, Value: n.operand}}, true
		}
		return []Fact{{Label: n.label, Any: true}}, n.op != opNotEqual
	case membership:
		if n.negated {
			return nil, false
		}
		list := make([]Fact, len(n.values))
		for i, v := range n.values {
			list[i] = Fact{Label: n.label, Value: v}
		}
		return list, true
	case negation:
		c, ok := n.operand.(constant)
		return nil, ok && c.value // a selector of nothing
	case conjunction:
		return bestFacts(n, rank)
	case disjunction:
		var all []Fact
		for _, operand := range n {
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
