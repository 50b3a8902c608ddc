package sets_test

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
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestTranscripts runs the files in testdata. The commands are
//
//	pod NAME [LABEL=VALUE…] [port:NAME/NUMBER…] [NETWORK…]
//	remove NAME
//	namespace [LABEL=VALUE…]
//	slice NAME [SERVICE [ADDRESS…] [port:NUMBER…]]
//	acquire SET networks EXPRESSION
//	acquire SET ports NAME EXPRESSION
//	acquire SET service, service-ports NAME
//	publish, handout, release SET
//	bound MEMBERS
//	flush
//
// SET is how the file calls the set. The pods are in the namespace shop. All ports are of TCP. Flush flushes the index
// and the sets, and gives what changed.
func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		index := labelindex.New()
		p := &player{t: t, index: index, sets: sets.New(index), named: map[string]*sets.Set{}}
		return func(c transcript.Command) string {
			p.out = nil
			p.run(c.Name, c.Args)
			return strings.Join(p.out, "\n")
		}
	})
}

// player runs commands.
type player struct {
	t     *testing.T
	index *labelindex.Index
	sets  *sets.Sets
	named map[string]*sets.Set
	out   []string
}

func (p *player) run(command string, args []string) {
	switch command {
	case "pod":
		setPod(p.index, args[0], parsePod(p.t, args[1:]))
	case "remove":
		p.index.Remove(p.index.Find(podKey(args[0])))
	case "namespace":
		p.index.SetLabels(p.index.Profile("kns.shop"), "pcns.", parsePod(p.t, args).labels)
	case "slice":
		oversized := p.sets.SetSlice(sets.SliceName{Name: args[0]}, sliceOf(p.t, args[1:]))
		p.note("oversized: %v", oversized)
	case "acquire":
		want := specOf(p.t, args[1:])
		p.named[args[0]] = p.sets.Acquire(want)
	case "publish":
		p.sets.Publish(p.named[args[0]])
	case "handout":
		p.sets.HandOut(p.named[args[0]])
	case "release":
		p.sets.Release(p.named[args[0]])
	case "bound":
		p.sets.BoundServices(number(p.t, args[0]))
	case "flush":
		p.index.Flush()
		p.flush()
	default:
		p.t.Fatalf("no command is named %s", command)
	}
}

func (p *player) note(format string, args ...any) {
	p.out = append(p.out, fmt.Sprintf(format, args...))
}

func (p *player) flush() {
	for _, c := range p.sets.TakeServiceChanges() {
		p.note("%s had %d members, has %d, crossed the bound: %v", c.Service, c.Before, c.Now, c.Crossed)
	}
	changes := p.sets.Flush()
	for _, s := range changes.New {
		p.note("new %s: %s", p.name(s.Name), members(s.Nets, s.Ports))
	}
	for _, id := range changes.Gone {
		p.note("gone %s", p.name(id.Name))
	}
	for _, d := range changes.Deltas {
		p.note("changed %s: more %s, less %s", p.name(d.Name), members(d.AddedNets, d.AddedPorts),
			members(d.RemovedNets, d.RemovedPorts))
	}
	slices.Sort(p.out)
}

// name returns how the file calls a set.
func (p *player) name(hash string) string {
	for name, s := range p.named {
		if s.Name == hash {
			return name
		}
	}
	return "?"
}

func members(nets []netip.Prefix, ports []wire.PortMember) string {
	texts := []string{}
	for _, n := range nets {
		texts = append(texts, n.String())
	}
	for _, m := range ports {
		texts = append(texts, fmt.Sprintf("%s/%d:%d", m.Addr, m.Protocol, m.Port))
	}
	return fmt.Sprint(texts)
}

// pod is a pod as the tests see it.
type pod struct {
	labels map[string]string
	ports  []labelindex.Port
	nets   []netip.Prefix
}

func podKey(name string) labelindex.Key {
	return labelindex.Key{Kind: labelindex.Pod, Namespace: "shop", Name: name}
}

func setPod(index *labelindex.Index, name string, p pod) {
	it := index.Find(podKey(name))
	if it == nil {
		it = &labelindex.Item{}
		index.Add(it, podKey(name))
	}
	index.SetNetworks(it, compact.PackNetworks(slices.Clone(p.nets)))
	ports := labelindex.PackPorts(slices.Clone(p.ports))
	index.SetAttributes(it, labelindex.Attributes{Orchestrator: "k8s", Labels: p.labels, Ports: ports})
}

func parsePod(t *testing.T, args []string) pod {
	p := pod{labels: map[string]string{}}
	for _, arg := range args {
		if name, value, is := strings.Cut(arg, "="); is {
			p.labels[name] = value
		} else if port, is := strings.CutPrefix(arg, "port:"); is {
			name, n, _ := strings.Cut(port, "/")
			p.ports = append(p.ports, labelindex.Port{Name: name, Protocol: 6, Number: uint16(number(t, n))})
		} else {
			p.nets = append(p.nets, netip.MustParsePrefix(arg))
		}
	}
	return p
}

func sliceOf(t *testing.T, args []string) *sets.Slice {
	if len(args) == 0 {
		return nil
	}
	s := &sets.Slice{Service: spec.Service{Namespace: "shop", Name: args[0]}}
	for _, arg := range args[1:] {
		if port, is := strings.CutPrefix(arg, "port:"); is {
			s.Ports = append(s.Ports, sets.ServicePort{Protocol: 6, Number: uint16(number(t, port))})
		} else {
			s.Addrs = append(s.Addrs, netip.MustParseAddr(arg))
		}
	}
	return s
}

func specOf(t *testing.T, args []string) spec.Set {
	var s spec.Set
	switch args[0] {
	case "networks":
		s = spec.Networks(selectorOf(t, args[1:]))
	case "ports":
		s = spec.NamedPorts(selectorOf(t, args[2:]), args[1], 6)
	case "service", "service-ports":
		s = spec.Endpoints(spec.Service{Namespace: "shop", Name: args[1]}, args[0] == "service-ports")
	default:
		t.Fatalf("no set is of %s", args[0])
	}
	s.Name = s.Hash()
	return s
}

func selectorOf(t *testing.T, words []string) spec.Selector {
	expression, err := selector.Parse(strings.Join(words, " "))
	if err != nil {
		t.Fatal(err)
	}
	return spec.Selector{Expression: expression}
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
