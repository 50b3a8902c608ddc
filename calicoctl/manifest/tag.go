package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// knownTags are those of YAML itself.
var knownTags = []string{"", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!seq", "!!map",
	"!!binary",
	"!!merge"}

// tag reports a node whose text begins with !, as the negation of a selector does. YAML takes it for a tag, and what is
// left of the text is another value, most often an empty one.
func (r *reader) tag(node *yaml.Node, path string) (found bool) {
	text := r.source(node)
	begins := strings.HasPrefix(text, "!") && !strings.HasPrefix(text, "!!") // also "! a", whose tag the parser drops
	if slices.Contains(knownTags, node.Tag) && !begins {
		return false
	}
	if text == "" {
		text = strings.TrimSpace(node.Tag + " " + node.Value)
	}
	r.fail(node, path, "%s", tagHint(text))
	return true
}

// CheckTags returns an error for every value of a node that YAML takes for a tag, where the node is not read by Read.
// lines are those of the text that it was parsed from.
func CheckTags(node *yaml.Node, lines []string) error {
	r := &reader{lines: lines}
	var walk func(node *yaml.Node, path string)
	walk = func(node *yaml.Node, path string) {
		if node.Kind != yaml.DocumentNode && r.tag(node, path) {
			return
		}
		for i, child := range node.Content {
			switch {
			case node.Kind == yaml.SequenceNode:
				walk(child, fmt.Sprintf("%s[%d]", path, i))
			case node.Kind != yaml.MappingNode:
				walk(child, path)
			case i%2 == 1:
				walk(child, join(path, node.Content[i-1].Value))
			}
		}
	}
	walk(node, "")
	return errors.Join(r.errs...)
}

// source returns what the lines that were read have where a node begins, up to the end of the value; empty for a node
// that is not of a user's file.
func (r *reader) source(node *yaml.Node) string {
	if node.Line < 1 || node.Line > len(r.lines) {
		return ""
	}
	line := []rune(r.lines[node.Line-1])
	if node.Column < 1 || node.Column > len(line) {
		return ""
	}
	return valueOf(string(line[node.Column-1:]))
}

// valueOf returns the beginning of a line without a comment, and without what ends a value inside brackets.
func valueOf(line string) string {
	depth, quote := 0, rune(0)
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.ContainsRune("([{", c):
			depth++
		case strings.ContainsRune(")]}", c):
			depth--
		}
		comment := c == '#' && i > 0 && line[i-1] == ' '
		if quote == 0 && (depth < 0 || depth == 0 && c == ',' || comment) {
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// tagHint says how to write a text that begins with !.
func tagHint(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, "'") && !strings.ContainsAny(text, `"\`) {
		quoted = `"` + text + `"`
	}
	return fmt.Sprintf("%s begins a YAML tag, not a text: put it in quotes: %s", text[:1], quoted)
}

// unquoted finds a value that begins with ! and is not in quotes.
var unquoted = regexp.MustCompile(`^[^#'"]*?(?:: |- |\[|\{|, )\s*(![^!\s'"].*)$`)

// tagIn returns a hint about the first such value of a text that is not YAML, or nothing.
func tagIn(lines []string) string {
	for i, line := range lines {
		if found := unquoted.FindStringSubmatch(line); found != nil {
			return fmt.Sprintf(" (line %d: %s)", i+1, tagHint(valueOf(found[1])))
		}
	}
	return ""
}
