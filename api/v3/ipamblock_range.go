package v3

import (
	"fmt"
	"net/netip"
	"strings"
)

// MaxBlockBits is the number of host bits of the largest IPAMBlock: a /20 of IPv4, a /116 of IPv6, as in Calico.
const MaxBlockBits = 12

// BlockName returns the name of the IPAMBlock of a CIDR, as in Calico: that of 10.244.0.0/26 is 10-244-0-0-26.
func BlockName(cidr netip.Prefix) string {
	return blockSeparators.Replace(cidr.String())
}

var blockSeparators = strings.NewReplacer(".", "-", ":", "-", "/", "-")

// BlockCIDR is the reverse of BlockName. It returns the CIDR of a block from its name, whatever spec.cidr says. It
// returns false if no block can have the name.
func BlockCIDR(name string) (netip.Prefix, bool) {
	last := strings.LastIndexByte(name, '-')
	if last < 0 {
		return netip.Prefix{}, false
	}
	for _, separator := range []string{".", ":"} {
		cidr, err := netip.ParsePrefix(strings.ReplaceAll(name[:last], "-", separator) + "/" + name[last+1:])
		if err != nil || cidr != cidr.Masked() || BlockName(cidr) != name {
			continue
		}
		return cidr, cidr.Addr().BitLen()-cidr.Bits() <= MaxBlockBits
	}
	return netip.Prefix{}, false
}

// Damage returns how a block contradicts its name or itself, and what would be right. It returns nil for a consistent
// block. An edit by hand may damage a block. No addresses are assigned from a damaged block.
func (b *IPAMBlock) Damage() error {
	cidr, ok := BlockCIDR(b.Name)
	if !ok {
		return fmt.Errorf("metadata.name: %q is not the name of a block, such as 10-244-0-0-26; delete it", b.Name)
	}
	if written, err := netip.ParsePrefix(b.Spec.CIDR); err != nil || written != cidr {
		return fmt.Errorf("spec.cidr: %q has to be %s, as the name says", b.Spec.CIDR, cidr)
	}
	if size := 1 << (cidr.Addr().BitLen() - cidr.Bits()); len(b.Spec.Allocations) != size {
		return fmt.Errorf("spec.allocations: %d entries have to be the %d of %s", len(b.Spec.Allocations), size, cidr)
	}
	for i, index := range b.Spec.Allocations {
		if index != nil && (*index < 0 || *index >= len(b.Spec.Attributes)) {
			return fmt.Errorf("spec.allocations[%d]: there is no attribute %d", i, *index)
		}
	}
	return nil
}
