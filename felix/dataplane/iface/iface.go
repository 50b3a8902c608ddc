// Package iface knows the node's interfaces and their addresses.
//
// It reads them once from rtnetlink and then follows events; it changes nothing. The agent's goroutine calls it.
package iface

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Kernel is what is needed of rtnetlink; a *netlink.Handle has it.
type Kernel interface {
	LinkList() ([]netlink.Link, error)
	AddrList(netlink.Link, int) ([]netlink.Addr, error)
}

// Interfaces are the links of one network namespace.
type Interfaces struct {
	kernel Kernel
	loaded bool
	names  map[int]string // by index
	// addrs are the interfaces that have an address, by index.
	addrs map[netip.Addr]map[int]bool
}

// New returns Interfaces that know nothing until Apply.
func New(kernel Kernel) *Interfaces { return &Interfaces{kernel: kernel} }

// Resync makes the next Apply read everything again.
func (s *Interfaces) Resync() { s.loaded = false }

// Apply lists the interfaces and addresses if they are not known. It reports whether it did: any answer may have
// changed then, without an event.
func (s *Interfaces) Apply(context.Context) (listed bool, err error) {
	if s.loaded {
		return false, nil
	}
	links, err := s.kernel.LinkList()
	if err != nil {
		return false, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := s.kernel.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("list addresses of interfaces: %w", err)
	}
	s.names, s.addrs = map[int]string{}, map[netip.Addr]map[int]bool{}
	for _, l := range links {
		s.names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			s.add(addr.Unmap(), a.LinkIndex)
		}
	}
	s.loaded = true
	return true, nil
}

func (s *Interfaces) add(addr netip.Addr, index int) {
	if s.addrs[addr] == nil {
		s.addrs[addr] = map[int]bool{}
	}
	s.addrs[addr][index] = true
}

// Observe takes link and address events, and reports whether an answer may have changed.
func (s *Interfaces) Observe(e dataplane.Event) bool {
	switch {
	case e.Kind == dataplane.EventLost:
		s.Resync()
		return true
	case !s.loaded:
		return false
	case e.Kind == dataplane.EventLink:
		former, known := s.names[e.Index]
		if e.Deleted {
			delete(s.names, e.Index)
			return known
		}
		s.names[e.Index] = e.Device
		return former != e.Device
	case e.Kind == dataplane.EventAddr:
		addr := e.Dst.Addr()
		if has := s.addrs[addr][e.Index]; has != e.Deleted {
			return false
		}
		if !e.Deleted {
			s.add(addr, e.Index)
			return true
		}
		delete(s.addrs[addr], e.Index)
		if len(s.addrs[addr]) == 0 {
			delete(s.addrs, addr)
		}
		return true
	}
	return false
}

// Exists reports whether there is an interface of that name.
func (s *Interfaces) Exists(name string) bool {
	for _, n := range s.names {
		if n == name {
			return true
		}
	}
	return false
}

// AddrsBut returns the addresses of all interfaces but one, sorted.
func (s *Interfaces) AddrsBut(name string) []netip.Addr {
	var addrs []netip.Addr
	for addr, indexes := range s.addrs {
		for index := range indexes {
			if s.names[index] != name {
				addrs = append(addrs, addr)
				break
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// WithAddr returns the interface that has an address, the first by name of several, or "".
func (s *Interfaces) WithAddr(addr netip.Addr) string {
	first := ""
	for index := range s.addrs[addr] {
		if name := s.names[index]; name != "" && (first == "" || name < first) {
			first = name
		}
	}
	return first
}
