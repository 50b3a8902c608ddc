package spec

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
)

// Service names a Service of Kubernetes.
type Service struct{ Namespace, Name string }

// String returns the name with its namespace: "shop/db".
func (s Service) String() string { return s.Namespace + "/" + s.Name }

// Set says what an IP set contains. Make one with Networks, NamedPorts or Endpoints.
type Set struct {
	Content
	// Items are those that the content is taken from. It is the zero value for a set of a Service.
	Items Selector
}

// Content says what of the items is in a set: their networks or, if there is a Port, those of their ports that have
// this name and protocol. If there is a Service, the set contains the endpoints of the Service instead.
type Content struct {
	Name     string // of the set on the wire, once it has one: see Hash
	Port     string
	Service  *Service
	Protocol uint8 // IANA number, of Port
	// WithPorts is set for a set that contains each address of the Service with each of its ports.
	WithPorts bool
}

// Networks returns the set of the networks of items.
func Networks(items Selector) Set { return Set{Items: items} }

// NamedPorts returns the set of the ports of items that have a name and a protocol.
func NamedPorts(items Selector, name string, protocol uint8) Set {
	return Set{Items: items, Content: Content{Port: name, Protocol: protocol}}
}

// Endpoints returns the set of the addresses of a Service, alone or with its ports.
func Endpoints(of Service, withPorts bool) Set {
	return Set{Content: Content{Service: &of, WithPorts: withPorts}}
}

// HasPorts reports whether the members of the set are addresses with ports.
func (c *Content) HasPorts() bool { return c.Port != "" || c.WithPorts }

// SetKey identifies a Set: those with equal keys contain the same.
type SetKey struct {
	items     SelectorKey
	service   Service
	port      string
	protocol  uint8
	withPorts bool
}

// Key returns the key of the set.
func (s *Set) Key() SetKey {
	if s.Service != nil {
		return SetKey{service: *s.Service, withPorts: s.WithPorts}
	}
	return SetKey{items: s.Items.Key(), port: s.Port, protocol: s.Protocol}
}

// Hash returns the name of the set on the wire: a hash of its meaning, "s:" and 22 characters for a set of addresses,
// "n:" and 22 characters for one of addresses with ports.
func (s *Set) Hash() string {
	text := make([]byte, 0, 256)
	switch {
	case s.Service != nil:
		text = append(append(append(append(text, "service "...), s.Service.Namespace...), '/'), s.Service.Name...)
	case s.Port != "":
		text = strconv.AppendQuote(append(strconv.AppendUint(text, uint64(s.Protocol), 10), ' '), s.Port)
		text = s.Items.appendCanonical(append(text, ' '))
	default:
		text = s.Items.appendCanonical(text)
	}
	prefix := "s:"
	if s.HasPorts() {
		prefix = "n:"
	}
	sum := sha256.Sum256(text)
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}
