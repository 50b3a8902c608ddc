package ipam

import (
	"errors"
	"net/netip"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam/block"
)

// Errors on which callers decide.
var (
	// ErrNoAddress: no usable pool has a free address. The message names each pool and why
	// it gave none. Trying again helps only after something changed.
	ErrNoAddress = errors.New("no address available")
	// ErrInvalidRequest: the request contradicts itself.
	ErrInvalidRequest = errors.New("invalid request")
)

// Host is the node on whose behalf addresses are assigned.
type Host struct {
	Name   string
	Labels map[string]string
}

// Request asks for one address of each family.
type Request struct {
	// Handle owns the addresses and is what Release takes; it identifies the asker for all
	// time, for example "k8s-pod-network.<containerID>". A handle that holds addresses
	// already gets the same ones again.
	Handle string
	// Attributes are stored with the allocation; see the Attr constants. AttrNode is added.
	Attributes map[string]string
	// Families asks for any address of these.
	Families []Family
	// Addrs asks for these very addresses, whose families need not be listed again.
	Addrs []netip.Addr
	// Pools restricts the choice to pools of these names, whatever their selectors say;
	// empty is all that select the node and the namespace.
	Pools []string
	// NamespaceLabels are what a pool's namespaceSelector is judged by.
	NamespaceLabels map[string]string
	// Use is Workload when empty.
	Use Use
	// reassert is set if the addresses are in use already, so that they do not rest.
	reassert bool
}

func (r *Request) use() Use {
	if r.Use == "" {
		return Workload
	}
	return r.Use
}

// wants lists what to find: for each family a wanted address, or the zero Addr for any.
func (r *Request) wants() (map[Family]netip.Addr, error) {
	wants := map[Family]netip.Addr{}
	for _, addr := range r.Addrs {
		if _, twice := wants[FamilyOf(addr)]; twice || !addr.IsValid() {
			return nil, errors.New("addresses must be valid, one a family")
		}
		wants[FamilyOf(addr)] = addr
	}
	for _, family := range r.Families {
		if _, ok := wants[family]; !ok {
			wants[family] = netip.Addr{}
		}
	}
	switch {
	case r.Handle == "":
		return nil, errors.New("the handle is empty")
	case len(wants) == 0:
		return nil, errors.New("neither a family nor an address is asked for")
	}
	return wants, nil
}

// Result answers one Request. On an error nothing stays assigned that was not before.
type Result struct {
	// Leases holds one entry a family asked for, IPv4 first.
	Leases []block.Lease
	Err    error
}

// Addrs returns the addresses of the leases.
func (r Result) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, len(r.Leases))
	for i, lease := range r.Leases {
		addrs[i] = lease.Addr
	}
	return addrs
}

// Attribute keys. Those that the nodes' policy is computed from belong to the API.
const (
	AttrNamespace = v3.AttributeNamespace
	AttrPod       = v3.AttributePod
	AttrUID       = v3.AttributeUID
	AttrNode      = v3.AttributeNode
	AttrType      = "type" // absent for pods; a Tunnel's attribute otherwise
	AttrTimestamp = "timestamp"
)
