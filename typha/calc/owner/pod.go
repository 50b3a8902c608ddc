package owner

import (
	"cmp"
	"math"
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// Name names a pod.
type Name struct{ Namespace, Name string }

func compareNames(a, b Name) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// Pod is a pod of the caller. Two Pods are the same pod if they are equal.
type Pod interface {
	PodName() Name
	// NodeName returns the name of the pod's node. Call Table.Claim after it changes.
	NodeName() string
	// Claim returns what the Table stores with the pod. The zero Claim is that of a pod that does not exist yet.
	Claim() *Claim
}

// Pods are all pods of the caller.
type Pods interface {
	// Pod returns the pod with a name. If there is none, it makes one and keeps it until Changes.Unnamed has it.
	Pod(Name) Pod
	// Owner returns the pod that owns an address, or nil, according to the changes that Table.Changes returned.
	Owner(netip.Addr) Pod
}

// Status is what a pod says of itself.
type Status struct {
	UID UID
	// Running is set if the pod can have addresses of its own: it is there, has not ended, and has a network of its
	// own.
	Running bool
	// Created is when the pod was created, in Unix seconds, and Terminating whether it is being deleted. Among pods
	// whose statuses name an address, the newest of those that are not Terminating owns it.
	Created     int64
	Terminating bool
	Addrs       compact.Networks // each a single address
}

// Claim is the part of a pod's state that a Table stores with the pod, because there are many pods. Only the Table
// changes it.
type Claim struct {
	uid   UID
	addrs compact.Networks // that the pod's status names
	// rank orders the running pods that claim an address; 0 is a pod that does not run.
	rank uint64
	// allocated are the addresses that blocks say are allocated to the pod, whether or not there is such a pod.
	allocated compact.Networks
}

// UID returns the pod's UID.
func (c *Claim) UID() UID { return c.uid }

// Addrs returns the addresses that the pod's status names.
func (c *Claim) Addrs() compact.Networks { return c.addrs }

// Named reports whether a block says that an address is allocated to the pod.
func (c *Claim) Named() bool { return c.allocated != "" }

func (c *Claim) running() bool { return c.rank != 0 }

// names reports whether the pod's status names an address.
func (c *Claim) names(addr netip.Addr) bool { return c.addrs.Has(single(addr)) }

// set stores what a pod says of itself.
func (c *Claim) set(s Status) {
	c.uid, c.addrs, c.rank = s.UID, s.Addrs, 0
	if s.Running {
		const half = math.MaxUint64/2 + 1 // above all pods that terminate
		c.rank = uint64(max(s.Created, 0)) + 1
		if !s.Terminating {
			c.rank += half
		}
	}
}

// newer reports whether pod a comes before pod b where the statuses of both name an address.
func newer(a, b Pod) bool {
	p, q := a.Claim(), b.Claim()
	return cmp.Or(cmp.Compare(p.rank, q.rank), strings.Compare(p.uid.String(), q.uid.String()),
		compareNames(a.PodName(), b.PodName())) > 0
}

// single returns the network of one address.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
