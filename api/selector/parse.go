package selector

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits of a selector's text. Nearly every selector of a resource has at most 1,024 characters, so the limits
// hinder nobody. They keep hostile input from exhausting the stack, and limit the time of an evaluation.
const (
	maxLabelLength = 512
	maxDepth       = 1_000
	maxLength      = 16 << 10 // octets, of the text and of its canonical form
)

var tooLong = fmt.Sprintf("at most %d characters", maxLength)

var tooDeep = fmt.Sprintf("at most %d levels of parentheses", maxDepth)

// SyntaxError says where a selector stops making sense and what would.
type SyntaxError struct {
	// Selector is the whole text.
	Selector string
	// Column is where the error is, in characters from 1.
	Column int
	// Expected says what would be right there, Found what is there.
	Expected, Found string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("column %d: expected %s, found %s", e.Column, e.Expected, e.Found)
}

// Parse reads a selector. An error is a *SyntaxError.
func Parse(text string) (*Selector, error) {
	p := &parser{text: text}
	if len(text) > maxLength {
		return nil, p.expected(tooLong)
	}
	p.space()
	if p.end() {
		return All(), nil
	}
	root, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if !p.end() {
		return nil, p.expected("&&, || or the end")
	}
	if depth(root) > maxDepth { // the canonical form has more parentheses than the text and must parse, too
		return nil, p.expected(tooDeep)
	}
	parsed := newSelector(root)
	if len(parsed.canonical) > maxLength { // the canonical form may be longer than the text
		return nil, p.expected(tooLong)
	}
	return parsed, nil
}

// parser reads by recursive descent. Between its methods pos is at a token, never at white space.
type parser struct {
	text string
	pos  int
}

func (p *parser) or(depth int) (node, error) {
	operands, err := p.joined("||", depth, (*parser).and)
	if err != nil || len(operands) == 1 {
		return first(operands), err
	}
	return &junction{true, operands}, nil
}

func (p *parser) and(depth int) (node, error) {
	operands, err := p.joined("&&", depth, (*parser).operation)
	if err != nil || len(operands) == 1 {
		return first(operands), err
	}
	return &junction{false, operands}, nil
}

func (p *parser) joined(operator string, depth int, operand func(*parser, int) (node, error)) ([]node, error) {
	var operands []node
	for {
		n, err := operand(p, depth)
		if err != nil {
			return nil, err
		}
		operands = append(operands, n)
		if !p.take(operator) {
			return operands, nil
		}
	}
}

func first(operands []node) node {
	if len(operands) == 0 {
		return nil
	}
	return operands[0]
}

// operation is a comparison, a function or a parenthesis, with any number of !.
func (p *parser) operation(depth int) (node, error) {
	negate := false
	for p.take("!") {
		negate = !negate
	}
	n, err := p.primary(depth)
	if err != nil || !negate {
		return n, err
	}
	return negated(n), nil
}

func (p *parser) primary(depth int) (node, error) {
	if depth == maxDepth && strings.HasPrefix(p.text[p.pos:], "(") {
		return nil, p.expected(tooDeep)
	}
	if p.take("(") {
		n, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.expected("&&, || or )")
		}
		return n, nil
	}
	start := p.pos
	label := p.word()
	switch {
	case label == "":
		return nil, p.expected("a label, has(…), all(), global(), ! or (")
	case p.pos == start+len(label) && p.take("("):
		return p.function(label, start)
	case len(label) > maxLabelLength:
		p.pos = start
		return nil, p.expected(fmt.Sprintf("a label of at most %d characters", maxLabelLength))
	}
	return p.comparison(label)
}

// function reads what follows "name(", with name at start.
func (p *parser) function(name string, start int) (node, error) {
	var n node
	switch name {
	case "all", "global":
		n = &constant{name + "()", true}
	case "has":
		at := p.pos
		label := p.word()
		if label == "" || len(label) > maxLabelLength {
			p.pos = at
			return nil, p.expected(fmt.Sprintf("a label of 1 to %d characters", maxLabelLength))
		}
		n = &has{label}
	default:
		p.pos = start
		return nil, p.expected("has(…), all() or global()")
	}
	if !p.take(")") {
		return nil, p.expected(")")
	}
	return n, nil
}

func (p *parser) comparison(label string) (node, error) {
	start := p.pos
	switch op := p.operator(); op {
	case opNone:
		p.pos = start
		return nil, p.expected("an operator (==, !=, in, not in, contains, starts with, ends with) after the label")
	case opIn, opNotIn:
		values, err := p.set()
		if err != nil {
			return nil, err
		}
		return newMembership(label, op, values), nil
	default:
		operand, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return &comparison{label, op, operand}, nil
	}
}

// wordOperators are the operators that are words, without the white space that may stand within.
var wordOperators = map[string]operator{
	"in": opIn, "notin": opNotIn, "contains": opContains, "startswith": opStartsWith, "endswith": opEndsWith,
}

// operator reads one, or gives opNone.
func (p *parser) operator() operator {
	if p.take("==") {
		return opEqual
	}
	if p.take("!=") {
		return opNotEqual
	}
	word := p.word()
	switch word {
	case "not", "starts", "ends":
		word += p.word()
	}
	return wordOperators[word]
}

// set reads {'a', 'b'}. It may be empty, and a comma may follow the last string.
func (p *parser) set() ([]string, error) {
	if !p.take("{") {
		return nil, p.expected("{ and a list of quoted strings")
	}
	var values []string
	for !p.take("}") {
		value, err := p.quoted()
		if err != nil {
			return nil, err
		}
		values = append(values, value)
		if p.take(",") {
			continue
		}
		if !p.take("}") {
			return nil, p.expected(", or }")
		}
		break
	}
	return values, nil
}

func (p *parser) quoted() (string, error) {
	if p.end() || p.text[p.pos] != '\'' && p.text[p.pos] != '"' {
		return "", p.expected("a string in quotes")
	}
	quote := p.text[p.pos]
	length := strings.IndexByte(p.text[p.pos+1:], quote)
	if length < 0 {
		return "", p.expected(fmt.Sprintf("a string that ends with %c", quote))
	}
	value := p.text[p.pos+1:][:length]
	p.pos += length + 2
	p.space()
	return value, nil
}

// word reads a label or a keyword, which have the same characters, or gives "".
func (p *parser) word() string {
	start := p.pos
	for !p.end() && isWordByte(p.text[p.pos]) {
		p.pos++
	}
	word := p.text[start:p.pos]
	p.space()
	return word
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '_' || c == '.' || c == '/' || c == '-'
}

func (p *parser) take(token string) bool {
	if !strings.HasPrefix(p.text[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	p.space()
	return true
}

func (p *parser) space() {
	for !p.end() && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) end() bool { return p.pos == len(p.text) }

func (p *parser) expected(what string) error {
	found := "the end"
	if rest := p.text[p.pos:]; rest != "" {
		found = fmt.Sprintf("%q", abbreviate(rest))
	}
	return &SyntaxError{
		Selector: p.text,
		Column:   utf8.RuneCountInString(p.text[:p.pos]) + 1,
		Expected: what,
		Found:    found,
	}
}

// abbreviate keeps enough of the text to recognise the place.
func abbreviate(s string) string {
	const most = 20
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
