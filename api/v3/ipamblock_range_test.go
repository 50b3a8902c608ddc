package v3

import (
	"net/netip"
	"testing"
)

func TestBlockCIDR(t *testing.T) {
	for _, text := range []string{"10.244.0.0/26", "fd00:65::/122", "::/122", "fd00:1:2:3:4:5:6:780/122"} {
		cidr := netip.MustParsePrefix(text)
		if got, ok := BlockCIDR(BlockName(cidr)); !ok || got != cidr {
			t.Errorf("%s gives %s, %t", BlockName(cidr), got, ok)
		}
	}
	for _, name := range []string{"", "10", "a-b", "10-0-0-0-99", "10-0-0-0", "10.0.0.0-26", "10-0-0-5-26",
		"10-0-0-0-19", "0-0-0-0-0", "fd00---115"} {
		if got, ok := BlockCIDR(name); ok {
			t.Errorf("%q gives %s", name, got)
		}
	}
}
