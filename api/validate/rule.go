package validate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// oneRule returns an error for each part of a rule that has no meaning or contradicts another part.
func oneRule(path *field.Path, r *v3.Rule, namespaced bool) field.ErrorList {
	errs := rule.Unusable(path, r, namespaced)
	errs = append(errs, families(path, r)...)
	errs = append(errs, http(path, r)...)
	errs = append(errs, end(path.Child("source"), &r.Source)...)
	errs = append(errs, end(path.Child("destination"), &r.Destination)...)
	if r.Metadata != nil {
		errs = append(errs, apivalidation.ValidateAnnotations(r.Metadata.Annotations,
			path.Child("metadata", "annotations"))...)
	}
	return errs
}

// families checks that the ipVersion of a rule and its networks do not contradict each other.
func families(path *field.Path, r *v3.Rule) field.ErrorList {
	var errs field.ErrorList
	var seen *field.Path // where the first network was
	six := false
	for _, list := range []struct {
		path *field.Path
		nets []string
	}{{path.Child("source", "nets"), r.Source.Nets}, {path.Child("destination", "nets"), r.Destination.Nets}} {
		four, both := familiesOf(list.nets)
		switch {
		case both || len(list.nets) == 0:
		case r.IPVersion != nil && four != (*r.IPVersion == 4):
			errs = append(errs, field.Invalid(list.path, list.nets, fmt.Sprintf("none is of ipVersion %d: the rule "+
				"would match nothing", *r.IPVersion)))
		case seen == nil:
			seen, six = list.path, !four
		case six == four:
			errs = append(errs, field.Invalid(list.path, list.nets, fmt.Sprintf("are of another IP version than %s: "+
				"the rule would match nothing", seen)))
		}
	}
	return errs
}

// familiesOf reports whether networks are IPv4. both is set if there are networks of both versions, or one that cannot
// be parsed, which is reported elsewhere.
func familiesOf(nets []string) (four, both bool) {
	var six bool
	for _, text := range nets {
		net, err := rule.ParseNet(text)
		if err != nil {
			return false, true
		}
		four = four || net.Addr().Is4()
		six = six || net.Addr().Is6()
	}
	return four, four && six
}

func end(path *field.Path, e *v3.EntityRule) field.ErrorList {
	errs := append(strict(path.Child("nets"), e.Nets), strict(path.Child("notNets"), e.NotNets)...)
	if text := strings.Join(strings.Fields(e.NamespaceSelector), ""); strings.Contains(text, "global(") &&
		text != "global()" {
		errs = append(errs, field.Invalid(path.Child("namespaceSelector"), e.NamespaceSelector,
			"global() stands alone: make a rule for it and one for the namespaces"))
	}
	return errs
}

// strict finds networks with bits set beyond their prefix length.
func strict(path *field.Path, nets []string) field.ErrorList {
	var errs field.ErrorList
	for i, text := range nets {
		if net, err := netip.ParsePrefix(text); err == nil && net != net.Masked() {
			errs = append(errs, field.Invalid(path.Index(i), text, fmt.Sprintf("has bits set beyond its prefix "+
				"length: write %s", net.Masked())))
		}
	}
	return errs
}

func http(path *field.Path, r *v3.Rule) field.ErrorList {
	if r.HTTP == nil {
		return nil
	}
	var errs field.ErrorList
	for i, method := range r.HTTP.Methods {
		if slices.Contains(r.HTTP.Methods[:i], method) {
			errs = append(errs, field.Duplicate(path.Child("http", "methods").Index(i), method))
		}
	}
	for i, p := range r.HTTP.Paths {
		at := path.Child("http", "paths").Index(i)
		text := p.Exact + p.Prefix
		switch {
		case (p.Exact == "") == (p.Prefix == ""):
			errs = append(errs, field.Invalid(at, text, "must have one of exact and prefix"))
		case !strings.HasPrefix(text, "/") || strings.ContainsAny(text, "? #"):
			errs = append(errs, field.Invalid(at, text, "must be the path of a URL, for example /shop/cart"))
		}
	}
	return errs
}
