package rule

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func text(s string) intstr.IntOrString  { return intstr.FromString(s) }
func number(n int32) intstr.IntOrString { return intstr.FromInt32(n) }

func TestParseProtocol(t *testing.T) {
	for p, want := range map[intstr.IntOrString]uint8{
		text("TCP"): 6, text("ICMPv6"): 58, text("UDPLite"): 136, number(47): 47, number(255): 255, text("6"): 6,
		text("tcp"): 0, text(""): 0, number(0): 0, number(256): 0, number(-1): 0, text("TCP "): 0, text("+6"): 0,
	} {
		if got, err := ParseProtocol(p); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v; want %d", p.String(), got, err, want)
		}
	}
}

func TestParsePort(t *testing.T) {
	for p, want := range map[intstr.IntOrString]Port{
		number(80): {First: 80, Last: 80}, text("80"): {First: 80, Last: 80}, text("1:65535"): {First: 1, Last: 65535},
		text("http"): {Name: "http"}, text("8080:8080"): {First: 8080, Last: 8080}, text("80-a"): {Name: "80-a"},
		number(0): {}, number(65536): {}, number(-1): {}, text(""): {}, text("0:80"): {}, text("90:80"): {},
		text("80:"): {}, text(":80"): {},
		text("80:90:100"): {}, text("80-90"): {}, text("HTTP"): {}, text("a:b"): {}, text("8 0"): {},
		text(strings.Repeat("a", 16)): {},
	} {
		if got, err := ParsePort(p); got != want || (err == nil) != (want != Port{}) {
			t.Errorf("%q: got %v, %v; want %v", p.String(), got, err, want)
		}
	}
}

func TestParseNet(t *testing.T) {
	for net, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.0.0.1": "10.0.0.1/32", "10.9.9.9/8": "10.0.0.0/8", "fd00::1": "fd00::1/128",
		"::/0": "::/0",
		"":     "", "10.0.0.0/33": "", "10.0.0": "", "fe80::1%eth0": "", "::ffff:10.0.0.1": "",
		"::ffff:10.0.0.0/104": "",
		"010.0.0.1":           "", "host": "",
	} {
		if got, err := ParseNet(net); err == nil && got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %v, %v; want %q", net, got, err, want)
		}
	}
}

func TestUnusable(t *testing.T) {
	for manifest, want := range map[string]string{
		`{action: Allow}`: "",
		`{action: Pass, protocol: TCP, source: {ports: [80, "90:91", http], nets: [10.0.0.0/8, "fd00::1"], selector: "a == 'b'"}}`: "",
		`{action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}, notICMP: {type: 0}, ipVersion: 4}`:                               "",
		`{action: Allow, destination: {services: {name: web, namespace: shop}}}`:                                                   "",

		`{action: allow}`:                                                   "r.action",
		`{action: Allow, ipVersion: 5}`:                                     "r.ipVersion",
		`{action: Allow, protocol: Carrier}`:                                "r.protocol",
		`{action: Allow, notProtocol: 256}`:                                 "r.notProtocol",
		`{action: Allow, icmp: {type: 8}}`:                                  "r.icmp",
		`{action: Allow, protocol: TCP, notICMP: {type: 8}}`:                "r.notICMP",
		`{action: Allow, protocol: ICMP, icmp: {type: 255}}`:                "r.icmp.type",
		`{action: Allow, protocol: ICMP, icmp: {code: 256, type: 1}}`:       "r.icmp.code",
		`{action: Allow, protocol: ICMPv6, icmp: {code: 1}}`:                "r.icmp.type",
		`{action: Allow, source: {ports: [80]}}`:                            "r.source.ports",
		`{action: Allow, protocol: 47, destination: {notPorts: [80]}}`:      "r.destination.notPorts",
		`{action: Allow, protocol: UDP, destination: {ports: [53, "9:1"]}}`: "r.destination.ports[1]",
		`{action: Allow, source: {nets: [10.0.0.0/8, nonsense]}}`:           "r.source.nets[1]",
		`{action: Allow, source: {notNets: [10.0.0.0/33]}}`:                 "r.source.notNets[0]",
		`{action: Allow, source: {selector: "a ="}}`:                        "r.source.selector",
		`{action: Allow, source: {selector: "global() || a == 'b'"}}`:       "r.source.selector",
		`{action: Allow, destination: {notSelector: "a ="}}`:                "r.destination.notSelector",
		`{action: Allow, source: {namespaceSelector: "a ="}}`:               "r.source.namespaceSelector",
		`{action: Allow, source: {serviceAccounts: {selector: "a ="}}}`:     "r.source.serviceAccounts.selector",
		`{action: Allow, source: {services: {namespace: shop}}}`:            "r.source.services.name",
		`{action: Allow, source: {services: {name: web}}}`:                  "r.source.services.namespace",
	} {
		var r v3.Rule
		if err := yaml.UnmarshalStrict([]byte(manifest), &r); err != nil {
			t.Fatal(err)
		}
		errs := Unusable(field.NewPath("r"), &r, false)
		if want == "" && len(errs) > 0 || want != "" && (len(errs) != 1 || errs[0].Field != want) {
			t.Errorf("%s: %v, want one error of %q", manifest, errs, want)
		}
	}
	r := v3.Rule{Action: v3.Allow, Source: v3.EntityRule{Services: &v3.ServiceMatch{Name: "web"}}}
	if errs := Unusable(nil, &r, true); len(errs) > 0 {
		t.Errorf("a Service of the policy's own namespace: %v", errs)
	}
}

func FuzzUnusable(f *testing.F) {
	f.Add([]byte(`{"action":"Deny","protocol":6,"source":{"ports":["80:90","http"],"nets":["10.0.0.0/8"],"services":{}},"icmp":{"code":1}}`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		var r v3.Rule
		if json.Unmarshal(body, &r) == nil {
			Unusable(field.NewPath("rule"), &r, len(body)%2 == 0)
		}
	})
}
