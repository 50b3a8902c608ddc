package validate

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func felixConfiguration(spec *field.Path, s *v3.FelixConfigurationSpec) field.ErrorList {
	errs := numbers(spec, s)
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	errs = append(errs, rule.Selector(spec.Child("nodeSelector"), text(s.NodeSelector))...)
	for _, p := range []struct {
		name  string
		value *string
	}{
		{"bpfDataIfacePattern", s.BPFDataIfacePattern}, {"bpfL3IfacePattern", s.BPFL3IfacePattern},
		{"mtuIfacePattern", s.MTUIfacePattern},
		{"nftablesFlowTableDataIfacePattern", s.NftablesFlowTableDataIfacePattern},
		{"logDebugFilenameRegex", s.LogDebugFilenameRegex},
	} {
		errs = append(errs, expression(spec.Child(p.name), text(p.value))...)
	}
	errs = append(errs, networks(spec.Child("externalNodesList"), s.ExternalNodesList)...)
	for i, p := range s.HealthTimeoutOverrides {
		errs = append(errs, duration(spec.Child("healthTimeoutOverrides").Index(i).Child("timeout"), p.Timeout)...)
	}
	errs = append(errs, protoPorts(spec.Child("failsafeInboundHostPorts"), s.FailsafeInboundHostPorts)...)
	errs = append(errs, protoPorts(spec.Child("failsafeOutboundHostPorts"), s.FailsafeOutboundHostPorts)...)
	for i, r := range s.KubeNodePortRanges {
		errs = append(errs, portRange(spec.Child("kubeNodePortRanges").Index(i), r)...)
	}
	if s.NATPortRange != nil {
		errs = append(errs, portRange(spec.Child("natPortRange"), *s.NATPortRange)...)
	}
	if s.BPFPSNATPorts != nil {
		errs = append(errs, portRange(spec.Child("bpfPSNATPorts"), *s.BPFPSNATPorts)...)
	}
	return errs
}

// felixNodes refuses a nodeSelector if the name of the resource determines the nodes.
func felixNodes(spec *field.Path, o *v3.FelixConfiguration) field.ErrorList {
	s := o.Spec.NodeSelector
	if s == nil || *s == "" || o.Name != "default" && !strings.HasPrefix(o.Name, "node.") {
		return nil
	}
	return field.ErrorList{field.Forbidden(spec.Child("nodeSelector"),
		"the name says which nodes it is for: use another name than default and node.NAME")}
}

// numbers checks ports, MTUs and the VNI.
func numbers(spec *field.Path, s *v3.FelixConfigurationSpec) field.ErrorList {
	var errs field.ErrorList
	for _, n := range []struct {
		name        string
		value       *int
		least, most int
	}{
		{"bpfKubeProxyHealthzPort", s.BPFKubeProxyHealthzPort, 0, math.MaxUint16},
		{"debugPort", s.DebugPort, 0, math.MaxUint16},
		{"healthPort", s.HealthPort, 0, math.MaxUint16},
		{"ipipMTU", s.IPIPMTU, 0, math.MaxUint16},
		{"metadataPort", s.MetadataPort, 0, math.MaxUint16},
		{"prometheusMetricsPort", s.PrometheusMetricsPort, 0, math.MaxUint16},
		{"vxlanMTU", s.VXLANMTU, 0, math.MaxUint16},
		{"vxlanMTUV6", s.VXLANMTUV6, 0, math.MaxUint16},
		{"vxlanPort", s.VXLANPort, 0, math.MaxUint16},
		{"vxlanVNI", s.VXLANVNI, 1, 1<<24 - 1},
		{"wireguardListeningPort", s.WireguardListeningPort, 0, math.MaxUint16},
		{"wireguardListeningPortV6", s.WireguardListeningPortV6, 0, math.MaxUint16},
		{"wireguardMTU", s.WireguardMTU, 0, math.MaxUint16},
		{"wireguardMTUV6", s.WireguardMTUV6, 0, math.MaxUint16},
	} {
		if n.value != nil && (*n.value < n.least || *n.value > n.most) {
			errs = append(errs, field.Invalid(spec.Child(n.name), *n.value,
				fmt.Sprintf("must be %d to %d", n.least, n.most)))
		}
	}
	return errs
}

func expression(path *field.Path, text string) field.ErrorList {
	if _, err := regexp.Compile(text); err != nil {
		return field.ErrorList{field.Invalid(path, text, "must be a regular expression: "+err.Error())}
	}
	return nil
}

func protoPorts(path *field.Path, ports []v3.ProtoPort) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := path.Index(i)
		if p.Port < 1 || p.Port > 65535 {
			errs = append(errs, field.Invalid(at.Child("port"), p.Port, "must be 1 to 65535"))
		}
		if protocol := strings.ToLower(p.Protocol); protocol != "" && protocol != "tcp" && protocol != "udp" {
			errs = append(errs, field.NotSupported(at.Child("protocol"), p.Protocol, []string{"TCP", "UDP"}))
		}
		if _, err := netip.ParsePrefix(p.Net); p.Net != "" && err != nil {
			errs = append(errs, field.Invalid(at.Child("net"), p.Net, "must be a network, for example 10.0.0.0/8"))
		}
	}
	return errs
}

// portRange checks a port, or two ports joined by a colon of which the second is not less than the first.
func portRange(path *field.Path, r intstr.IntOrString) field.ErrorList {
	first, last, two := strings.Cut(r.String(), ":")
	if !two {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || high < low {
		return field.ErrorList{field.Invalid(path, r.String(),
			`must be a port or a range of ports, for example "30000:32767"`)}
	}
	return nil
}
