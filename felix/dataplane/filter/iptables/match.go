package iptables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// writer writes rules of the model as arguments of iptables.
type writer struct {
	family dataplane.Family
	// all and part are bits of the mark that only the expansion of a rule uses: every part of the rule that was looked
	// at so far matched, and the part that is being looked at matched.
	all, part uint32
	// setName returns the kernel's name of a set.
	setName func(id string) string
}

// specs returns the arguments of the rules that one rule of the model becomes.
func (w writer) specs(r filter.Rule) []string {
	x := expansion{writer: w}
	x.match(r.Match)
	specs := append(x.before, join(comment(r.Comment), x.own, target(r.Action)))
	if set, ok := r.Action.(filter.SetMark); ok && set.Return {
		specs = append(specs, join("", []string{hasMark(set.Value, set.Mask)}, target(filter.Return{})))
	}
	return specs
}

func comment(text string) string {
	if text == "" {
		return ""
	}
	return "-m comment --comment " + quote(text)
}

// join makes one rule's arguments of a comment, matches and a target, each of which may be empty.
func join(comment string, matches []string, target string) string {
	parts := make([]string, 0, len(matches)+2)
	if comment != "" {
		parts = append(parts, comment)
	}
	parts = append(parts, matches...)
	if target != "" {
		parts = append(parts, target)
	}
	return strings.Join(parts, " ")
}

// expansion is what one rule of the model becomes. What one rule of iptables can express goes into own. Of a part with
// several alternatives each has a rule of its own before, which marks the packet; own then matches the mark.
type expansion struct {
	writer
	before   []string
	own      []string
	protocol string // the match of the protocol, which a match of ports needs before it
}

func (x *expansion) add(format string, args ...any) {
	x.own = append(x.own, fmt.Sprintf(format, args...))
}

// match adds the rules for a match, what is cheap to look at first.
func (x *expansion) match(m filter.Match) {
	x.device("-i", m.In)
	x.device("-o", m.Out)
	switch {
	case m.Protocol != 0:
		x.protocol = fmt.Sprintf("-p %d", m.Protocol)
		x.own = append(x.own, x.protocol)
	case m.NotProtocol != 0:
		x.add("! -p %d", m.NotProtocol)
	}
	x.icmp(m.ICMP, "")
	x.icmp(m.NotICMP, "! ")
	x.ports(m.Source, source)
	x.ports(m.Dest, destination)
	x.end(m.Source, source)
	x.end(m.Dest, destination)
	if m.Mark.Mask != 0 {
		x.add("-m mark %s--mark %#x/%#x", not(m.Mark.Not), m.Mark.Value, m.Mark.Mask)
	}
	if m.State != 0 {
		x.add("-m conntrack --ctstate %s", states(m.State))
	}
	if m.NotState != 0 {
		x.add("-m conntrack ! --ctstate %s", states(m.NotState))
	}
}

func not(is bool) string {
	if is {
		return "! "
	}
	return ""
}

func (x *expansion) device(option string, i filter.Interface) {
	switch {
	case i.Name == "":
	case i.Prefix:
		x.add("%s %s+", option, i.Name)
	default:
		x.add("%s %s", option, i.Name)
	}
}

func (x *expansion) icmp(i *filter.ICMP, not string) {
	if i == nil {
		return
	}
	module, option, value := "icmp", "icmp-type", strconv.Itoa(int(i.Type))
	if x.family == dataplane.IPv6 {
		module, option = "icmp6", "icmpv6-type"
	}
	if i.HasCode {
		value += "/" + strconv.Itoa(int(i.Code))
	}
	x.add("-m %s %s--%s %s", module, not, option, value)
}

// stateNames are the names of the states, in the order in which a rule has them.
var stateNames = []struct {
	state filter.State
	name  string
}{
	{filter.New, "NEW"}, {filter.Invalid, "INVALID"}, {filter.Related, "RELATED"}, {filter.Established, "ESTABLISHED"},
	{filter.Untracked, "UNTRACKED"}, {filter.Translated, "DNAT"},
}

func states(set filter.State) string {
	var names []string
	for _, s := range stateNames {
		if set&s.state != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ",")
}

// side has the options that match one end of a packet.
type side struct{ net, local, ports, set, portSet string }

var (
	source      = side{"-s", "--src-type", "--source-ports", "src", "src,src"}
	destination = side{"-d", "--dst-type", "--destination-ports", "dst", "dst,dst"}
)

// ports adds the matches of ports that need no alternatives. To compare ports costs less than to look into sets.
func (x *expansion) ports(e filter.End, s side) {
	if onePortMatch(e) {
		x.add("-m multiport %s %s", s.ports, portList(e.Ports))
	}
	for _, list := range splitPorts(e.NotPorts) {
		x.add("-m multiport ! %s %s", s.ports, portList(list))
	}
}

// onePortMatch reports whether one match has all of an end's Ports and PortSets, and is one of ports.
func onePortMatch(e filter.End) bool { return len(splitPorts(e.Ports)) == 1 && len(e.PortSets) == 0 }

func (x *expansion) end(e filter.End, s side) {
	if e.Local {
		x.add("-m addrtype %s LOCAL", s.local)
	}
	nets := s.nets(e.Nets)
	x.oneOf(nets)
	if not := s.nets(e.NotNets); len(not) == 1 && len(nets) != 1 { // a rule can name one network an end
		x.add("! %s", not[0])
	} else {
		x.noneOf(not)
	}
	for _, id := range e.Sets {
		x.own = append(x.own, x.set(id, "", s.set))
	}
	for _, id := range e.NotSets {
		x.own = append(x.own, x.set(id, "! ", s.set))
	}
	var ports []string
	for _, list := range splitPorts(e.Ports) {
		ports = append(ports, fmt.Sprintf("-m multiport %s %s", s.ports, portList(list)))
	}
	for _, id := range e.PortSets {
		ports = append(ports, x.set(id, "", s.portSet))
	}
	if !onePortMatch(e) {
		x.oneOf(ports)
	}
	for _, id := range e.NotPortSets {
		x.own = append(x.own, x.set(id, "! ", s.portSet))
	}
}

func (s side) nets(nets []netip.Prefix) []string {
	list := make([]string, len(nets))
	for i, n := range nets {
		list[i] = s.net + " " + n.Masked().String()
	}
	return list
}

func (x *expansion) set(id, not, side string) string {
	return fmt.Sprintf("-m set %s--match-set %s %s", not, x.setName(id), side)
}

// maxPorts is how much one ports match holds: a range counts 2, a single port 1.
const maxPorts = 15

// splitPorts divides a list of ranges into lists that fit one ports match each.
func splitPorts(ports []filter.PortRange) [][]filter.PortRange {
	var lists [][]filter.PortRange
	room := 0
	for _, p := range ports {
		n := 1
		if p.First != p.Last {
			n = 2
		}
		if n > room {
			lists, room = append(lists, nil), maxPorts
		}
		lists[len(lists)-1] = append(lists[len(lists)-1], p)
		room -= n
	}
	return lists
}

func portList(ports []filter.PortRange) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = strconv.Itoa(int(p.First))
		if p.First != p.Last {
			parts[i] += ":" + strconv.Itoa(int(p.Last))
		}
	}
	return strings.Join(parts, ",")
}

// oneOf demands that one of the alternatives holds.
func (x *expansion) oneOf(alternatives []string) {
	switch len(alternatives) {
	case 0:
	case 1:
		x.own = append(x.own, alternatives[0])
	default:
		x.begin()
		x.before = append(x.before, mark(0, x.part))
		for _, match := range alternatives {
			if x.protocol != "" {
				match = x.protocol + " " + match
			}
			x.before = append(x.before, match+" "+mark(x.part, x.part))
		}
		x.before = append(x.before, hasMark(0, x.part)+" "+mark(0, x.all))
	}
}

// noneOf demands that none of the alternatives holds.
func (x *expansion) noneOf(alternatives []string) {
	for _, match := range alternatives {
		x.begin()
		x.before = append(x.before, match+" "+mark(0, x.all))
	}
}

// begin sets, once, the mark that says that all parts matched.
func (x *expansion) begin() {
	if len(x.before) == 0 {
		x.before = append(x.before, mark(x.all, x.all))
		x.own = append(x.own, hasMark(x.all, x.all))
	}
}
