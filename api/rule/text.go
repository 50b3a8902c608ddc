// Package rule parses the parts of a policy rule: protocols, ports and networks. Admission, calicoctl and the
// calculation use it, so that a rule means the same to all of them. It also finds the parts that make a rule unusable.
// It never looks at other objects. Parts that contradict each other are the business of api/validate. The package is
// pure, and any number of goroutines may call it.
package rule

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The protocols that rules treat specially (IANA protocol numbers).
const (
	ICMP    = 1
	TCP     = 6
	UDP     = 17
	ICMPv6  = 58
	SCTP    = 132
	UDPLite = 136
)

var protocols = map[string]uint8{"TCP": TCP, "UDP": UDP, "ICMP": ICMP, "ICMPv6": ICMPv6, "SCTP": SCTP,
	"UDPLite": UDPLite}

// CanonicalProtocol returns the name of a protocol as rules have it, whatever the case of text. It returns text if that
// is no such name.
func CanonicalProtocol(text string) string {
	for name := range protocols {
		if strings.EqualFold(text, name) {
			return name
		}
	}
	return text
}

// HasPorts reports whether rules may match ports of a protocol.
func HasPorts(protocol uint8) bool { return protocol == TCP || protocol == UDP || protocol == SCTP }

// ParseProtocol returns the number of a protocol, which is written as a name, or as a number from 1 to 255.
func ParseProtocol(p intstr.IntOrString) (uint8, error) {
	text := p.String()
	if number, ok := protocols[text]; ok {
		return number, nil
	}
	if number, err := strconv.ParseUint(text, 10, 8); err == nil && number > 0 {
		return uint8(number), nil
	}
	return 0, fmt.Errorf("must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, or a number from 1 to 255")
}

// Port is a range of ports, with both ends included, or the name of a port of the endpoint.
type Port struct {
	First, Last uint16 // 1 <= First <= Last, unless there is a name
	Name        string
}

// ParsePort reads a port: a number, a range such as "8000:8080", or a name.
func ParsePort(p intstr.IntOrString) (Port, error) {
	low, high, isRange := strings.Cut(p.String(), ":")
	if !isRange {
		high = low
		if p.Type == intstr.String && len(validation.IsValidPortName(low)) == 0 {
			return Port{Name: low}, nil
		}
	}
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	switch {
	case err1 != nil || err2 != nil || first == 0:
		return Port{}, fmt.Errorf(`must be a port from 1 to 65535, a range such as "8000:8080", or a name such as http`)
	case last < first:
		return Port{}, fmt.Errorf("must begin with the lower port: write %d:%d", last, first)
	}
	return Port{First: uint16(first), Last: uint16(last)}, nil
}

// ParseNet parses a network, such as 10.0.0.0/8, or an address, which becomes a network of one address. It clears bits
// beyond the prefix length.
func ParseNet(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" && !address.Is4In6() {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	if net, err := netip.ParsePrefix(text); err == nil && !net.Addr().Is4In6() {
		return net.Masked(), nil
	}
	return netip.Prefix{}, fmt.Errorf("must be a network or an address, for example 10.0.0.0/8 or fd00::1")
}
