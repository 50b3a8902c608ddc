package iptables

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// hashPrefix begins the comment by which a rule of ours is recognised, as in Calico.
const hashPrefix = "cali:"

// hashLength is the length of a hash in a comment: 96 bits in base64.
const hashLength = 16

// line is one rule of iptables: its hash, and its arguments with the hash in a comment. Of a rule that was read back
// only the hash is known.
type line struct {
	hash, args string
}

// newLine returns the line of a rule's arguments.
func newLine(spec string) line {
	sum := sha256.Sum256([]byte(spec))
	hash := base64.RawURLEncoding.EncodeToString(sum[:])[:hashLength]
	return line{hash, strings.TrimSpace("-m comment --comment " + quote(hashPrefix+hash) + " " + spec)}
}

// ours reports whether the rule carries our hash.
func (l line) ours() bool { return l.hash != "" }

// ours returns those of the rules that are ours.
func ours(rules []line) []line {
	var list []line
	for _, r := range rules {
		if r.ours() {
			list = append(list, r)
		}
	}
	return list
}

func sameRules(a, b []line) bool {
	return slices.EqualFunc(a, b, func(a, b line) bool { return a.hash == b.hash })
}

// lines returns what the rules of a chain become.
func (w writer) lines(rules []filter.Rule) []line {
	lines := make([]line, 0, len(rules))
	for _, r := range rules {
		for _, spec := range w.specs(r) {
			lines = append(lines, newLine(spec))
		}
	}
	return lines
}

// maxComment is the kernel's limit of a comment, in bytes, less its end.
const maxComment = 255

// quote makes s one argument of iptables-restore. What would end the line or the quotes becomes a space.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' || r > '~' {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxComment {
		s = s[:maxComment]
	}
	return `"` + s + `"`
}
