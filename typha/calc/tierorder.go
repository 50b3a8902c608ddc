package calc

import (
	"cmp"
	"strings"
)

// comparePolicies orders policies by tier, order and name, and policies with one name by their kinds and namespaces.
func comparePolicies(a, b *policy) int {
	return cmp.Or(compareTiers(a.tier, b.tier), compareOrders(a.order, b.order),
		strings.Compare(a.key().Name, b.key().Name), strings.Compare(a.Name, b.Name))
}

// compareTiers orders tiers by order and name.
func compareTiers(a, b *tier) int {
	if a == b {
		return 0
	}
	return cmp.Or(compareOrders(a.Order, b.Order), strings.Compare(a.name, b.name))
}

// compareOrders orders orders. An absent order is last.
func compareOrders(a, b *float64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*a, *b)
}
