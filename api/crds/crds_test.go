package crds_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/test/apiserver"
)

const objects = `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: peer}
spec: {peerIP: 192.168.1.1, asNumber: 64512, node: n1}
---
apiVersion: projectcalico.org/v3
kind: BlockAffinity
metadata: {name: n1-10-244-0-0-26}
spec: {cidr: 10.244.0.0/26, node: n1, state: confirmed, deleted: false, type: host}
---
apiVersion: projectcalico.org/v3
kind: ClusterInformation
metadata: {name: default}
spec: {calicoVersion: v3.31.0, datastoreReady: true, clusterType: k8s}
---
apiVersion: projectcalico.org/v3
kind: IPAMConfiguration
metadata: {name: default}
spec: {maxBlocksPerHost: 4}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {}
---
apiVersion: projectcalico.org/v3
kind: IPAMBlock
metadata: {name: 10-244-0-0-30}
spec: {cidr: 10.244.0.0/30, affinity: "host:n1", strictAffinity: false, allocations: [0, null, null, null], attributes: [{}], unallocated: [1, 2, 3]}
`

// TestVerdicts sends manifests as kubectl sends them.
func TestVerdicts(t *testing.T) {
	server := apiserver.Start(t)
	client, err := rest.HTTPClientFor(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range validatetest.Accepted() {
		if code, message := post(t, client, server.Config.Host, m); code != http.StatusCreated {
			t.Errorf("%s: refused: %s", m, message)
		}
	}
	for _, m := range validatetest.Refused() {
		code, message := post(t, client, server.Config.Host, m)
		switch {
		case m.Server == "" && code != http.StatusCreated:
			t.Errorf("%s: refused, which the library should do alone: %s", m, message)
		case m.Server != "" && (code == http.StatusCreated || !strings.Contains(message, m.Server)):
			t.Errorf("%s:\n got %d %s\nwant %s", m, code, message, m.Server)
		}
	}
}

// post makes the object of a manifest without keeping it.
func post(t *testing.T, client *http.Client, host string, m validatetest.Manifest) (code int, message string) {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(m.YAML))
	if err != nil {
		t.Fatal(err)
	}
	plural, _ := apimeta.UnsafeGuessKindToResource(m.GroupVersionKind())
	url := fmt.Sprintf("%s/apis/%s/%s?dryRun=All&fieldValidation=Strict", host, m.APIVersion, plural.Resource)
	answer, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var status metav1.Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, status.Message
}

// TestKubectl reads objects by every name that kubectl takes, with the columns that users know.
func TestKubectl(t *testing.T) {
	server := apiserver.Start(t)
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), server.Kubectl, append([]string{"--kubeconfig=" + server.Kubeconfig}, args...)...)
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
		{"bgppeers bgppeer", "NAME NODE SELECTOR NODE LOCAL ASN PEER SELECTOR PEER IP PEER ASN", "peer n1 192.168.1.1 64512"},
		{"blockaffinities affinity affinities", "NAME CIDR NODE TYPE", "n1-10-244-0-0-26 10.244.0.0/26 n1 host"},
		{"clusterinformations clusterinfo clusterinfos", "NAME VERSION READY TYPES", "default v3.31.0 true k8s"},
		{"ipamconfigurations ipamconfig ipamconfigs", "NAME STRICTAFFINITY MAXBLOCKSPERHOST AUTOALLOCATEBLOCKS", "default false 4 true"},
		{"bgpconfigurations bgpconfig bgpconfigs", "NAME AGE", "default"},
		{"felixconfigurations felixconfiguration", "NAME AGE", "default"},
		{"ipamblocks ipamblock", "NAME CIDR AFFINITY CLAIMTIME", "10-244-0-0-30 10.244.0.0/30 host:n1"},
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
	if got := kubectl("", "get", "ippool", "pool", "-o=jsonpath={.spec.nodeSelector} {.spec.assignmentMode}"); got != "all() Automatic" {
		t.Errorf("defaults of a pool are %q", got)
	}
	for _, patch := range []string{`{"spec":{"cidr":"10.245.0.0/16"}}`, `{"spec":{"blockSize":27}}`} {
		out, err := exec.CommandContext(t.Context(), server.Kubectl, "--kubeconfig="+server.Kubeconfig,
			"patch", "ippool", "pool", "--type=merge", "--patch="+patch).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "cannot be changed: make another pool, move the pods and delete this one") {
			t.Errorf("patch %s: %v %s", patch, err, out)
		}
	}
	if got := kubectl("", "explain", "ippool.spec.vxlanMode"); !strings.Contains(got, "VXLAN carries packets between nodes") {
		t.Errorf("kubectl explain gives\n%s", got)
	}
}

func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }
