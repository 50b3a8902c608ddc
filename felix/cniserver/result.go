package cniserver

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

type result struct {
	CNIVersion string            `json:"cniVersion"`
	Interfaces []resultInterface `json:"interfaces"`
	IPs        []resultIP        `json:"ips"`
	Routes     []resultRoute     `json:"routes"`
	DNS        json.RawMessage   `json:"dns,omitempty"`
}

type resultInterface struct {
	Name    string `json:"name"`
	Mac     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"` // since 1.1.0; absent for the kernel's default
	Sandbox string `json:"sandbox,omitempty"`
}

type resultIP struct {
	Version   string     `json:"version,omitempty"` // "4" or "6", until 1.0.0
	Interface int        `json:"interface"`
	Address   string     `json:"address"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
}

type resultRoute struct {
	Dst string     `json:"dst"`
	GW  netip.Addr `json:"gw,omitzero"`
}

// encodeResult returns the CNI result of an ADD in the configuration's version.
func encodeResult(c *config, r record) ([]byte, error) {
	const podInterface = 1 // in Interfaces
	res := result{CNIVersion: c.CNIVersion, DNS: c.DNS, Interfaces: []resultInterface{
		{Name: r.HostIface, Mac: veth.HostMAC.String()},
		{Name: r.IfName, Mac: r.MAC, Sandbox: r.NetNS},
	}}
	if c.CNIVersion == "1.1.0" {
		res.Interfaces[0].MTU, res.Interfaces[1].MTU = r.MTU, r.MTU
	}
	for _, addr := range r.Addrs {
		version, gateway, everything := "4", veth.GatewayV4, "0.0.0.0/0"
		if addr.Is6() {
			version, gateway, everything = "6", veth.GatewayV6, "::/0"
		}
		if !strings.HasPrefix(c.CNIVersion, "0.") {
			version = ""
		}
		res.IPs = append(res.IPs, resultIP{Version: version, Interface: podInterface,
			Address: netip.PrefixFrom(addr, addr.BitLen()).String(), Gateway: gateway})
		res.Routes = append(res.Routes, resultRoute{Dst: everything, GW: gateway})
	}
	return json.Marshal(res)
}
