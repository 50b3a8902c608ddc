package cniserver

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestParseConfigRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`:                                 "cannot be read",
		`{"ipam":{"type":"host-local"}}`:     `ipam.type "host-local"`,
		`{"mtu":10}`:                         `mtu "10"`,
		`{"ipam":{"assign_ipv4":"perhaps"}}`: "must be true or false",

		`{"dataplane_options":{"type":"grpc"}}`: "dataplane_options",
	} {
		if _, err := parseConfig([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", raw, err, want)
		}
	}
}

func TestParseArgs(t *testing.T) {
	got, err := parseArgs("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0.x;" +
		"K8S_POD_UID=1-2;K8S_POD_INFRA_CONTAINER_ID=c")
	if want := (podArgs{"shop", "web-0.x", "1-2"}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for args, want := range map[string]string{
		"":                                       `K8S_POD_NAMESPACE=""`,
		"K8S_POD_NAMESPACE=shop":                 `K8S_POD_NAME=""`,
		"K8S_POD_NAMESPACE=a/b;K8S_POD_NAME=web": `K8S_POD_NAMESPACE="a/b"`,
		"K8S_POD_NAMESPACE":                      "KEY=VALUE",
	} {
		if _, err := parseArgs(args); codeOf(err) != protocol.CodeInvalidEnvironment ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", args, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", `{"ipam":{"assign_ipv6":"true"},"mtu":1500}`)
	f.Fuzz(func(t *testing.T, args, config string) {
		if pod, err := parseArgs(args); err == nil && (pod.Pod == "" ||
			strings.ContainsAny(pod.Namespace+pod.Pod, "/ ;=")) {
			t.Errorf("accepted %+v", pod)
		}
		if c, err := parseConfig([]byte(config)); (c == nil) == (err == nil) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

func TestAddressRequest(t *testing.T) {
	pool4 := ipam.Pool{Name: "four", CIDR: netip.MustParsePrefix("10.0.0.0/16")}
	pool6 := ipam.Pool{Name: "six", CIDR: netip.MustParsePrefix("fd00::/64")}
	manual := ipam.Pool{Name: "manual", CIDR: netip.MustParsePrefix("10.1.0.0/16"), Manual: true}
	tunnels := ipam.Pool{Name: "tunnels", CIDR: netip.MustParsePrefix("fd01::/64"),
		AllowedUses: []ipam.Use{ipam.Tunnel}}
	dual := &wire.Host{IPv4: netip.MustParsePrefix("172.30.0.1/24"), IPv6: netip.MustParsePrefix("fd02::1/64")}
	tests := []struct {
		name        string
		config      string
		annotations map[string]string
		state       State
		want        ipam.Request
		err         string
	}{
		{name: "IPv4 pool", state: State{Pools: []ipam.Pool{pool4}, Host: dual},
			want: ipam.Request{Families: []ipam.Family{4}}},
		{name: "both, and a node with both", state: State{Pools: []ipam.Pool{pool6, pool4}, Host: dual},
			want: ipam.Request{Families: []ipam.Family{4, 6}}},
		{name: "both, and a node without IPv6", state: State{Pools: []ipam.Pool{pool4, pool6},
			Host: &wire.Host{IPv4: dual.IPv4}}, want: ipam.Request{Families: []ipam.Family{4}}},
		{name: "both, and Felix programs no IPv6", state: State{Pools: []ipam.Pool{pool4, pool6}, Host: dual,
			NoIPv6: true}, want: ipam.Request{Families: []ipam.Family{4}}},
		{name: "IPv6 by configuration, and Felix programs none",
			config: `{"ipam":{"type":"calico-ipam","assign_ipv6":true}}`,
			state:  State{Pools: []ipam.Pool{pool4, pool6}, Host: dual, NoIPv6: true}, err: "programs no IPv6"},
		{name: "IPv6 by annotation, and Felix programs none",
			annotations: map[string]string{wire.AnnotationAddrs: `["fd00::7"]`},
			state:       State{Pools: []ipam.Pool{pool4, pool6}, Host: dual, NoIPv6: true}, err: "programs no IPv6"},
		{name: "IPv6 alone", state: State{Pools: []ipam.Pool{pool6}, Host: dual},
			want: ipam.Request{Families: []ipam.Family{6}}},
		{name: "a pool for tunnels is none for pods", state: State{Pools: []ipam.Pool{pool4, tunnels}, Host: dual},
			want: ipam.Request{Families: []ipam.Family{4}}},
		{name: "no pool", want: ipam.Request{Families: []ipam.Family{4}}},
		{name: "by configuration", config: `{"ipam":{"type":"calico-ipam","assign_ipv4":"false","assign_ipv6":true}}`,
			state: State{Pools: []ipam.Pool{pool4, pool6}}, want: ipam.Request{Families: []ipam.Family{6}}},
		{name: "pools by annotation, name or CIDR",
			annotations: map[string]string{wire.AnnotationPool4: `["manual","10.0.0.0/16"]`},
			state:       State{Pools: []ipam.Pool{pool4, manual, pool6}, Host: dual},
			want:        ipam.Request{Families: []ipam.Family{4, 6}, Pools: []string{"four", "manual", "six"}}},
		{name: "pools by configuration", config: `{"ipam":{"ipv4_pools":["manual"]}}`,
			state: State{Pools: []ipam.Pool{pool4, manual}},
			want:  ipam.Request{Families: []ipam.Family{4}, Pools: []string{"manual"}}},
		{name: "unknown pool", annotations: map[string]string{wire.AnnotationPool4: `["x"]`},
			state: State{Pools: []ipam.Pool{pool4}}, err: "no IPv4 pool"},
		{name: "fixed addresses", annotations: map[string]string{wire.AnnotationAddrs: `["10.0.0.7","fd00::7"]`},
			want: ipam.Request{Families: []ipam.Family{4, 6},
				Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")}}},
		{name: "two fixed of one family",
			annotations: map[string]string{wire.AnnotationAddrs: `["10.0.0.7","10.0.0.8"]`}, err: "at most one IPv4"},
		{name: "fixed, no address", annotations: map[string]string{wire.AnnotationAddrs: `["10.0.0"]`},
			err: wire.AnnotationAddrs},
		{name: "not a list", annotations: map[string]string{wire.AnnotationPool6: `x`},
			err: wire.AnnotationPool6 + `: "x" is invalid: must be a JSON list`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.config == "" {
				tt.config = "{}"
			}
			c, err := parseConfig([]byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			got, err := addressRequest(c, tt.annotations, tt.state)
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want an error with %q", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			default:
				exported := cmpopts.IgnoreUnexported(ipam.Request{})
				if diff := cmp.Diff(tt.want, got, exported, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("request differs (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestResultOfEachVersion(t *testing.T) {
	r := record{IfName: "eth0", NetNS: "/run/netns/x", HostIface: "cali0", MAC: "02:00:00:00:00:01", MTU: 1450,
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}}
	for version, differs := range map[string]struct{ four, six, mtu string }{
		"0.3.1": {four: `"version":"4",`, six: `"version":"6",`},
		"0.4.0": {four: `"version":"4",`, six: `"version":"6",`},
		"1.0.0": {},
		"1.1.0": {mtu: `"mtu":1450,`},
	} {
		c := &config{CNIVersion: version, DNS: json.RawMessage(`{"search":["a"]}`)}
		got, err := encodeResult(c, r)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"cniVersion":"` + version + `","interfaces":[` +
			`{"name":"cali0","mac":"ee:ee:ee:ee:ee:ee"` + strings.TrimSuffix(","+differs.mtu, ",") + `},` +
			`{"name":"eth0","mac":"02:00:00:00:00:01",` + differs.mtu + `"sandbox":"/run/netns/x"}],"ips":[` +
			`{` + differs.four + `"interface":1,"address":"10.0.0.1/32","gateway":"169.254.1.1"},` +
			`{` + differs.six + `"interface":1,"address":"fd00::1/128","gateway":"fe80::ecee:eeff:feee:eeee"}],"routes":[` +
			`{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"::/0","gw":"fe80::ecee:eeff:feee:eeee"}],"dns":{"search":["a"]}}`
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: result differs (-want +got):\n%s", version, diff)
		}
	}
}

func TestRecordSurvivesTheDisk(t *testing.T) {
	n := newNode(t)
	want := record{Network: "k8s-pod-network", ContainerID: strings.Repeat("long", 100), IfName: "eth0",
		Namespace: "shop", Pod: "web", UID: "u",
		NetNS: "/run/netns/x", HostIface: derive.HostInterface("shop", "web"), MAC: "02:00:00:00:00:01", MTU: 1450,
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, State: stateReady}
	if err := n.records.put(want); err != nil {
		t.Fatal(err)
	}
	n.restart(t)
	got, found := n.records.get(want.key())
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(record{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" ||
		!found {
		t.Errorf("record differs (-want +got):\n%s", diff)
	}
	wantWorkload := Workload{Namespace: "shop", Pod: "web", UID: "u", ContainerID: want.ContainerID,
		HostIface: want.HostIface, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addrs: want.Addrs}
	if diff := cmp.Diff(wantWorkload, got.workload(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("workload differs (-want +got):\n%s", diff)
	}
}
