package validate

import (
	"fmt"
	"net/netip"
	"regexp"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func bgpFilter(spec *field.Path, s *v3.BGPFilterSpec) field.ErrorList {
	var errs field.ErrorList
	for name, rules := range map[string][]v3.BGPFilterRuleV4{"importV4": s.ImportV4, "exportV4": s.ExportV4} {
		for i, r := range rules {
			errs = append(errs, filterRule(spec.Child(name).Index(i), r.CIDR, r.Interface, false)...)
		}
	}
	for name, rules := range map[string][]v3.BGPFilterRuleV6{"importV6": s.ImportV6, "exportV6": s.ExportV6} {
		for i, r := range rules {
			errs = append(errs, filterRule(spec.Child(name).Index(i), r.CIDR, r.Interface, true)...)
		}
	}
	return errs
}

var filteredInterface = regexp.MustCompile(`^[a-zA-Z0-9_.*-]{1,15}$`)

// filterRule checks what the rules of both IP versions have in common.
func filterRule(path *field.Path, cidr, device string, six bool) field.ErrorList {
	var errs field.ErrorList
	family := "IPv4"
	if six {
		family = "IPv6"
	}
	if net, err := netip.ParsePrefix(cidr); err == nil && net.Addr().Is4() == six {
		errs = append(errs, field.Invalid(path.Child("cidr"), cidr,
			fmt.Sprintf("must be an %s network: rules for the others are in a list of their own", family)))
	}
	if device != "" && !filteredInterface.MatchString(device) {
		errs = append(errs, field.Invalid(path.Child("interface"), device,
			"must be the name of an interface, for example eth0 or eth*"))
	}
	return errs
}
