package rule

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
)

var actions = []v3.Action{v3.Allow, v3.Deny, v3.Log, v3.Pass}

// mostWrong is the number of errors after which the check of a list of networks ends.
const mostWrong = 20

// mostShown is the number of octets of a selector that an error shows. Errors appear in logs, conditions and events.
const mostShown = 1024

const (
	mostICMPType = 254 // the kernel takes 255 for any
	mostICMPCode = 255
)

// Unusable returns an error for each part of a rule that has no meaning. A rule with such a part cannot be enforced as
// it is written. namespaced is set if the rule's policy is in a namespace; then a Service needs no namespace.
func Unusable(path *field.Path, r *v3.Rule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(actions, r.Action) {
		errs = append(errs, field.NotSupported(path.Child("action"), r.Action, actions))
	}
	if v := r.IPVersion; v != nil && *v != 4 && *v != 6 {
		errs = append(errs, field.NotSupported(path.Child("ipVersion"), *v, []string{"4", "6"}))
	}
	protocol, bad := protocolOf(path.Child("protocol"), r.Protocol)
	errs = append(errs, bad...)
	_, bad = protocolOf(path.Child("notProtocol"), r.NotProtocol)
	errs = append(errs, bad...)
	errs = append(errs, icmp(path.Child("icmp"), r.ICMP, protocol)...)
	errs = append(errs, icmp(path.Child("notICMP"), r.NotICMP, protocol)...)
	for _, end := range []struct {
		name string
		*v3.EntityRule
	}{{"source", &r.Source}, {"destination", &r.Destination}} {
		at := path.Child(end.name)
		errs = append(errs, entity(at, end.EntityRule, namespaced)...)
		errs = append(errs, ports(at.Child("ports"), end.Ports, protocol)...)
		errs = append(errs, ports(at.Child("notPorts"), end.NotPorts, protocol)...)
	}
	return errs
}

// protocolOf returns the number of a protocol. It returns 0 if the protocol is absent or cannot be parsed.
func protocolOf(path *field.Path, p *intstr.IntOrString) (uint8, field.ErrorList) {
	if p == nil {
		return 0, nil
	}
	number, err := ParseProtocol(*p)
	if err != nil {
		return 0, field.ErrorList{field.Invalid(path, p.String(), err.Error())}
	}
	return number, nil
}

func icmp(path *field.Path, f *v3.ICMPFields, protocol uint8) field.ErrorList {
	if f == nil {
		return nil
	}
	var errs field.ErrorList
	if protocol != ICMP && protocol != ICMPv6 {
		errs = append(errs, field.Forbidden(path, "needs protocol: ICMP or protocol: ICMPv6"))
	}
	if f.Type != nil && (*f.Type < 0 || *f.Type > mostICMPType) {
		errs = append(errs, field.Invalid(path.Child("type"), *f.Type, "must be 0 to 254"))
	}
	if f.Code != nil && (*f.Code < 0 || *f.Code > mostICMPCode) {
		errs = append(errs, field.Invalid(path.Child("code"), *f.Code, "must be 0 to 255"))
	}
	if f.Code != nil && f.Type == nil {
		errs = append(errs, field.Required(path.Child("type"), "is needed with code"))
	}
	return errs
}

func ports(path *field.Path, list []intstr.IntOrString, protocol uint8) field.ErrorList {
	if len(list) == 0 {
		return nil
	}
	var errs field.ErrorList
	if !HasPorts(protocol) {
		errs = append(errs, field.Forbidden(path, "needs protocol: TCP, UDP or SCTP in the rule"))
	}
	for i, p := range list {
		if _, err := ParsePort(p); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), p.String(), err.Error()))
		}
	}
	return errs
}

func entity(path *field.Path, e *v3.EntityRule, namespaced bool) field.ErrorList {
	errs := append(nets(path.Child("nets"), e.Nets), nets(path.Child("notNets"), e.NotNets)...)
	errs = append(errs, Selector(path.Child("selector"), e.Selector)...)
	if strings.Contains(e.Selector, "global(") {
		errs = append(errs, field.Invalid(path.Child("selector"), e.Selector, "cannot use global(): write "+
			"namespaceSelector: global()"))
	}
	errs = append(errs, Selector(path.Child("notSelector"), e.NotSelector)...)
	errs = append(errs, Selector(path.Child("namespaceSelector"), e.NamespaceSelector)...)
	if e.ServiceAccounts != nil {
		errs = append(errs, Selector(path.Child("serviceAccounts", "selector"), e.ServiceAccounts.Selector)...)
	}
	if s := e.Services; s != nil && s.Name == "" {
		errs = append(errs, field.Required(path.Child("services", "name"), "is needed: the name of the Service"))
	}
	if s := e.Services; s != nil && s.Namespace == "" && !namespaced {
		errs = append(errs, field.Required(path.Child("services", "namespace"), "is needed in a policy of all "+
			"namespaces: that of the Service"))
	}
	return errs
}

func nets(path *field.Path, list []string) field.ErrorList {
	var errs field.ErrorList
	for i, net := range list {
		if len(errs) >= mostWrong {
			break
		}
		if _, err := ParseNet(net); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), net, err.Error()))
		}
	}
	return errs
}

// Selector returns an error that says where the syntax of a selector is wrong.
func Selector(path *field.Path, text string) field.ErrorList {
	if _, err := selector.Parse(text); err != nil {
		if len(text) > mostShown {
			text = strings.ToValidUTF8(text[:mostShown], "") + "…"
		}
		return field.ErrorList{field.Invalid(path, text, err.Error())}
	}
	return nil
}
