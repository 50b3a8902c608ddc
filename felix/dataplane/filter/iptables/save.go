package iptables

import (
	"context"
	"fmt"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// saved is what a table contains, as far as we care; see table.
type saved struct {
	chains  map[string][]line
	foreign map[string][]line
}

// save reads the table. One that nothing is wanted of is read with all others: the command makes a table that it is
// asked for by name, through which packets would pass from then on.
func (t *table) save(ctx context.Context) (saved, error) {
	args := []string{"-t", string(t.name)}
	if len(t.chains.AllDesired())+len(t.hooks) == 0 {
		args = nil
	}
	out, err := t.commands.run(ctx, "save", nil, args...)
	if err != nil {
		return saved{}, fmt.Errorf("read table %s: %w", t.name, err)
	}
	return parse(section(string(out), string(t.name))), nil
}

// section returns the part of the save command's output that is about a table.
func section(text, table string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n*"+table+"\n")
	part, _, _ := strings.Cut(rest, "\nCOMMIT")
	return part
}

// parse reads the output of the save command for one table.
func parse(text string) saved {
	s := saved{chains: map[string][]line{}, foreign: map[string][]line{}}
	others := map[string][]line{}
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasPrefix(l, ":"):
			name, policy, _ := strings.Cut(l[1:], " ")
			switch {
			case strings.HasPrefix(name, filter.ChainPrefix):
				s.chains[name] = nil
			case !strings.HasPrefix(policy, "-"): // only the kernel's chains have a policy
				s.foreign[name] = nil
			}
		case strings.HasPrefix(l, "-A "):
			name, args, _ := strings.Cut(l[len("-A "):], " ")
			rule := line{hash: hashIn(args)}
			if _, ours := s.chains[name]; ours {
				s.chains[name] = append(s.chains[name], rule)
				continue
			}
			if rule.ours() {
				rule.args = args
			}
			others[name] = append(others[name], rule)
		}
	}
	for name, rules := range others {
		if _, kernels := s.foreign[name]; kernels || len(ours(rules)) > 0 {
			s.foreign[name] = rules
		}
	}
	return s
}

// hashIn finds our hash in the arguments of a rule.
func hashIn(args string) string {
	const option = "--comment "
	for {
		_, rest, found := strings.Cut(args, option)
		if !found {
			return ""
		}
		args = rest
		hash, ours := strings.CutPrefix(strings.TrimPrefix(rest, `"`), hashPrefix)
		if !ours || len(hash) < hashLength {
			continue
		}
		if end := hash[hashLength:]; end == "" || end[0] == ' ' || end[0] == '"' {
			return hash[:hashLength]
		}
	}
}
