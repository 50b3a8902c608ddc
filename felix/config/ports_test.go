package config_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/felix/config"
)

func TestProtoPorts(t *testing.T) {
	prefix := netip.MustParsePrefix
	for text, want := range map[string][]config.ProtoPort{
		"none": nil,
		"22":   {{Protocol: 6, Port: 22}},
		"udp:53, TCP:10.0.0.1/8:22": {{Protocol: 17, Port: 53},
			{Protocol: 6, Net: prefix("10.0.0.0/8"), Port: 22}},
		"sctp:[fd00::/8]:36412,tcp:::/0:1": {{Protocol: 132, Net: prefix("fd00::/8"), Port: 36412},
			{Protocol: 6, Net: prefix("::/0"), Port: 1}},
	} {
		c, err := config.Resolve(resource("r", "FailsafeInboundHostPorts", text))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, c.FailsafeInboundHostPorts.All(),
			cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "tcp", "icmp:8", "tcp:65536", "tcp:10.0.0.0:22", "tcp:22,", "22:tcp"} {
		c, err := config.Resolve(resource("r", "FailsafeInboundHostPorts", text))
		if err == nil || len(c.FailsafeInboundHostPorts.All()) != 9 {
			t.Errorf("%q: %v, %v; want an error and the default", text, c.FailsafeInboundHostPorts, err)
		}
	}
}

func TestPortRanges(t *testing.T) {
	c, err := config.Resolve(resource("r", "KubeNodePortRanges", "30000:32767, 80"))
	if diff := cmp.Diff([]config.PortRange{{First: 30000, Last: 32767}, {First: 80, Last: 80}},
		c.KubeNodePortRanges.All()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "80,", "90:80", "1:65536", "http"} {
		if c, err := config.Resolve(resource("r", "KubeNodePortRanges", text)); err == nil ||
			c.KubeNodePortRanges != "30000:32767" {
			t.Errorf("%q: %v, %v; want an error and the default", text, c.KubeNodePortRanges, err)
		}
	}
}

func TestPrefixes(t *testing.T) {
	c, err := config.Resolve(resource("r", "InterfacePrefix", "tap,cali"))
	if diff := cmp.Diff([]string{"tap", "cali"}, c.InterfacePrefix.All()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "ta+", "tap,", "a-name-that-is-too-long"} {
		if c, err := config.Resolve(resource("r", "InterfacePrefix", text)); err == nil || c.InterfacePrefix != "cali" {
			t.Errorf("%q: %v, %v; want an error and the default", text, c.InterfacePrefix, err)
		}
	}
}
