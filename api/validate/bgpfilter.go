package validate

import (
	"fmt"
	"net/netip"
	"regexp"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// filterRule is what the rules of both IP versions have in common.
type filterRule struct {
	six        bool
	cidr       string
	operator   v3.BGPFilterMatchOperator
	action     v3.BGPFilterAction
	iface      string
	operations []v3.BGPFilterOperation
	ranged     bool // it has a prefixLength
	min, max   *int32
}

func fourOf(r *v3.BGPFilterRuleV4) filterRule {
	f := filterRule{cidr: r.CIDR, operator: r.MatchOperator, action: r.Action, iface: r.Interface, operations: r.Operations}
	if l := r.PrefixLength; l != nil {
		f.ranged, f.min, f.max = true, l.Min, l.Max
	}
	return f
}

func sixOf(r *v3.BGPFilterRuleV6) filterRule {
	f := filterRule{six: true, cidr: r.CIDR, operator: r.MatchOperator, action: r.Action, iface: r.Interface, operations: r.Operations}
	if l := r.PrefixLength; l != nil {
		f.ranged, f.min, f.max = true, l.Min, l.Max
	}
	return f
}

func bgpFilter(spec *field.Path, s *v3.BGPFilterSpec) field.ErrorList {
	errs := filterRules(spec.Child("importV4"), s.ImportV4, fourOf)
	errs = append(errs, filterRules(spec.Child("exportV4"), s.ExportV4, fourOf)...)
	errs = append(errs, filterRules(spec.Child("importV6"), s.ImportV6, sixOf)...)
	return append(errs, filterRules(spec.Child("exportV6"), s.ExportV6, sixOf)...)
}

func filterRules[T any](path *field.Path, rules []T, common func(*T) filterRule) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		r := common(&rules[i])
		errs = append(errs, r.check(path.Index(i))...)
	}
	return errs
}

var filteredInterface = regexp.MustCompile(`^[a-zA-Z0-9_.*-]{1,15}$`)

func (r *filterRule) check(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	family, every := "IPv4", "0.0.0.0/0"
	if r.six {
		family, every = "IPv6", "::/0"
	}
	if (r.cidr == "") != (r.operator == "") {
		errs = append(errs, field.Invalid(path.Child("matchOperator"), r.operator, "goes with cidr: write both, or remove both to match every prefix"))
	}
	if cidr, err := netip.ParsePrefix(r.cidr); err == nil && cidr.Addr().Is4() == r.six {
		errs = append(errs, field.Invalid(path.Child("cidr"), r.cidr, fmt.Sprintf("must be an %s network: rules for the others are in a list of their own", family)))
	}
	if r.ranged && r.cidr == "" {
		errs = append(errs, field.Forbidden(path.Child("prefixLength"), fmt.Sprintf("needs cidr: write %s with matchOperator In to match every prefix", every)))
	}
	if r.min != nil && r.max != nil && *r.min > *r.max {
		errs = append(errs, field.Invalid(path.Child("prefixLength", "min"), *r.min, "must not be greater than max"))
	}
	if r.iface != "" && !filteredInterface.MatchString(r.iface) {
		errs = append(errs, field.Invalid(path.Child("interface"), r.iface, "must be the name of an interface, for example eth0 or eth*"))
	}
	if len(r.operations) > 0 && r.action != v3.Accept {
		errs = append(errs, field.Forbidden(path.Child("operations"), "go with action Accept only: a rejected route is not changed"))
	}
	for i, o := range r.operations {
		set := 0
		for _, there := range []bool{o.AddCommunity != nil, o.PrependASPath != nil, o.SetPriority != nil} {
			if there {
				set++
			}
		}
		if set != 1 {
			errs = append(errs, field.Invalid(path.Child("operations").Index(i), set,
				"must have exactly one of addCommunity, prependASPath and setPriority: write an entry for each"))
		}
	}
	return errs
}
