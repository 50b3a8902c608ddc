package validate

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// interfaceName matches the names of interfaces. The kernel allows more characters, which nobody uses.
var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,15}$`)

func hostEndpoint(spec *field.Path, s *v3.HostEndpointSpec) field.ErrorList {
	var errs field.ErrorList
	if s.Node != "" && len(validation.IsDNS1123Subdomain(s.Node)) > 0 {
		errs = append(errs, field.Invalid(spec.Child("node"), s.Node, "must be the name of a node: lower case "+
			"letters, digits, dashes and dots"))
	}
	if s.InterfaceName != "" && s.InterfaceName != "*" && !interfaceName.MatchString(s.InterfaceName) {
		errs = append(errs, field.Invalid(spec.Child("interfaceName"), s.InterfaceName, "must be the name of an "+
			"interface, for example eth0, or * for all"))
	}
	for i, ip := range s.ExpectedIPs {
		errs = append(errs, anyAddress(spec.Child("expectedIPs").Index(i), ip)...)
	}
	for i, p := range s.Ports {
		errs = append(errs, endpointPort(spec.Child("ports").Index(i), p.Name, p.Port, p.Protocol)...)
	}
	return append(errs, profileNames(spec.Child("profiles"), s.Profiles)...)
}

func anyAddress(path *field.Path, text string) field.ErrorList {
	if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" {
		return field.ErrorList{field.Invalid(path, text, "must be an address, for example 192.0.2.1 or 2001:db8::1")}
	}
	return nil
}

// networks checks a list of networks and addresses.
func networks(path *field.Path, list []string) field.ErrorList {
	var errs field.ErrorList
	for i, text := range list {
		if len(errs) >= schema.MostErrors {
			break
		}
		if _, err := rule.ParseNet(text); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), text, err.Error()))
		}
	}
	return errs
}

func endpointPort(path *field.Path, name string, port uint16, protocol intstr.IntOrString) field.ErrorList {
	var errs field.ErrorList
	if name != "" && len(validation.IsValidPortName(name)) > 0 {
		errs = append(errs, field.Invalid(path.Child("name"), name, "must be the name of a port, for example http: "+
			"at most 15 lower-case letters, digits and dashes"))
	}
	if port == 0 {
		errs = append(errs, field.Invalid(path.Child("port"), port, "must be 1 to 65535"))
	}
	if number, err := rule.ParseProtocol(protocol); err != nil || !rule.HasPorts(number) {
		errs = append(errs, field.Invalid(path.Child("protocol"), protocol.String(), "must be TCP, UDP or SCTP"))
	}
	return errs
}

func profileNames(path *field.Path, names []string) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		for _, wrong := range validation.IsDNS1123Subdomain(name) {
			errs = append(errs, field.Invalid(path.Index(i), name, wrong))
		}
	}
	return errs
}

func profile(spec *field.Path, s *v3.ProfileSpec) field.ErrorList {
	errs := rules(spec, s.Ingress, s.Egress, false)
	// A Profile has no CRD. Its rules are those of a GlobalNetworkPolicy.
	content, err := contentOf(v3.GlobalNetworkPolicy{Spec: v3.GlobalNetworkPolicySpec{Ingress: s.Ingress,
		Egress: s.Egress}})
	if err != nil {
		return append(errs, field.InternalError(spec, err))
	}
	errs = append(errs, expressions("GlobalNetworkPolicy", content, nil)...)
	return append(errs, metav1validation.ValidateLabels(s.LabelsToApply, spec.Child("labelsToApply"))...)
}

func workloadEndpoint(spec *field.Path, o *v3.WorkloadEndpoint) field.ErrorList {
	s := &o.Spec
	errs := endpointName(o)
	if s.InterfaceName != "" && !interfaceName.MatchString(s.InterfaceName) {
		errs = append(errs, field.Invalid(spec.Child("interfaceName"), s.InterfaceName, "must be the name of an "+
			"interface, for example cali0ef24ba"))
	}
	var own []netip.Addr
	for i, text := range s.IPNetworks {
		net, err := rule.ParseNet(text)
		if err != nil || !net.IsSingleIP() {
			errs = append(errs, field.Invalid(spec.Child("ipNetworks").Index(i), text, "must be one address, for "+
				"example 10.244.0.5/32"))
			continue
		}
		own = append(own, net.Addr())
	}
	errs = append(errs, address(spec.Child("ipv4Gateway"), s.IPv4Gateway, false)...)
	errs = append(errs, address(spec.Child("ipv6Gateway"), s.IPv6Gateway, true)...)
	errs = append(errs, translations(spec.Child("ipNATs"), s.IPNATs, own)...)
	errs = append(errs, networks(spec.Child("allowSpoofedSourcePrefixes"), s.AllowSpoofedSourcePrefixes)...)
	errs = append(errs, mac(spec.Child("mac"), s.MAC)...)
	for i, p := range s.Ports {
		at := spec.Child("ports").Index(i)
		errs = append(errs, endpointPort(at, p.Name, p.Port, p.Protocol)...)
		if p.Name == "" && p.HostPort == 0 {
			errs = append(errs, field.Required(at.Child("name"), "or else hostPort: a port without either has no use"))
		}
	}
	return append(errs, profileNames(spec.Child("profiles"), s.Profiles)...)
}

// endpointName checks the name of a WorkloadEndpoint and the fields that determine it.
func endpointName(o *v3.WorkloadEndpoint) field.ErrorList {
	s, spec := &o.Spec, field.NewPath("spec")
	workload, its := s.Workload, "workload"
	if s.Orchestrator == v3.OrchestratorK8s {
		workload, its = s.Pod, "pod"
	}
	var errs field.ErrorList
	parts := []string{s.Node, s.Orchestrator, workload, s.Endpoint}
	for i, name := range []string{"node", "orchestrator", its, "endpoint"} {
		if parts[i] == "" {
			errs = append(errs, field.Required(spec.Child(name), "is part of the name"))
		}
		parts[i] = strings.ReplaceAll(parts[i], "-", "--")
	}
	if want := strings.Join(parts, "-"); len(errs) == 0 && o.Name != want {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), o.Name,
			fmt.Sprintf("must be %s, which spec has as node, orchestrator, %s and endpoint", want, its)))
	}
	return errs
}

func translations(path *field.Path, nats []v3.IPNAT, own []netip.Addr) field.ErrorList {
	var errs field.ErrorList
	for i, n := range nats {
		at := path.Index(i)
		inside, err := netip.ParseAddr(n.InternalIP)
		if err != nil || !slices.Contains(own, inside) {
			errs = append(errs, field.Invalid(at.Child("internalIP"), n.InternalIP, "must be an address of ipNetworks"))
		}
		outside, err := netip.ParseAddr(n.ExternalIP)
		if err != nil || inside.IsValid() && outside.Is4() != inside.Is4() {
			errs = append(errs, field.Invalid(at.Child("externalIP"), n.ExternalIP, "must be an address of the same "+
				"IP version as internalIP"))
		}
	}
	return errs
}

func mac(path *field.Path, text string) field.ErrorList {
	if a, err := net.ParseMAC(text); text != "" && (err != nil || len(a) != 6) {
		return field.ErrorList{field.Invalid(path, text, "must be a MAC address, for example ee:ee:ee:ee:ee:ee")}
	}
	return nil
}
