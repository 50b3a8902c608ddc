package ipam

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestNames(t *testing.T) {
	long := string(make([]byte, 0, 250))
	for range 250 {
		long += "n"
	}
	tests := []struct{ got, want string }{
		{v3.BlockName(prefix("10.244.0.64/26")), "10-244-0-64-26"},
		{v3.BlockName(prefix("fd00:10:244::40/122")), "fd00-10-244--40-122"},
		{AffinityName("node-1", prefix("10.244.0.64/26")), "node-1-10-244-0-64-26"},
		{AffinityName(long, prefix("10.244.0.64/26"))[:220], long[:220]},
		{fmt.Sprint(len(AffinityName(long, prefix("10.244.0.64/26")))), "253"},
		{TunnelHandle(encap.VXLAN, IPv4, "n"), "vxlan-tunnel-addr-n"},
		{TunnelHandle(encap.VXLAN, IPv6, "n"), "vxlan-v6-tunnel-addr-n"},
		{tunnelAttribute(encap.VXLAN, IPv6), "vxlanV6TunnelAddress"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	if AffinityName(long, prefix("10.0.0.0/26")) == AffinityName(long, prefix("10.0.0.64/26")) {
		t.Error("two blocks of a node with a long name have one affinity name")
	}
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
