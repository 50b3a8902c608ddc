package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// ProtoPorts is a list of ports as a setting has it. Its text can be read.
type ProtoPorts string

// ProtoPort is a port of a protocol, of peers in a network or, with an invalid Net, of all.
type ProtoPort struct {
	Protocol uint8 // IANA number
	Net      netip.Prefix
	Port     uint16
}

// The protocols that a ProtoPort may have.
var protocols = map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132}

// All returns the ports.
func (p ProtoPorts) All() []ProtoPort {
	list, _ := readPorts(string(p)) // it was read before
	return list
}

func protoPorts() kind[ProtoPorts] {
	return kind[ProtoPorts]{"a list such as tcp:22,udp:10.0.0.0/8:53,tcp:[fd00::/8]:443, or none",
		func(s string) (ProtoPorts, error) {
			_, err := readPorts(s)
			return ProtoPorts(s), err
		}}
}

// readPorts reads [protocol:[network:]]port, separated by commas. Without a protocol it is TCP, as in Calico.
func readPorts(text string) ([]ProtoPort, error) {
	if strings.EqualFold(text, "none") {
		return nil, nil
	}
	var list []ProtoPort
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		p := ProtoPort{Protocol: protocols["tcp"]}
		if protocol, rest, found := strings.Cut(entry, ":"); found {
			number, known := protocols[strings.ToLower(protocol)]
			if !known {
				return nil, errValue
			}
			p.Protocol, entry = number, rest
		}
		if at := strings.LastIndex(entry, ":"); at >= 0 {
			network, err := netip.ParsePrefix(strings.TrimSuffix(strings.TrimPrefix(entry[:at], "["), "]"))
			if err != nil {
				return nil, err
			}
			p.Net, entry = network.Masked(), entry[at+1:]
		}
		port, err := strconv.ParseUint(entry, 10, 16)
		if err != nil {
			return nil, err
		}
		p.Port = uint16(port)
		list = append(list, p)
	}
	return list, nil
}

// PortRanges is the valid text of a setting that is a list of ports and ranges of ports.
type PortRanges string

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }

// All returns the ranges.
func (p PortRanges) All() []PortRange {
	list, _ := readRanges(string(p)) // the text is valid
	return list
}

func portRanges() kind[PortRanges] {
	return kind[PortRanges]{"ports and ranges of ports, such as 30000:32767,8080", func(s string) (PortRanges, error) {
		_, err := readRanges(s)
		return PortRanges(s), err
	}}
}

func readRanges(text string) ([]PortRange, error) {
	var list []PortRange
	for entry := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(entry), ":")
		if !ranged {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, err
		}
		high, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return nil, err
		}
		if low > high {
			return nil, errValue
		}
		list = append(list, PortRange{uint16(low), uint16(high)})
	}
	return list, nil
}

// Prefixes are what names of interfaces begin with, separated by commas.
type Prefixes string

// All returns the prefixes.
func (p Prefixes) All() []string { return strings.Split(string(p), ",") }

func prefixes() kind[Prefixes] {
	list := regexp.MustCompile(`^[a-zA-Z0-9:._-]{1,14}(,[a-zA-Z0-9:._-]{1,14})*$`)
	return kind[Prefixes]{"beginnings of interface names, separated by commas", func(s string) (Prefixes, error) {
		if !list.MatchString(s) {
			return "", errValue
		}
		return Prefixes(s), nil
	}}
}
