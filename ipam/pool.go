package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Family is an IP family, as a value.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns IPv4 or IPv6.
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// FamilyOf returns an address's family. IPv4-mapped addresses are IPv6.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// bits is the length of an address.
func (f Family) bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// Use says what an address is for; a pool may be restricted to some uses.
type Use string

// The uses, named as in IPPool's spec.allowedUses.
const (
	Workload Use = "Workload" // a pod's interface; the zero value means this
	Tunnel   Use = "Tunnel"   // a node's tunnel device
)

// Pool is what address assignment needs of an IPPool, whoever it came from.
type Pool struct {
	Name string
	CIDR netip.Prefix
	// BlockSize is the prefix length of a block; 0 is the family's default.
	BlockSize int
	// Disabled pools give no new addresses.
	Disabled bool
	// Closed is why a pool is Disabled although its resource does not say so.
	Closed string
	// Manual pools (assignmentMode) give addresses only to requests that name them.
	Manual bool
	// NodeSelector and NamespaceSelector restrict who gets addresses unasked; empty is all().
	NodeSelector      string
	NamespaceSelector string
	// AllowedUses restricts the uses; empty allows Workload and Tunnel.
	AllowedUses []Use
}

// PoolOf converts the resource. The error names the pool and what is wrong with it.
func PoolOf(p *v3.IPPool) (Pool, error) {
	cidr, err := netip.ParsePrefix(p.Spec.CIDR)
	if err != nil {
		return Pool{}, fmt.Errorf("IPPool %s: spec.cidr: %w", p.Name, err)
	}
	pool := Pool{
		Name:              p.Name,
		CIDR:              cidr.Masked(),
		BlockSize:         p.Spec.BlockSize,
		Disabled:          p.Spec.Disabled,
		NodeSelector:      p.Spec.NodeSelector,
		NamespaceSelector: p.Spec.NamespaceSelector,
		Manual:            p.Spec.AssignmentMode == v3.Manual,
	}
	for _, use := range p.Spec.AllowedUses {
		pool.AllowedUses = append(pool.AllowedUses, Use(use))
	}
	return pool, nil
}

// Family of the pool's addresses.
func (p *Pool) Family() Family { return FamilyOf(p.CIDR.Addr()) }

// blockBits is the prefix length of the pool's blocks.
func (p *Pool) blockBits() int {
	return cmp.Or(p.BlockSize, v3.DefaultBlockSize(p.CIDR.Addr()))
}

// containsBlock reports whether a block of any size lies within the pool.
func (p *Pool) containsBlock(cidr netip.Prefix) bool {
	return cidr.Bits() >= p.CIDR.Bits() && p.CIDR.Contains(cidr.Addr())
}

// Reasons for which a pool cannot serve a request. They are part of error messages only.
var (
	errDisabled      = errors.New("disabled")
	errManual        = errors.New("assigns only to requests that name it")
	errUse           = errors.New("not allowed for this use")
	errNotRequested  = errors.New("not among the requested pools")
	errNodeNot       = errors.New("its nodeSelector does not select the node")
	errNamespaceNot  = errors.New("its namespaceSelector does not select the namespace")
	errOutside       = errors.New("does not contain the requested address")
	errFull          = errors.New("no free address")
	errBlockTooLarge = errors.New("smaller than a block")
	errMaxBlocks     = errors.New("the node has its maximum number of blocks")
	errNoAutoBlocks  = errors.New("automatic allocation of blocks is off")
)

// usable says why a pool cannot serve a request on a node, or nil. A request that names
// the pool bypasses its selectors and its mode, but not Disabled (Calico does the same).
func (p *Pool) usable(host Host, req *Request, want netip.Addr) error {
	switch {
	case p.Disabled && p.Closed != "":
		return errors.New(p.Closed)
	case p.Disabled:
		return errDisabled
	case len(req.Pools) > 0 && !slices.Contains(req.Pools, p.Name):
		return errNotRequested
	case len(p.AllowedUses) > 0 && !slices.Contains(p.AllowedUses, req.use()):
		return errUse
	case p.blockBits() < p.CIDR.Bits() || p.blockBits() > p.Family().bits():
		return errBlockTooLarge
	case want.IsValid() && !p.CIDR.Contains(want):
		return errOutside
	case len(req.Pools) > 0 || want.IsValid():
		return nil
	case p.Manual:
		return errManual
	}
	if err := selects(p.NodeSelector, host.Labels, errNodeNot); err != nil {
		return err
	}
	return selects(p.NamespaceSelector, req.NamespaceLabels, errNamespaceNot)
}

func selects(expression string, labels map[string]string, otherwise error) error {
	if expression == "" {
		return nil
	}
	parsed, err := selector.Parse(expression)
	if err != nil {
		return fmt.Errorf("selector %q: %w", expression, err)
	}
	if !parsed.Matches(labels) {
		return otherwise
	}
	return nil
}
