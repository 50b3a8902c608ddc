package wire

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFeatureNames(t *testing.T) {
	if len(AllFeatures.Names()) != len(featureNames) || ParseFeatures(AllFeatures.Names()) != AllFeatures {
		t.Errorf("%v are not all", AllFeatures.Names())
	}
	if got := ParseFeatures([]string{"of a later release", "set-delta"}); got != FeatureSetDelta {
		t.Errorf("got %v", got.Names())
	}
}

// TestRuleFieldsOfLaterReleasesNameTheirFeature: a field of a rule that a node without features would pass over has a
// tag. What a node passed over of the rules of BGP would announce or accept routes; protocol version 1 has all of them,
// so that Downgrade has nothing to do there. A field with a tag needs a form that closes: a rule without a condition
// that is not known may only reject, and one without a change of a route must reject.
func TestRuleFieldsOfLaterReleasesNameTheirFeature(t *testing.T) {
	first := map[reflect.Type][]string{ // what protocol version 1 has without features, by CBOR key
		reflect.TypeFor[Rule]():      {"1", "2", "3", "4", "5", "6", "7"},
		reflect.TypeFor[Match]():     {"1", "2", "3", "4", "5", "6", "7", "8"},
		reflect.TypeFor[ICMP]():      {"1", "2", "3"},
		reflect.TypeFor[PortRange](): {"1", "2"},
		reflect.TypeFor[BGP]():       {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"},
		reflect.TypeFor[BGPPeer](): {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
			"16", "17",
			"18"}, // which only describes
		reflect.TypeFor[BGPRule](): {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"},
	}
	for typ, keys := range first {
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
			if slices.Contains(keys, key) == (f.Tag.Get("feature") != "") {
				t.Errorf("%s.%s: key %s, feature %q", typ.Name(), f.Name, key, f.Tag.Get("feature"))
			}
		}
	}
}

// TestClosing: what a field of a rule needs closes, what only saves octets does not.
func TestClosing(t *testing.T) {
	if got := Closing(); got&(FeatureNotICMP|FeatureHostEndpoints) != FeatureNotICMP|FeatureHostEndpoints ||
		got&(FeatureDeflate|FeatureSetDelta|FeatureSetPieces|FeaturePing|FeatureProfiles) != 0 {
		t.Errorf("got %v", got.Names())
	}
}

func TestDowngradeClosesAndNeverOpens(t *testing.T) {
	no := &ICMP{Type: 8}
	plain := Rule{Action: Allow, Protocol: 6}
	p := &Policy{Name: "p", Tier: "t", Ingress: []Rule{{Action: Allow, NotICMP: no}, {Action: Log, NotICMP: no}, plain,
		{Action: Deny, Protocol: 1, NotICMP: no}},
		Egress: []Rule{{Action: Pass, Family: 4, NotICMP: no}}}
	want := &Policy{Name: "p", Tier: "t", Ingress: []Rule{plain, {Action: Deny, Protocol: 1}},
		Egress: []Rule{{Action: Deny, Family: 4}}}
	if diff := cmp.Diff(Object(want), Downgrade(p, FeatureNotICMP)); diff != "" {
		t.Errorf("without not-icmp (-want +got):\n%s", diff)
	}
	if Downgrade(p, AllFeatures&^FeatureNotICMP) != Object(p) || p.Ingress[3].NotICMP == nil {
		t.Error("a node that understands the policy does not get it as it is")
	}
	e := &Endpoint{Namespace: "a", Pod: "b", Tiers: []Tier{{Name: "default", Ingress: []string{"p"},
		DefaultAction: Deny}}, Profiles: []string{"kns.a"}}
	wantEndpoint := &Endpoint{Namespace: "a", Pod: "b", Tiers: []Tier{e.Tiers[0],
		{Name: "~profiles", Ingress: []string{"kns.a"}, Egress: []string{"kns.a"}, DefaultAction: Deny}}}
	if diff := cmp.Diff(Object(wantEndpoint), Downgrade(e, FeatureProfiles)); diff != "" {
		t.Errorf("without profiles (-want +got):\n%s", diff)
	}
	if got := Downgrade(&HostEndpoint{Name: "h"}, FeatureHostEndpoints); got != nil {
		t.Errorf("a host endpoint becomes %v", got)
	}
}
