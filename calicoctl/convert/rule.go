package convert

import (
	"crypto/sha1" //nolint:gosec // a name, not a secret
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// rules takes the rules of a direction out of a spec. What they have and v3 does not, stays.
func rules(spec fields, direction string) any {
	var converted []any
	for _, item := range spec.list(direction) {
		content, _ := item.(map[string]any)
		rule := fields(content)
		converted = append(converted, pruned(fields{
			"action":      action(rule.text("action")),
			"protocol":    protocol(rule.take("protocol")),
			"notProtocol": protocol(rule.take("notProtocol")),
			"ipVersion":   rule.take("ipVersion"),
			"icmp":        rule.take("icmp"),
			"notICMP":     rule.take("notICMP"),
			"source":      entity(rule.object("source")),
			"destination": entity(rule.object("destination")),
		}))
	}
	return list(converted)
}

func pruned(f fields) fields {
	f.prune()
	return f
}

// list is nil when it is empty.
func list(items []any) any {
	if len(items) == 0 {
		return nil
	}
	return items
}

// entity converts one end of a rule. Tags are now labels without a value.
func entity(from fields) fields {
	to := fields{}
	for prefix, operator := range map[string]string{"": "&&", "not": "||"} {
		key := func(name string) string {
			if prefix != "" {
				name = capital(name)
			}
			return prefix + name
		}
		var nets []any
		if one := from.text(key("net")); one != "" {
			nets = append(nets, network(one))
		}
		for _, item := range from.list(key("nets")) {
			nets = append(nets, network(fmt.Sprint(item)))
		}
		delete(from, key("nets"))
		to[key("nets")] = list(nets)
		to[key("ports")] = from.take(key("ports"))
		to[key("selector")] = tagged(selector(from.text(key("selector"))), operator, from.text(key("tag")))
	}
	return to
}

// tagged joins a selector and a tag: both must match, or for what must not match, neither may.
func tagged(selector, operator, tag string) string {
	switch {
	case tag == "":
		return selector
	case selector == "":
		return fmt.Sprintf("has(%s)", tag)
	}
	return fmt.Sprintf("(%s) %s has(%s)", selector, operator, tag)
}

// selector gives the labels of Kubernetes' namespaces their names of today.
func selector(text string) string {
	return strings.NewReplacer("calico/k8s_ns", v3.LabelNamespace, "k8s_ns/label/",
		v3.NamespaceLabelPrefix).Replace(text)
}

func action(text string) string {
	switch strings.ToLower(text) {
	case "":
		return string(v3.Allow)
	case "next-tier":
		return string(v3.Pass)
	}
	return capital(text)
}

// capital returns a word with its first letter in upper case and the others in lower case.
func capital(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + strings.ToLower(word[1:])
}

// protocol spells a name as v3 does.
func protocol(value any) any {
	name, ok := value.(string)
	if !ok {
		return value
	}
	return rule.CanonicalProtocol(name)
}

// network is a CIDR without bits beyond its length; what is none stays, for validation to refuse.
func network(text string) string {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked().String()
	}
	return text
}

// withLength is an address of a node with the length of its subnet, which may have been left out.
func withLength(text string) string {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()).String()
	}
	return text
}

// asNumber takes an AS number, which could be written with a dot.
func asNumber(from fields) any {
	text, isText := from["asNumber"].(string)
	if number, err := derive.ParseASNumber(text); isText && err == nil {
		from["asNumber"] = number
	}
	return from.take("asNumber")
}

// The names of Calico 2 that Kubernetes would not have; what is done about them is as in Calico's own upgrade, so that
// references and names that are known elsewhere still fit.
var (
	notInNames = regexp.MustCompile(`[^-.a-z0-9]+`)
	dots       = regexp.MustCompile(`[.-]*\.[.-]*`)
)

// plainName makes a name that Kubernetes accepts.
func plainName(text string) string {
	text = strings.ReplaceAll(strings.ToLower(text), "/", ".")
	text = dots.ReplaceAllString(notInNames.ReplaceAllString(text, "-"), ".")
	return strings.Trim(text, ".-")
}

// uniqueName is plainName, with dots or dashes for them, and with a hash of the original behind it if that was another.
func uniqueName(text string, withDots bool) string {
	plain := plainName(text)
	if !withDots {
		plain = strings.ReplaceAll(plain, ".", "-")
	}
	if plain == text {
		return text
	}
	sum := sha1.Sum([]byte(text)) //nolint:gosec // a name, not a secret
	return plain + "-" + hex.EncodeToString(sum[:])[:8]
}

func profileName(text string) string {
	if namespace, ok := strings.CutPrefix(text, "k8s_ns."); ok {
		text = v3.NamespaceProfilePrefix + namespace
	}
	return uniqueName(text, true)
}

func profileNames(value any) any {
	items, _ := value.([]any)
	var names []any
	for _, item := range items {
		names = append(names, profileName(fmt.Sprint(item)))
	}
	return list(names)
}

// addressName is an address as a name: 192-0-2-1, or all eight groups of IPv6.
func addressName(text string) string {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return plainName(text)
	case addr.Is4():
		return strings.ReplaceAll(addr.String(), ".", "-")
	}
	return strings.ReplaceAll(addr.StringExpanded(), ":", "-")
}
