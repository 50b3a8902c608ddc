// Package fake is a kernel for tests: links, addresses, routes, neighbours, settings and connections that depend on
// each other as the real ones do.
//
// A Kernel has the methods of *netlink.Handle that the drivers use. It takes what the real kernel takes, and refuses
// what that refuses, with the same errors: a route over a missing device, by an unreachable gateway, or with a source
// address that the node does not have; a setting of a device that does not exist. What depends on a device goes with
// it. Changes make the events that felix/dataplane/monitor would report. Transcripts in the drivers' testdata run on a
// Kernel and on the real one, so that the two are known to be alike. It knows nothing of packets.
//
// A Kernel is one network namespace, the node's. Pod returns the namespaces of pods, for package veth.
//
// Tests alone import it. Its methods may be called from any goroutine.
package fake

import (
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Kernel is the state of one network namespace. It begins with the loopback device, up.
type Kernel struct {
	mu     sync.Mutex // guards everything below
	links  map[int]*device
	next   int // index of the next link
	addrs  []address
	routes []*entry
	neighs []netlink.Neigh
	sysctl map[string]string
	flows  []*netlink.ConntrackFlow

	events []dataplane.Event
	lost   bool // a notification was dropped since Events was called
	losing bool
	fail   map[string][]error
	calls  map[string]int

	pods map[namespace]*Kernel
}

// device is a link with what netlink.Link does not tell.
type device struct {
	netlink.Link
	// peer is the index of the other end of a veth pair, in the namespace home; 0 for none.
	peer int
	home *Kernel
}

func (d *device) up() bool { return isUp(d.Attrs()) }

// New returns a kernel that has the loopback device only, with its addresses.
func New() *Kernel {
	k := &Kernel{links: map[int]*device{}, next: 1, sysctl: map[string]string{}, fail: map[string][]error{},
		calls: map[string]int{}, pods: map[namespace]*Kernel{}}
	for key, value := range globalSettings {
		k.sysctl[key] = value
	}
	k.addSettings("all")
	k.addSettings("default")
	lo := &netlink.Device{LinkAttrs: netlink.NewLinkAttrs()}
	lo.Name, lo.MTU = loopback, 65536
	if err := k.LinkAdd(lo); err != nil {
		panic(err)
	}
	if err := k.LinkSetUp(lo); err != nil {
		panic(err)
	}
	k.Events()
	clear(k.calls)
	return k
}

const loopback = "lo"

// FailNext makes the next call of a method return err without doing anything, for example "RouteAdd". Several errors
// for one method are returned in turn.
func (k *Kernel) FailNext(method string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail[method] = append(k.fail[method], err)
}

// LoseEvents makes the kernel drop the notifications of what happens until it is called with false.
func (k *Kernel) LoseEvents(lose bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.losing = lose
}

// Events returns what monitor.Monitor would have reported since the last call. If notifications were dropped, the
// first event is a dataplane.EventLost.
func (k *Kernel) Events() []dataplane.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	events := k.events
	if k.lost {
		events = append([]dataplane.Event{{Kind: dataplane.EventLost}}, events...)
	}
	k.events, k.lost = nil, false
	return events
}

// Calls returns how often a method was called.
func (k *Kernel) Calls(method string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[method]
}

// begin locks the kernel for a call, and returns the error that FailNext asked for.
func (k *Kernel) begin(method string) error {
	k.mu.Lock()
	k.calls[method]++
	if list := k.fail[method]; len(list) > 0 {
		k.fail[method] = list[1:]
		return list[0]
	}
	return nil
}

func (k *Kernel) notify(e dataplane.Event) {
	if k.losing {
		k.lost = true
		return
	}
	k.events = append(k.events, e)
}

// find returns the device of a name, or nil.
func (k *Kernel) find(name string) *device {
	for _, d := range k.links {
		if d.Attrs().Name == name {
			return d
		}
	}
	return nil
}

// sortedLinks returns the devices in the order of their indexes.
func (k *Kernel) sortedLinks() []*device {
	var list []*device
	for _, d := range k.links {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *device) int { return a.Attrs().Index - b.Attrs().Index })
	return list
}

// errNoLink is the error for a device that does not exist. The library's own has no message if it is made outside.
var errNoLink error = noLink{}

type noLink struct{}

func (noLink) Error() string { return "Link not found" }

func (noLink) Unwrap() error { return netlink.LinkNotFoundError{} }
