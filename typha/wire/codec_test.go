package wire

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/api/encap"
)

func TestObjectsSurviveTheWire(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	objects := []Object{
		&Config{Name: "global", Values: map[string]string{"VXLANPort": "4790", "BPFEnabled": "false"}},
		&Pool{Name: "p", CIDR: prefix("10.244.0.0/16"), BlockSize: 26, VXLAN: EncapCrossSubnet, NATOutgoing: true},
		&Host{Name: "n1", IPv4: prefix("172.30.0.11/24"), ASNumber: 4200000001},
		&Node{Name: "n1", Labels: map[string]string{"rack": "a", "kubernetes.io/os": "linux"}},
		&TunnelEndpoint{Node: "n1", Kind: encap.VXLAN, Addr: addr("fd00::1"), MAC: []byte{2, 0, 0, 0, 0, 1},
			Outer: addr("fd00:1::11")},
		&TunnelEndpoint{Node: "n1", Kind: encap.IPIP, Addr: addr("10.244.0.1"), Outer: addr("fd00:1::11")},
		&Route{Dst: prefix("10.244.1.0/26"), Node: "n1", Pool: "p"},
		&BGP{Node: "n1", ASNumber: 64512, ListenPort: 179, Mesh: true,
			Peers: []BGPPeer{{Name: "tor", Addr: addr("172.31.0.1"), ASNumber: 64513}}},
		&IPSet{Name: "s", Type: SetNet, Nets: []netip.Prefix{prefix("10.0.0.1/32"), prefix("fd00::/64")}},
		&IPSet{Name: "q", Type: SetPort, Ports: []PortMember{{addr("10.0.0.1"), 6, 8080}}},
		&Policy{Name: "knp.default/a/b", Tier: "default", Ingress: []Rule{{
			Action: Allow, Protocol: 6, ICMP: &ICMP{Type: 8},
			Src: Match{Sets: []string{"s"}, NotNets: []netip.Prefix{prefix("10.1.0.0/16")}},
			Dst: Match{Ports: []PortRange{{80, 81}}, PortSets: []string{"q"}}}}},
		&Endpoint{Namespace: "a", Pod: "b", UID: "u", Node: "n1",
			Tiers: []Tier{{Name: "default", Ingress: []string{"knp.default/a/b"}, DefaultAction: Deny}}},
	}
	for _, want := range objects {
		t.Run(want.ID().String(), func(t *testing.T) {
			data, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeObject(want.ID().Kind, data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				t.Errorf("decoded differs (-want +got):\n%s", diff)
			}
			again, err := Encode(got)
			if err != nil || HashOf(again) != HashOf(data) {
				t.Errorf("encoding is not canonical: %x and %x, %v", data, again, err)
			}
		})
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	data, err := Encode(map[int]any{1: "n1", 5: map[string]string{"labels": "from an earlier release"},
		77: "from a later release"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := DecodeObject(KindHost, data)
	if err != nil || o.(*Host).Name != "n1" {
		t.Errorf("got %v, %v", o, err)
	}
}

func TestUnknownKindIsAnError(t *testing.T) {
	if _, err := DecodeObject(200, nil); err == nil {
		t.Error("kind 200 decoded")
	}
}

func TestTunnelMAC(t *testing.T) {
	a, b := TunnelMAC("n1", 4), TunnelMAC("n1", 6)
	if a[0]&3 != 2 || len(a) != 6 || a.String() == b.String() || a.String() != TunnelMAC("n1", 4).String() {
		t.Errorf("MACs %s and %s: want local unicast addresses, one a family, always the same", a, b)
	}
}
