package labelindex_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/selector"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// TestTranscripts runs the files in testdata. The commands are
//
//	item KIND/NAMESPACE/NAME [LABEL=VALUE…] [account:NAME] [profile:NAME…] [port:NAME/PROTOCOL/NUMBER…]
//	networks KIND/NAMESPACE/NAME [NETWORK…]
//	exclude, remove KIND/NAMESPACE/NAME
//	profile NAME PREFIX [LABEL=VALUE…]
//	acquire, match, select, release SCOPE NAMESPACE EXPRESSION
//	flush
//	sweep, scan LIMIT
//
// Select is acquire and match. An empty namespace or prefix is "-". What a command gives is what an observer sees,
// sorted. A scan is one of all selectors that are not matched.
func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		p := &player{t: t, index: labelindex.New(), groups: map[*labelindex.Group]string{}}
		p.index.Observe(p)
		return func(c transcript.Command) string {
			p.events = nil
			p.run(c.Name, c.Args)
			slices.Sort(p.events)
			return strings.Join(p.events, "\n")
		}
	})
}

// player runs commands on an index, and notes what happens.
type player struct {
	t         *testing.T
	index     *labelindex.Index
	groups    map[*labelindex.Group]string // g1, g2, … in the order of their first items
	selectors []*labelindex.Selector
	events    []string
}

func (p *player) run(command string, args []string) {
	switch command {
	case "item":
		p.index.SetAttributes(p.item(args[0]), attributes(p.t, args[1:]))
	case "networks":
		p.index.SetNetworks(p.item(args[0]), networks(args[1:]))
	case "exclude":
		p.index.Exclude(p.item(args[0]))
	case "remove":
		p.index.Remove(p.item(args[0]))
	case "profile":
		profile := p.index.Profile(args[0])
		changed := p.index.SetLabels(profile, unquoted(args[1]), attributes(p.t, args[2:]).Labels)
		p.note("other labels: %v", changed)
		p.index.DropIfUnused(profile)
	case "select":
		p.index.Match(p.acquire(selectorOf(p.t, args)))
	case "acquire":
		p.acquire(selectorOf(p.t, args))
	case "match":
		p.index.Match(p.find(selectorOf(p.t, args)))
	case "release":
		s := p.find(selectorOf(p.t, args))
		p.index.Release(s)
		p.selectors = compact.Without(p.selectors, s)
	case "flush":
		p.index.Flush()
	case "sweep":
		p.index.Sweep(number(p.t, args[0]))
		p.note("swept: %v", p.index.Swept())
	case "scan":
		p.scan(number(p.t, args[0]))
	default:
		p.t.Fatalf("no command is named %s", command)
	}
}

func (p *player) acquire(want spec.Selector) *labelindex.Selector {
	s := p.index.Acquire(want)
	p.selectors = append(p.selectors, s)
	return s
}

func (p *player) find(want spec.Selector) *labelindex.Selector {
	s := p.index.FindSelector(want.Key())
	if s == nil {
		p.t.Fatalf("%+v is not in use", want)
	}
	return s
}

// scan scans with a limit a step, with a Flush after each.
func (p *player) scan(limit int) {
	unmatched := slices.DeleteFunc(slices.Clone(p.selectors), (*labelindex.Selector).Matched)
	scan := p.index.NewScan(slices.Compact(unmatched))
	for scan.Remaining() > 0 {
		before := scan.Remaining()
		scan.Step(p.index, limit)
		p.note("step from %d remaining groups to %d", before, scan.Remaining())
		p.index.Flush()
	}
	scan.Finish()
}

func (p *player) item(name string) *labelindex.Item {
	key := keyOf(name)
	it := p.index.Find(key)
	if it == nil {
		it = &labelindex.Item{}
		p.index.Add(it, key)
	}
	return it
}

func (p *player) note(format string, args ...any) {
	p.events = append(p.events, fmt.Sprintf(format, args...))
}

// group returns the name of a group.
func (p *player) group(g *labelindex.Group) string {
	if g == nil {
		return "no group"
	}
	if p.groups[g] == "" {
		p.groups[g] = fmt.Sprintf("g%d", len(p.groups)+1)
	}
	return p.groups[g]
}

func (p *player) ItemMoved(it *labelindex.Item, from *labelindex.Group) {
	p.note("%s moved from %s to %s", nameOf(it), p.group(from), p.group(it.Group()))
}

func (p *player) NetworksChanged(it *labelindex.Item, before compact.Networks) {
	p.note("%s had %d networks, has %d", nameOf(it), before.Len(), it.Networks().Len())
}

func (p *player) SelectionChanged(s *labelindex.Selector, g *labelindex.Group, selected bool) {
	p.note("%s selects %s: %v", s.Spec().Expression, p.group(g), selected)
}

func (p *player) Resized(s *labelindex.Selector, before int) {
	p.note("%s had %d networks, has %d", s.Spec().Expression, before, s.Networks())
}

func (p *player) GroupDropped(g *labelindex.Group) { p.note("%s dropped", p.group(g)) }

var kinds = map[string]labelindex.Kind{"pod": labelindex.Pod, "workload": labelindex.Workload, "host": labelindex.Host,
	"networkset": labelindex.NetworkSet, "node": labelindex.Node}

func keyOf(text string) labelindex.Key {
	parts := strings.Split(text, "/")
	return labelindex.Key{Kind: kinds[parts[0]], Namespace: unquoted(parts[1]), Name: parts[2]}
}

func nameOf(it *labelindex.Item) string {
	for name, kind := range kinds {
		if kind == it.Kind() {
			return strings.TrimSuffix(name+" "+it.Namespace(), " ") + "/" + it.Name()
		}
	}
	return "?"
}

func unquoted(text string) string { return strings.TrimPrefix(text, "-") }

func attributes(t *testing.T, args []string) labelindex.Attributes {
	a := labelindex.Attributes{Labels: map[string]string{}}
	var ports []labelindex.Port
	for _, arg := range args {
		if name, value, is := strings.Cut(arg, "="); is {
			a.Labels[name] = value
			continue
		}
		switch what, value, _ := strings.Cut(arg, ":"); what {
		case "account":
			a.ServiceAccount = value
		case "orchestrator":
			a.Orchestrator = value
		case "profile":
			a.Profiles = append(a.Profiles, value)
		case "port":
			p := strings.Split(value, "/")
			protocol, port := uint8(number(t, p[1])), uint16(number(t, p[2]))
			ports = append(ports, labelindex.Port{Name: p[0], Protocol: protocol, Number: port})
		default:
			t.Fatalf("no attribute is written %s", arg)
		}
	}
	a.Ports = labelindex.PackPorts(ports)
	return a
}

func selectorOf(t *testing.T, args []string) spec.Selector {
	scopes := map[string]spec.Scope{"any": spec.Any, "pods": spec.Pods, "nodes": spec.Nodes}
	expression, err := selector.Parse(strings.Join(args[2:], " "))
	if err != nil {
		t.Fatal(err)
	}
	return spec.Selector{Scope: scopes[args[0]], Namespace: unquoted(args[1]), Expression: expression}
}

func networks(texts []string) compact.Networks {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return compact.PackNetworks(list)
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
