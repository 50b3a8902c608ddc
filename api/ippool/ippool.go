// Package ippool decides which IPPools give addresses.
//
// The decision depends on the pools alone, so it is the same in every replica and after every restart. Of two pools
// that overlap, the one created first gives addresses; of pools of the same age, the one whose name comes first.
// Addresses of a pool that no longer gives any stay in use. The package is pure. The calculation engine and the
// controller of the pools' status call it.
package ippool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// The reasons of a Verdict. Those that Calico has too have Calico's names.
const (
	ReasonOK          = "OK"
	ReasonDisabled    = "PoolDisabled"
	ReasonTerminating = "Terminating"
	ReasonOverlap     = "CIDROverlap"
	ReasonInvalid     = "InvalidSpec"
	ReasonUnsupported = "Unsupported" // it asks for what Maneki does not do, so that its addresses could not be reached
)

// Verdict is the decision on a pool, which gives addresses if Reason is ReasonOK. Message is for people.
type Verdict struct {
	Reason, Message string
}

// Judge returns the Verdict on each pool, by name. It does not change the pools.
func Judge(pools []*v3.IPPool) map[string]Verdict {
	sorted := slices.SortedFunc(slices.Values(pools), func(a, b *v3.IPPool) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	verdicts := map[string]Verdict{}
	var active active
	for _, pool := range sorted {
		v, cidr := alone(pool)
		if v.Reason == ReasonOK {
			if other, taken := active.overlapping(cidr); taken {
				v = Verdict{ReasonOverlap,
					fmt.Sprintf("%s overlaps %s of IPPool %s, which is older", cidr, other.Spec.CIDR, other.Name)}
			} else {
				active = append(active, pool)
			}
		}
		verdicts[pool.Name] = v
	}
	return verdicts
}

// active are pools that give addresses.
type active []*v3.IPPool

func (a active) overlapping(cidr netip.Prefix) (*v3.IPPool, bool) {
	for _, pool := range a {
		if other, err := netip.ParsePrefix(pool.Spec.CIDR); err == nil && other.Overlaps(cidr) {
			return pool, true
		}
	}
	return nil, false
}

// alone returns the decision on a pool as if it were the only one, and the pool's network.
func alone(p *v3.IPPool) (Verdict, netip.Prefix) {
	cidr, err := netip.ParsePrefix(p.Spec.CIDR)
	switch {
	case !p.DeletionTimestamp.IsZero():
		return Verdict{ReasonTerminating, "the pool is being deleted"}, cidr
	case p.Spec.Disabled:
		return Verdict{ReasonDisabled, "spec.disabled is true"}, cidr
	case err != nil || cidr != cidr.Masked():
		message := fmt.Sprintf("spec.cidr: %q is not a network such as 10.244.0.0/16", p.Spec.CIDR)
		return Verdict{ReasonInvalid, message}, cidr
	}
	for _, s := range []struct{ name, text string }{
		{"nodeSelector", p.Spec.NodeSelector}, {"namespaceSelector", p.Spec.NamespaceSelector},
	} {
		if _, err := selector.Parse(s.text); err != nil {
			return Verdict{ReasonInvalid, fmt.Sprintf("spec.%s selects nothing: %v", s.name, err)}, cidr
		}
	}
	if v, usable := usable(&p.Spec); !usable {
		return v, cidr
	}
	return Verdict{ReasonOK, "addresses are assigned from the pool"}, cidr
}

// usable reports whether addresses of a pool could be used and reached, and otherwise returns why they could not.
func usable(spec *v3.IPPoolSpec) (Verdict, bool) {
	modes := []string{"", string(v3.VXLANModeNever), string(v3.VXLANModeAlways), string(v3.VXLANModeCrossSubnet)}
	const unknown = "spec.%s: %q is none of Never, Always, CrossSubnet"
	ipip, vxlan := spec.IPIPMode != "" && spec.IPIPMode != v3.IPIPModeNever,
		spec.VXLANMode != "" && spec.VXLANMode != v3.VXLANModeNever
	loadBalancer := func(use v3.IPPoolAllowedUse) bool { return use == v3.IPPoolAllowedUseLoadBalancer }
	switch {
	case !slices.Contains(modes, string(spec.VXLANMode)):
		return Verdict{ReasonInvalid, fmt.Sprintf(unknown, "vxlanMode", spec.VXLANMode)}, false
	case !slices.Contains(modes, string(spec.IPIPMode)):
		return Verdict{ReasonInvalid, fmt.Sprintf(unknown, "ipipMode", spec.IPIPMode)}, false
	case ipip && vxlan:
		return Verdict{ReasonInvalid, "spec.ipipMode and spec.vxlanMode exclude each other: set ipipMode to Never"},
			false
	case ipip:
		return Verdict{ReasonUnsupported,
			fmt.Sprintf("spec.ipipMode: there is no IPIP yet, so pods of other nodes would not be "+
				"reached: set ipipMode to Never and vxlanMode to %s", spec.IPIPMode)}, false
	case len(spec.AllowedUses) > 0 && !slices.ContainsFunc(spec.AllowedUses,
		func(use v3.IPPoolAllowedUse) bool { return !loadBalancer(use) }):
		return Verdict{ReasonUnsupported, "spec.allowedUses: nothing assigns LoadBalancer addresses yet: " +
			"make a pool for Workload or Tunnel"}, false
	}
	return Verdict{}, true
}
