package iptables

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// hashPrefix begins the comment by which a rule of ours is recognised, as in Calico.
const hashPrefix = "cali:"

// Rule is one rule. Without an Action it only counts.
type Rule struct {
	Match   Match
	Action  Action
	Comment string // for people; may be empty
}

// hashLength is the length of a hash in a comment: 96 bits in base64.
const hashLength = 16

// line renders the rule, with its hash in a comment.
func (r Rule) line() line {
	spec := r.spec()
	sum := sha256.Sum256([]byte(spec))
	hash := base64.RawURLEncoding.EncodeToString(sum[:])[:hashLength]
	return line{hash, strings.TrimSpace("-m comment --comment " + quote(hashPrefix+hash) + " " + spec)}
}

// spec returns the rule's arguments without the hash.
func (r Rule) spec() string {
	var parts []string
	if r.Comment != "" {
		parts = append(parts, "-m comment --comment "+quote(r.Comment))
	}
	parts = append(parts, r.Match...)
	if r.Action != nil {
		parts = append(parts, r.Action.args())
	}
	return strings.Join(parts, " ")
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
