package fake

import (
	"slices"

	"github.com/vishvananda/netlink"
)

// ConntrackCreate makes a connection known.
func (k *Kernel) ConntrackCreate(_ netlink.ConntrackTableType, family netlink.InetFamily,
	f *netlink.ConntrackFlow) error {
	defer k.mu.Unlock()
	if err := k.begin("ConntrackCreate"); err != nil {
		return err
	}
	c := *f
	c.FamilyType = uint8(family)
	k.flows = append(k.flows, &c)
	return nil
}

// ConntrackTableList returns the connections of a family.
func (k *Kernel) ConntrackTableList(_ netlink.ConntrackTableType,
	family netlink.InetFamily) ([]*netlink.ConntrackFlow, error) {
	defer k.mu.Unlock()
	if err := k.begin("ConntrackTableList"); err != nil {
		return nil, err
	}
	var list []*netlink.ConntrackFlow
	for _, f := range k.flows {
		if f.FamilyType == uint8(family) {
			c := *f
			list = append(list, &c)
		}
	}
	return list, nil
}

// ConntrackDeleteFilters deletes the connections of a family that one of the filters matches, and returns how many.
func (k *Kernel) ConntrackDeleteFilters(_ netlink.ConntrackTableType, family netlink.InetFamily,
	filters ...netlink.CustomConntrackFilter) (uint, error) {
	defer k.mu.Unlock()
	if err := k.begin("ConntrackDeleteFilters"); err != nil {
		return 0, err
	}
	before := len(k.flows)
	k.flows = slices.DeleteFunc(k.flows, func(f *netlink.ConntrackFlow) bool {
		matches := func(c netlink.CustomConntrackFilter) bool { return c.MatchConntrackFlow(f) }
		return f.FamilyType == uint8(family) && slices.ContainsFunc(filters, matches)
	})
	return uint(before - len(k.flows)), nil
}
