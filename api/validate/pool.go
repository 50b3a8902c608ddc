package validate

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// The lengths of blocks by address family.
const (
	shortestBlock4, longestBlock4, defaultBlock4 = 20, 32, 26
	shortestBlock6, longestBlock6, defaultBlock6 = 116, 128, 122
)

var linkLocal = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}

func pool(spec *field.Path, s *v3.IPPoolSpec) field.ErrorList {
	var errs field.ErrorList
	invalid := func(name string, value any, detail string) {
		errs = append(errs, field.Invalid(spec.Child(name), value, detail))
	}
	on := func(mode string) bool { return mode != "" && mode != "Never" }
	if on(string(s.IPIPMode)) && on(string(s.VXLANMode)) {
		invalid("vxlanMode", s.VXLANMode, "cannot be combined with ipipMode: set one of the two to Never")
	}
	errs = append(errs, subject(spec.Child("nodeSelector"), s.NodeSelector, "node")...)
	errs = append(errs, subject(spec.Child("namespaceSelector"), s.NamespaceSelector, "namespace")...)
	errs = append(errs, poolUses(spec, s)...)
	if cidr, err := netip.ParsePrefix(s.CIDR); err == nil {
		errs = append(errs, poolRange(spec, s, cidr)...)
	}
	return errs
}

func poolUses(spec *field.Path, s *v3.IPPoolSpec) field.ErrorList {
	var errs field.ErrorList
	invalid := func(name string, value any, detail string) {
		errs = append(errs, field.Invalid(spec.Child(name), value, detail))
	}
	uses := func(u v3.IPPoolAllowedUse) bool { return slices.Contains(s.AllowedUses, u) }
	if uses(v3.IPPoolAllowedUseTunnel) && s.NamespaceSelector != "" {
		invalid("namespaceSelector", s.NamespaceSelector, "must be empty in a pool of Tunnel addresses, which belong to no namespace")
	}
	if !uses(v3.IPPoolAllowedUseLoadBalancer) {
		return errs
	}
	if uses(v3.IPPoolAllowedUseWorkload) || uses(v3.IPPoolAllowedUseTunnel) {
		invalid("allowedUses", s.AllowedUses, "LoadBalancer cannot be combined with Workload or Tunnel: make a pool for each")
	}
	if s.IPIPMode != "" && s.IPIPMode != v3.IPIPModeNever || s.VXLANMode != "" && s.VXLANMode != v3.VXLANModeNever {
		invalid("allowedUses", s.AllowedUses, "a pool of LoadBalancer addresses has no encapsulation: set ipipMode and vxlanMode to Never")
	}
	if s.DisableBGPExport {
		invalid("disableBGPExport", true, "must be false in a pool of LoadBalancer addresses, which are reached by BGP")
	}
	if s.NodeSelector != "" && s.NodeSelector != "all()" {
		invalid("nodeSelector", s.NodeSelector, "must be all() in a pool of LoadBalancer addresses, which belong to no node")
	}
	return errs
}

func poolRange(spec *field.Path, s *v3.IPPoolSpec, cidr netip.Prefix) field.ErrorList {
	var errs field.ErrorList
	invalid := func(name string, value any, detail string) {
		errs = append(errs, field.Invalid(spec.Child(name), value, detail))
	}
	if cidr != cidr.Masked() {
		invalid("cidr", s.CIDR, fmt.Sprintf("has bits set beyond its prefix length: write %s", cidr.Masked()))
	}
	for _, l := range linkLocal {
		if cidr.Overlaps(l) {
			invalid("cidr", s.CIDR, fmt.Sprintf("must not overlap %s, whose addresses are valid on one link only", l))
		}
	}
	if cidr.Addr().Is6() && s.IPIPMode != "" && s.IPIPMode != v3.IPIPModeNever {
		invalid("ipipMode", s.IPIPMode, "must be Never in an IPv6 pool: use vxlanMode")
	}
	shortest, longest := shortestBlock4, longestBlock4
	if cidr.Addr().Is6() {
		shortest, longest = shortestBlock6, longestBlock6
	}
	bits := blockBits(s, cidr)
	if bits < shortest || bits > longest {
		invalid("blockSize", s.BlockSize, "must be 20 to 32 in an IPv4 pool and 116 to 128 in an IPv6 pool; absent means 26 or 122")
	} else if cidr.Bits() > bits && !s.Disabled {
		invalid("cidr", s.CIDR, fmt.Sprintf("is smaller than a block, a /%d: choose a larger network, or a blockSize not less than %d", bits, cidr.Bits()))
	}
	return errs
}

func blockBits(s *v3.IPPoolSpec, cidr netip.Prefix) int {
	switch {
	case s.BlockSize != 0:
		return s.BlockSize
	case cidr.Addr().Is6():
		return defaultBlock6
	}
	return defaultBlock4
}

// block judges a block's own consistency: what is inconsistent could be given twice.
func block(spec *field.Path, s *v3.IPAMBlockSpec) field.ErrorList {
	var errs field.ErrorList
	cidr, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return nil // the schema says so
	}
	hostBits := cidr.Addr().BitLen() - cidr.Bits()
	if cidr != cidr.Masked() || hostBits > 32-shortestBlock4 {
		return append(errs, field.Invalid(spec.Child("cidr"), s.CIDR, "must be the network of a block, a /20 to /32 or a /116 to /128"))
	}
	if size := 1 << hostBits; len(s.Allocations) != size {
		errs = append(errs, field.Invalid(spec.Child("allocations"), len(s.Allocations), fmt.Sprintf("must have %d elements, one for each address", size)))
	}
	for i, index := range s.Allocations {
		if index != nil && (*index < 0 || *index >= len(s.Attributes)) {
			errs = append(errs, field.Invalid(spec.Child("allocations").Index(i), *index, fmt.Sprintf("must be an index into the %d attributes", len(s.Attributes))))
		}
	}
	for i, place := range s.Unallocated {
		if place < 0 || place >= len(s.Allocations) || s.Allocations[place] != nil {
			errs = append(errs, field.Invalid(spec.Child("unallocated").Index(i), place, "must be the place of a free address"))
		}
	}
	return errs
}
