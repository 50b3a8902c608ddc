package validate

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// block checks that a block does not contradict itself: such a block could assign an address twice.
func block(spec *field.Path, s *v3.IPAMBlockSpec) field.ErrorList {
	var errs field.ErrorList
	cidr, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return nil // the schema says so
	}
	hostBits := cidr.Addr().BitLen() - cidr.Bits()
	if cidr != cidr.Masked() || hostBits > v3.MaxBlockBits {
		return append(errs, field.Invalid(spec.Child("cidr"), s.CIDR, "must be the network of a block, a /20 to /32 "+
			"or a /116 to /128"))
	}
	if size := 1 << hostBits; len(s.Allocations) != size {
		errs = append(errs, field.Invalid(spec.Child("allocations"), len(s.Allocations),
			fmt.Sprintf("must have %d elements, one for each address", size)))
	}
	for i, index := range s.Allocations {
		if index != nil && (*index < 0 || *index >= len(s.Attributes)) {
			errs = append(errs, field.Invalid(spec.Child("allocations").Index(i), *index,
				fmt.Sprintf("must be an index into the %d attributes", len(s.Attributes))))
		}
	}
	for i, place := range s.Unallocated {
		if place < 0 || place >= len(s.Allocations) || s.Allocations[place] != nil {
			errs = append(errs, field.Invalid(spec.Child("unallocated").Index(i), place, "must be the place of a "+
				"free address"))
		}
	}
	return errs
}
