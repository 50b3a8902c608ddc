package validate

import (
	"encoding/base64"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func node(o *v3.Node) field.ErrorList {
	spec, status := field.NewPath("spec"), field.NewPath("status")
	s := &o.Spec
	var errs field.ErrorList
	if b := s.BGP; b != nil {
		errs = append(errs, nodeBGP(spec.Child("bgp"), b)...)
	}
	if w := s.Wireguard; w != nil {
		errs = append(errs, address(spec.Child("wireguard", "interfaceIPv4Address"), w.InterfaceIPv4Address, false)...)
		errs = append(errs, address(spec.Child("wireguard", "interfaceIPv6Address"), w.InterfaceIPv6Address, true)...)
	}
	errs = append(errs, address(spec.Child("ipv4VXLANTunnelAddr"), s.IPv4VXLANTunnelAddr, false)...)
	errs = append(errs, address(spec.Child("ipv6VXLANTunnelAddr"), s.IPv6VXLANTunnelAddr, true)...)
	errs = append(errs, mac(spec.Child("vxlanTunnelMACAddr"), s.VXLANTunnelMACAddr)...)
	errs = append(errs, mac(spec.Child("vxlanTunnelMACAddrV6"), s.VXLANTunnelMACAddrV6)...)
	for i, a := range s.Addresses {
		at := spec.Child("addresses").Index(i)
		if _, err := rule.ParseNet(a.Address); err != nil {
			errs = append(errs, field.Invalid(at.Child("address"), a.Address, "must be an address, for example "+
				"192.0.2.1 or 192.0.2.1/24"))
		}
		switch a.Type {
		case "", "CalicoNodeIP", "InternalIP", "ExternalIP":
		default:
			errs = append(errs, field.NotSupported(at.Child("type"), a.Type,
				[]string{"CalicoNodeIP", "InternalIP", "ExternalIP"}))
		}
	}
	for i, r := range s.OrchRefs {
		if r.Orchestrator == "" {
			errs = append(errs, field.Required(spec.Child("orchRefs").Index(i).Child("orchestrator"),
				"for example k8s"))
		}
	}
	errs = append(errs, publicKey(status.Child("wireguardPublicKey"), o.Status.WireguardPublicKey)...)
	errs = append(errs, publicKey(status.Child("wireguardPublicKeyV6"), o.Status.WireguardPublicKeyV6)...)
	return append(errs, networks(status.Child("podCIDRs"), o.Status.PodCIDRs)...)
}

func nodeBGP(path *field.Path, b *v3.NodeBGPSpec) field.ErrorList {
	if *b == (v3.NodeBGPSpec{}) {
		return field.ErrorList{field.Invalid(path, "",
			"must say something: remove it, or write for example ipv4Address")}
	}
	errs := subnetAddress(path.Child("ipv4Address"), b.IPv4Address, false)
	errs = append(errs, subnetAddress(path.Child("ipv6Address"), b.IPv6Address, true)...)
	errs = append(errs, address(path.Child("ipv4IPIPTunnelAddr"), b.IPv4IPIPTunnelAddr, false)...)
	errs = append(errs, address(path.Child("routeReflectorClusterID"), b.RouteReflectorClusterID, false)...)
	if b.ASNumber != nil && *b.ASNumber == 0 {
		errs = append(errs, field.Invalid(path.Child("asNumber"), 0, "must be an AS number, 1 to 4294967295"))
	}
	return errs
}

// subnetAddress checks an address with or without the length of its subnet.
func subnetAddress(path *field.Path, text string, six bool) field.ErrorList {
	if p, err := netip.ParsePrefix(text); err == nil {
		text = p.Addr().String()
	}
	return address(path, text, six)
}

func publicKey(path *field.Path, text string) field.ErrorList {
	if key, err := base64.StdEncoding.DecodeString(text); text != "" && (err != nil || len(key) != 32) {
		return field.ErrorList{field.Invalid(path, text, "must be a WireGuard key: 32 bytes in base64")}
	}
	return nil
}

// handle checks the number of addresses by block.
func handle(spec *field.Path, s *v3.IPAMHandleSpec) field.ErrorList {
	var errs field.ErrorList
	for block, number := range s.Block {
		at := spec.Child("block").Key(block)
		if _, err := netip.ParsePrefix(block); err != nil {
			errs = append(errs, field.Invalid(at, block, "must be the network of a block"))
		}
		if number < 0 {
			errs = append(errs, field.Invalid(at, number, "must not be negative"))
		}
	}
	return errs
}
