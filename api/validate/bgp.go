package validate

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func peer(spec *field.Path, s *v3.BGPPeerSpec) field.ErrorList {
	var errs field.ErrorList
	gateway, err := netip.ParseAddr(s.ReachableBy)
	if peer := peerAddress(s.PeerIP); err == nil && peer.IsValid() && peer.Is4() != gateway.Is4() {
		errs = append(errs, field.Invalid(spec.Child("reachableBy"), s.ReachableBy, "must be of the same IP version "+
			"as peerIP"))
	}
	errs = append(errs, rule.Selector(spec.Child("nodeSelector"), s.NodeSelector)...)
	errs = append(errs, rule.Selector(spec.Child("peerSelector"), s.PeerSelector)...)
	errs = append(errs, rule.Selector(spec.Child("localWorkloadSelector"), s.LocalWorkloadSelector)...)
	errs = append(errs, duration(spec.Child("keepaliveTime"), s.KeepaliveTime)...)
	return append(errs, duration(spec.Child("maxRestartTime"), s.MaxRestartTime)...)
}

// peerAddress reads an address, and one with a port; it gives the zero Addr for anything else.
func peerAddress(s string) netip.Addr {
	if a, err := netip.ParseAddr(s); err == nil {
		return a
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Port() != 0 {
		return a.Addr()
	}
	return netip.Addr{}
}

func bgpConfiguration(spec *field.Path, s *v3.BGPConfigurationSpec) field.ErrorList {
	errs := communityReferences(spec.Child("prefixAdvertisements"), s)
	errs = append(errs, address(spec.Child("localWorkloadPeeringIPV4"), s.LocalWorkloadPeeringIPV4, false)...)
	errs = append(errs, address(spec.Child("localWorkloadPeeringIPV6"), s.LocalWorkloadPeeringIPV6, true)...)
	return append(errs, duration(spec.Child("nodeMeshMaxRestartTime"), s.NodeMeshMaxRestartTime)...)
}

// communityReferences finds names that no community has.
func communityReferences(path *field.Path, s *v3.BGPConfigurationSpec) field.ErrorList {
	var errs field.ErrorList
	value := schema.Of("BGPConfiguration").Properties["spec"].Properties["communities"].Items.Properties["value"]
	names := map[string]bool{}
	for _, c := range s.Communities {
		names[c.Name] = true
	}
	for i, advertisement := range s.PrefixAdvertisements {
		for j, c := range advertisement.Communities {
			if !names[c] && !value.Accepts(c) {
				errs = append(errs, field.Invalid(path.Index(i).Child("communities").Index(j), c,
					"must be a community such as 65001:100, or the name of one in spec.communities"))
			}
		}
	}
	return errs
}

func duration(path *field.Path, text string) field.ErrorList {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d < 0 {
		return field.ErrorList{field.Invalid(path, text, "must be a duration, for example 90s, 5m or 1h")}
	}
	return nil
}

// address checks the form of an address that may be absent.
func address(path *field.Path, text string, six bool) field.ErrorList {
	if text == "" {
		return nil
	}
	family, example := "IPv4", "192.0.2.1"
	if six {
		family, example = "IPv6", "2001:db8::1"
	}
	if a, err := netip.ParseAddr(text); err != nil || a.Is4() == six || strings.Contains(text, "%") {
		return field.ErrorList{field.Invalid(path, text, fmt.Sprintf("must be an %s address, for example %s", family,
			example))}
	}
	return nil
}
