package calicoctl

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
)

var update = flag.Bool("update", false, "write the golden files")

// once is what is different in every run.
var once = regexp.MustCompile(`(uid|creationTimestamp|resourceVersion)("?): .*`)

const everything = `
apiVersion: v1
kind: List
items:
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: a, labels: {rack: "1"}}, spec: {cidr: 10.1.0.0/16, natOutgoing: true, vxlanMode: Always}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: b}, spec: {cidr: "fd00::/64", nodeSelector: has(gpu)}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor}, spec: {peerIP: 192.0.2.1, asNumber: 65000}}
- {apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {asNumber: 64600, logSeverityScreen: Info}}
- {apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {logSeverityScreen: Info}}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: last}, spec: {}}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: second}, spec: {order: 20}}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: third}, spec: {order: 1000000.5}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: deny}, spec: {order: 10, selector: all(), types: [Ingress]}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: web, namespace: shop}, spec: {selector: app == 'web', ingress: [{action: Allow}]}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: own}, spec: {selector: all()}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: nets}, spec: {nets: [192.0.2.0/24, 198.51.100.0/24]}}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: eth}, spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.7]}}
`

// furnish fills the datastore with some of everything, Kubernetes' objects as well.
func (b *bench) furnish() {
	b.t.Helper()
	if _, errs, code := b.run("apply -f -", everything); code != 0 {
		b.t.Fatal(errs)
	}
	for kind, objects := range map[datastore.Kind][]datastore.Object{
		datastore.Namespaces: {&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop",
			Labels: map[string]string{"team": "red"}}}},
		datastore.ServiceAccounts: {&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
			Name: "front"}}},
		datastore.Nodes: {
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
				Labels:      map[string]string{"kubernetes.io/hostname": "n1"},
				Annotations: map[string]string{"projectcalico.org/IPv4Address": "192.0.2.7/24"}}},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2",
				Annotations: map[string]string{"projectcalico.org/ASNumber": "65001"}}},
		},
		datastore.Pods: {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0"},
			Spec:   corev1.PodSpec{NodeName: "n1", ServiceAccountName: "front"},
			Status: corev1.PodStatus{PodIP: "10.1.0.5"}}},
	} {
		for _, object := range objects {
			if _, err := b.store.Create(b.t.Context(), kind, object); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// Every form of output, of the kinds that differ in theirs.
func TestGoldenOutput(t *testing.T) {
	b := newBench(t)
	b.furnish()
	template := filepath.Join(t.TempDir(), "template")
	if err := os.WriteFile(template, []byte("{{range .}}{{.ObjectMeta.Name}} in {{.Spec.CIDR}}\n{{end}}"),
		0o600); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, line := range []string{
		"get ippools", "get ippools -o ps", "get ipp -o wide", "get ippool a -o yaml", "get ippool b -o json",
		"get ippools -o yaml --export",
		"get ippools -o json --export", "get pool a b -o name", "get ippools --selector rack=1 -o name",
		"get ippools --selector !rack -o name",
		"get ippools -o custom-columns=name,SELECTOR",
		"get ippools -o custom-columns=NAME,RACK:.metadata.labels.rack,NAT:{.spec.natOutgoing}",
		"get ippools -o go-template={{range~.}}{{range~.Items}}{{.Name}}={{.Spec.CIDR}}{{\"\\n\"}}{{end}}{{end}}",
		"get nodes -o go-template={{range~.}}{{range~.Items}}{{.Name}}~{{join~.Spec.OrchRefs~\",\"}}~" +
			"{{config~\"asnumber\"}}{{\"\\n\"}}{{end}}{{end}}",
		"get ippool a b -o go-template-file=" + template, "get bgpPeer", "get bgpconfig", "get felixconfig default",
		"get tiers",
		"get gnp", "get globalnetworkpolicies -o wide", "get networkpolicies", "get np -A",
		"get policy web -n shop -o wide", "get gns -o wide",
		"get heps -o wide", "get nodes", "get nodes -o wide", "get node n1 -o yaml", "get profiles",
		"get profile kns.shop -o wide",
		"get wep -A", "get workloadendpoints -n shop -o wide",
		"get workloadendpoint n1-k8s-web--0-eth0 -n shop -o yaml", "get -f -",
		"get -f - -o yaml --export",
	} {
		input := peer + pool("a", "cidr: 10.1.0.0/16") + pool("b", "cidr: 'fd00::/64'")
		out, errs, code := b.run(line, input)
		if code != 0 {
			t.Errorf("calicoctl %s: exit code %d: %s", line, code, errs)
		}
		got.WriteString("$ calicoctl " + strings.ReplaceAll(strings.ReplaceAll(line, template, "FILE"), "~", " ") +
			"\n" + once.ReplaceAllString(out, "$1$2: …") + "\n")
	}
	golden(t, "testdata/output.txt", got.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", file, diff)
	}
}

// What --export gives is applied to another cluster as it is.
func TestExportedResourcesCanBeAppliedElsewhere(t *testing.T) {
	b, other := newBench(t), newBench(t)
	b.furnish()
	for _, kind := range datastore.CalicoKinds() {
		line := "get " + kind.Plural + " -o yaml --export"
		if kind.Namespaced {
			line += " -A"
		}
		out, errs, code := b.run(line, "")
		if code != 0 {
			t.Fatalf("%s: %s", line, errs)
		}
		if applied, errs, code := other.run("create --skip-empty -f -", out); code != 0 {
			t.Errorf("%s: %s%s", kind, applied, errs)
		}
		if again, _, _ := other.run(line, ""); again != out {
			t.Errorf("%s (-here +there):\n%s", kind, cmp.Diff(out, again))
		}
	}
}
