package wire

import (
	"fmt"
	"reflect"
	"slices"
)

// Features are what a node understands beyond protocol version 1. On the wire they are a list of names, of
// which unknown ones are passed over.
type Features uint32

// The features. A name is never used again for something else.
const (
	FeatureDeflate       Features = 1 << iota // "deflate": frames that hold other frames, compressed
	FeatureSetDelta                           // "set-delta": changes of IP sets
	FeaturePing                               // "ping": it answers pings
	FeatureHostEndpoints                      // "host-endpoints": HostEndpoint
	FeatureProfiles                           // "profiles": Endpoint.Profiles
	FeatureNotICMP                            // "not-icmp": Rule.NotICMP
	FeatureSetPieces                          // "set-pieces": SetPieces
	FeatureCluster                            // "cluster": Cluster
	FeatureNodeStatus                         // "node-status": StatusRequest
	featureEnd
)

// AllFeatures are what this release understands.
const AllFeatures = featureEnd - 1

var featureNames = []string{"deflate", "set-delta", "ping", "host-endpoints", "profiles", "not-icmp", "set-pieces",
	"cluster",
	"node-status"}

// Names returns the names of the features.
func (f Features) Names() []string {
	var names []string
	for i, name := range featureNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseFeatures is the reverse of Names.
func ParseFeatures(names []string) Features {
	var f Features
	for i, name := range featureNames {
		if slices.Contains(names, name) {
			f |= 1 << i
		}
	}
	return f
}

// ruleField is a field of Rule, or of a Match in it, that only nodes with a feature understand: its tag names the
// feature. It has to be a condition of its own, which makes the rule match less.
type ruleField struct {
	index   []int
	feature Features
}

var ruleFields = taggedFields(reflect.TypeFor[Rule](), nil)

func taggedFields(t reflect.Type, path []int) []ruleField {
	var fields []ruleField
	for i := range t.NumField() {
		f, index := t.Field(i), append(slices.Clone(path), i)
		if name := f.Tag.Get("feature"); name != "" {
			feature := ParseFeatures([]string{name})
			if feature == 0 {
				panic(fmt.Sprintf("wire: field %s has the tag of an unknown feature %q", f.Name, name))
			}
			fields = append(fields, ruleField{index, feature})
		}
		if f.Type == reflect.TypeFor[Match]() {
			fields = append(fields, taggedFields(f.Type, index)...)
		}
	}
	return fields
}

// Needs returns the features without which a node would not understand all of an object.
func Needs(o Object) Features {
	var needs Features
	switch o := o.(type) {
	case *Policy:
		for _, rules := range [][]Rule{o.Ingress, o.Egress} {
			for i := range rules {
				needs |= rules[i].needs()
			}
		}
	case *Endpoint:
		if len(o.Profiles) > 0 {
			needs = FeatureProfiles
		}
	case *HostEndpoint:
		needs = FeatureHostEndpoints
	case *StatusRequest:
		needs = FeatureNodeStatus
	}
	return needs
}

func (r *Rule) needs() Features {
	var needs Features
	v := reflect.ValueOf(r).Elem()
	for _, f := range ruleFields {
		if !v.FieldByIndex(f.index).IsZero() {
			needs |= f.feature
		}
	}
	return needs
}

// Closing returns the features without which a node gets something in a form that closes, or not at all. Without the
// others it gets the same in another form.
func Closing() Features {
	closing := FeatureHostEndpoints
	for _, f := range ruleFields {
		closing |= f.feature
	}
	return closing
}

// Downgrade returns the object in the form for a node that lacks features: where it cannot say the same, one that
// closes and never opens. It gives nil for what such a node can't be told at all.
func Downgrade(o Object, lacks Features) Object {
	if Needs(o)&lacks == 0 {
		return o
	}
	switch o := o.(type) {
	case *Policy:
		p := *o
		p.Ingress, p.Egress = downgradeRules(o.Ingress, lacks), downgradeRules(o.Egress, lacks)
		return &p
	case *Endpoint:
		// The same in other words: the profiles come last and what they leave undecided is denied.
		e := *o
		e.Tiers = append(slices.Clone(o.Tiers), Tier{Name: "~profiles", Ingress: o.Profiles, Egress: o.Profiles,
			DefaultAction: Deny})
		e.Profiles = nil
		return &e
	}
	return nil
}

// downgradeRules leaves out an Allow and a Log that the node would not understand; a Deny or Pass denies
// all that it might have meant.
func downgradeRules(rules []Rule, lacks Features) []Rule {
	var kept []Rule
	for _, r := range rules {
		if r.needs()&lacks != 0 {
			if r.Action != Deny && r.Action != Pass {
				continue
			}
			r.Action = Deny
			v := reflect.ValueOf(&r).Elem()
			for _, f := range ruleFields {
				if f.feature&lacks != 0 {
					v.FieldByIndex(f.index).SetZero()
				}
			}
		}
		kept = append(kept, r)
	}
	return kept
}
