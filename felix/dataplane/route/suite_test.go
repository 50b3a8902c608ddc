package route_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// suite is a Table with the commands of its transcripts:
//
//	want PREFIX [[nexthop] [via ADDRESS] [dev DEVICE] [onlink] …] [src ADDRESS] [blackhole] [yields]
//	     [proto N] [metric N]
//	unwant PREFIX [metric N]
//	complete
//	inplace PREFIX [metric N]
type suite struct{ *route.Table }

func (s suite) Command(words []string) (string, error) {
	switch words[0] {
	case "want":
		s.Set(parse(words[1:]))
	case "unwant":
		r := parse(words[1:])
		s.Remove(route.Key{Dst: r.Dst, Priority: r.Priority})
	case "complete":
		s.Complete()
	case "inplace":
		r := parse(words[1:])
		return strconv.FormatBool(s.InPlace(route.Key{Dst: r.Dst, Priority: r.Priority})), nil
	default:
		return "", fmt.Errorf("no such command: %q", words)
	}
	return "", nil
}

func parse(words []string) route.Route {
	number := func(word string) int {
		n, err := strconv.Atoi(word)
		if err != nil {
			panic(err)
		}
		return n
	}
	r := route.Route{Dst: netip.MustParsePrefix(words[0]), Protocol: route.ProtocolFelix}
	hop := func() *route.Hop {
		if len(r.Hops) == 0 {
			r.Hops = append(r.Hops, route.Hop{})
		}
		return &r.Hops[len(r.Hops)-1]
	}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "blackhole":
			r.Type = route.Blackhole
			continue
		case "yields":
			r.Yields = true
			continue
		case "onlink":
			hop().OnLink = true
			continue
		case "nexthop":
			r.Hops = append(r.Hops, route.Hop{})
			continue
		case "via":
			hop().Gateway = netip.MustParseAddr(words[i+1])
		case "dev":
			hop().Device = words[i+1]
		case "src":
			r.Src = netip.MustParseAddr(words[i+1])
		case "proto":
			r.Protocol = number(words[i+1])
		case "metric":
			r.Priority = number(words[i+1])
		}
		i++
	}
	return r
}

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	for _, f := range families {
		cfg := route.Config{Family: f.Family, Protocols: []int{route.ProtocolFelix, route.ProtocolBGP}}
		drivertest.Run(t, f.Family.String()+"-*.txt", func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
			return suite{route.New(k, cfg)}
		})
	}
}

// foreignSuite is a Foreign with the command of its transcripts:
//
//	of ADDRESS …
type foreignSuite struct{ *route.Foreign }

func (s foreignSuite) Command(words []string) (string, error) {
	if words[0] != "of" {
		return "", fmt.Errorf("no such command: %q", words)
	}
	var addrs []netip.Addr
	for _, word := range words[1:] {
		addrs = append(addrs, netip.MustParseAddr(word))
	}
	routes, err := s.Of(addrs)
	var lines []string
	for _, r := range routes {
		line := fmt.Sprintf("%s type %d metric %d", r.Dst, r.Type, r.Priority)
		for _, h := range r.Hops {
			line += fmt.Sprintf(" via %s dev %s", h.Gateway, h.Device)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), err
}

func (foreignSuite) Name() string                { return "foreign" }
func (foreignSuite) Apply(context.Context) error { return nil }

// TestForeignSuite plays the transcripts of what others route on the real kernel and on the fake one.
func TestForeignSuite(t *testing.T) {
	for _, f := range families {
		cfg := route.Config{Family: f.Family, Protocols: []int{route.ProtocolFelix, route.ProtocolBGP}}
		drivertest.Run(t, "foreign-"+f.Family.String()+".txt",
			func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
				return foreignSuite{route.NewForeign(k, cfg)}
			})
	}
}
