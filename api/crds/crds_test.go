package crds_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/test/apiserver"
)

// objects has one of each kind, with as little as can be but for what has defaults within.
const objects = `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: peer}
spec: {peerIP: 192.168.1.1, asNumber: 64512, node: n1, password: {secretKeyRef: {key: k}}}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: filter}
spec: {exportV4: [{action: Reject}]}
---
apiVersion: projectcalico.org/v3
kind: BlockAffinity
metadata: {name: n1-10-244-0-0-26}
spec: {cidr: 10.244.0.0/26, node: n1, state: confirmed, type: host}
---
apiVersion: projectcalico.org/v3
kind: CalicoNodeStatus
metadata: {name: n1}
spec: {node: n1, classes: [Agent, BGP]}
---
apiVersion: projectcalico.org/v3
kind: ClusterInformation
metadata: {name: default}
spec: {calicoVersion: v3.31.0, datastoreReady: true, clusterType: k8s}
---
apiVersion: projectcalico.org/v3
kind: IPAMConfiguration
metadata: {name: default}
spec: {}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshPassword: {secretKeyRef: {key: k}}}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: gnp}
spec: {order: 5.5}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: gns}
spec: {nets: [198.51.100.0/24]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: hep}
spec: {node: n1, interfaceName: eth0}
---
apiVersion: projectcalico.org/v3
kind: IPAMBlock
metadata: {name: 10-244-0-0-30}
spec: {cidr: 10.244.0.0/30, affinity: "host:n1", strictAffinity: false, allocations: [0, null, null, null], attributes: [{}], unallocated: [1, 2, 3]}
---
apiVersion: projectcalico.org/v3
kind: IPAMHandle
metadata: {name: handle}
spec: {handleID: k8s.web, block: {10.244.0.0/30: 1}}
---
apiVersion: projectcalico.org/v3
kind: IPReservation
metadata: {name: reservation}
spec: {reservedCIDRs: [10.244.0.0/28]}
---
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata: {name: default}
spec: {controllers: {loadBalancer: {}, migration: {}}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: np, namespace: default}
spec: {order: 7}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: ns, namespace: default}
spec: {nets: [fd00::/8]}
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: sgnp}
spec: {order: 1}
---
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: sknp, namespace: default}
spec: {policyTypes: [Ingress]}
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: snp, namespace: default}
spec: {order: 2}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
`

// TestVerdicts sends manifests as kubectl sends them.
func TestVerdicts(t *testing.T) {
	server := apiserver.Start(t)
	client, err := rest.HTTPClientFor(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range validatetest.Accepted() {
		code, message, spec := send(t, client, server.Config.Host, m)
		if code != http.StatusCreated {
			t.Errorf("%s: refused: %s", m, message)
		}
		if diff := cmp.Diff(spec, completed(t, m)); diff != "" {
			t.Errorf("%s: the library's defaults are not the server's (-server +library):\n%s", m, diff)
		}
	}
	var messages strings.Builder
	for _, m := range validatetest.Refused() {
		code, message := post(t, client, server.Config.Host, m)
		fmt.Fprintln(&messages, message)
		switch {
		case m.Server == "" && code != http.StatusCreated:
			t.Errorf("%s: refused, which the library should do alone: %s", m, message)
		case m.Server != "" && (code == http.StatusCreated || !strings.Contains(message, m.Server)):
			t.Errorf("%s:\n got %d %s\nwant %s", m, code, message, m.Server)
		}
	}
	for message, rule := range rules(t) {
		if !strings.Contains(messages.String(), message) {
			t.Errorf("no wrong manifest gets the message %q of the rule %s", message, rule)
		}
	}
	t.Run("mixtures", func(t *testing.T) { agreement(t, client, server.Config.Host) })
}

// rules are those of CEL in our CRDs that judge an object alone, by their messages; of one that is computed it is the
// longest constant part.
func rules(t *testing.T) map[string]string {
	t.Helper()
	messages := map[string]string{}
	var collect func(schema any)
	collect = func(schema any) {
		switch s := schema.(type) {
		case []any:
			for _, v := range s {
				collect(v)
			}
		case map[string]any:
			for _, v := range s {
				collect(v)
			}
			rule, _ := s["rule"].(string)
			message, _ := s["message"].(string)
			for part := range strings.SplitSeq(fmt.Sprint(s["messageExpression"]), "'") {
				if message == "" || s["messageExpression"] != nil && len(part) > len(message) {
					message = part
				}
			}
			if rule != "" && !strings.Contains(rule, "oldSelf") {
				messages[message] = rule
			}
		}
	}
	for _, m := range crds.All() {
		var crd any
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			t.Fatal(err)
		}
		collect(crd)
	}
	return messages
}

// post makes the object of a manifest without keeping it.
func post(t *testing.T, client *http.Client, host string, m validatetest.Manifest) (code int, message string) {
	t.Helper()
	code, message, _ = send(t, client, host, m)
	return code, message
}

// send is post with the spec that the server would keep.
func send(t *testing.T, client *http.Client, host string, m validatetest.Manifest) (code int, message string,
	spec map[string]any) {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(m.YAML))
	if err != nil {
		t.Fatal(err)
	}
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &meta); err != nil {
		t.Fatal(err)
	}
	plural, _ := apimeta.UnsafeGuessKindToResource(m.GroupVersionKind())
	path := plural.Resource
	if meta.Namespace != "" {
		path = "namespaces/" + meta.Namespace + "/" + path
	}
	url := fmt.Sprintf("%s/apis/%s/%s?dryRun=All&fieldValidation=Strict", host, m.APIVersion, path)
	answer, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var said struct {
		Message string
		Spec    map[string]any
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, said.Message, said.Spec
}

// TestKubectl reads objects by every name that kubectl takes, with the columns that users know.
func TestKubectl(t *testing.T) {
	server := apiserver.Start(t)
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), server.Kubectl,
			append([]string{"--kubeconfig=" + server.Kubeconfig}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	kubectl(objects, "create", "-f", "-")
	tests := []struct{ names, header, row string }{
		{"ippools ippool", "NAME CIDR VXLAN IPIP NAT ALLOCATABLE AGE", "pool 10.244.0.0/16 CrossSubnet true"},
		{"bgppeers bgppeer", "NAME NODE SELECTOR NODE LOCAL ASN PEER SELECTOR PEER IP PEER ASN",
			"peer n1 192.168.1.1 64512"},
		{"blockaffinities affinity affinities", "NAME CIDR NODE TYPE", "n1-10-244-0-0-26 10.244.0.0/26 n1 host"},
		{"clusterinformations clusterinfo clusterinfos", "NAME VERSION READY TYPES", "default v3.31.0 true k8s"},
		{"ipamconfigurations ipamconfig ipamconfigs", "NAME STRICTAFFINITY MAXBLOCKSPERHOST AUTOALLOCATEBLOCKS",
			"default false 0 true"},
		{"bgpconfigurations bgpconfig bgpconfigs", "NAME AGE", "default"},
		{"felixconfigurations felixconfiguration", "NAME AGE", "default"},
		{"ipamblocks ipamblock", "NAME CIDR AFFINITY CLAIMTIME", "10-244-0-0-30 10.244.0.0/30 host:n1"},
		{"bgpfilters bgpfilter", "NAME AGE", "filter"},
		{"caliconodestatuses caliconodestatus", "NAME NODE CLASSES", `n1 n1 ["Agent","BGP"]`},
		{"globalnetworkpolicies gnp cgnp", "NAME TIER ORDER AGE", "gnp default 5.5"},
		{"globalnetworksets gns", "NAME AGE", "gns"},
		{"hostendpoints hep heps", "NAME NODE INTERFACE", "hep n1 eth0"},
		{"ipamhandles ipamhandle", "NAME ID", "handle k8s.web"},
		{"ipreservations ipreservation", "NAME AGE", "reservation"},
		{"kubecontrollersconfigurations kcc kccs", "NAME AGE", "default"},
		{"networkpolicies.projectcalico.org cnp caliconetworkpolicy", "NAME TIER ORDER", "np default 7"},
		{"networksets networkset", "NAME AGE", "ns"},
		{"stagedglobalnetworkpolicies sgnp", "NAME TIER ORDER", "sgnp default 1"},
		{"stagedkubernetesnetworkpolicies sknp", "NAME AGE", "sknp"},
		{"stagednetworkpolicies scnp snp", "NAME TIER ORDER", "snp default 2"},
		{"tiers tier", "NAME ORDER DEFAULTACTION STATUS", "security 100 Deny"},
	}
	for _, tt := range tests {
		for name := range strings.FieldsSeq(tt.names) {
			header, row, _ := strings.Cut(kubectl("", "get", name), "\n")
			if got := squeeze(header); got != tt.header {
				t.Errorf("%s: columns are %s, want %s", name, got, tt.header)
			}
			if got := squeeze(row); !strings.HasPrefix(got, tt.row) {
				t.Errorf("%s: row is %s, want %s", name, got, tt.row)
			}
		}
	}
	checkDefaults(t, kubectl("", "get", resources(), "-A", "-o=json"))
	for _, patch := range []string{`{"spec":{"cidr":"10.245.0.0/16"}}`, `{"spec":{"blockSize":27}}`} {
		out, err := exec.CommandContext(t.Context(), server.Kubectl, "--kubeconfig="+server.Kubeconfig,
			"patch", "ippool", "pool", "--type=merge", "--patch="+patch).CombinedOutput()
		if err == nil || !strings.Contains(string(out),
			"cannot be changed: make another pool, move the pods and delete this one") {
			t.Errorf("patch %s: %v %s", patch, err, out)
		}
	}
	if got := kubectl("", "explain", "ippool.spec.vxlanMode"); !strings.Contains(got,
		"VXLAN carries packets between nodes") {
		t.Errorf("kubectl explain gives\n%s", got)
	}
}

// resources are all of ours, as kubectl takes them.
func resources() string {
	var names []string
	for _, m := range crds.All() {
		name := strings.TrimSuffix(strings.TrimPrefix(m.File, "projectcalico.org_"), ".yaml")
		names = append(names, name+".projectcalico.org")
	}
	return strings.Join(names, ",")
}

// checkDefaults finds every default of the field table in stored objects: in each where the field's parent is.
func checkDefaults(t *testing.T, list string) {
	t.Helper()
	var stored struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(list), &stored); err != nil {
		t.Fatal(err)
	}
	kinds, checked := map[any]bool{}, 0
	for _, object := range stored.Items {
		kinds[object["kind"]] = true
	}
	if len(kinds) != len(crds.All()) {
		t.Errorf("there are objects of %d kinds, want all %d", len(kinds), len(crds.All()))
	}
	for key, f := range tableOfFile(t) {
		if f["default"] == "" || strings.HasPrefix(key[1], "status.") {
			continue
		}
		checked++
		found := false
		parent, name := key[1][:strings.LastIndex(key[1], ".")], key[1][strings.LastIndex(key[1], ".")+1:]
		for _, object := range stored.Items {
			within, ok, err := unstructured.NestedMap(object, strings.Split(parent, ".")...)
			if object["kind"] != key[0] || !ok || err != nil {
				continue
			}
			found = true
			if got := text(within[name]); got != f["default"] {
				t.Errorf("%s %s is %s in a new object, want the default %s", key[0], key[1], got, f["default"])
			}
		}
		if !found {
			t.Errorf("%s %s: no object could have the default", key[0], key[1])
		}
	}
	t.Logf("%d defaults come out", checked)
}

func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }
