package calicoctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/datastore/kubernetes/derived"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/test/docs"
)

// server is a bench on a real API server, with kubectl beside.
type server struct {
	*bench
	api *apiserver.Server
}

// kubectl runs a command that must succeed, and gives what it printed.
func (s server) kubectl(line, input string) string {
	s.t.Helper()
	words := append([]string{"--kubeconfig", s.api.Kubeconfig}, strings.Fields(line)...)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ")
	}
	command := exec.CommandContext(s.t.Context(), s.api.Kubectl, words...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("kubectl %s: %v: %s", line, err, out)
	}
	return string(out)
}

// eventually waits for what the server does on its own time.
func (s server) eventually(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func TestAgainstAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	api := apiserver.Start(t)
	store, err := kubernetes.New(api.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(server)
	}{
		{"life of resources", server.life}, {"two resources in one stream", server.seed}, {"dry run", server.dryRun},
		{"watch", server.watches}, {"derived kinds", server.derived}, {"agents", server.agents},
		{"program", server.program},
		{"defaults", server.defaults},
		{"newer cluster", server.newer}, {"older cluster", server.older}, // they change CRDs: last
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.store = derived.New(store.Merging())
			test.run(server{b, api})
		})
	}
}

// Its defaults, its refusals, its idea of an update that changes nothing.
func (s server) life() {
	s.want("apply -f -", pool("a", "cidr: 10.1.0.0/16")+peer, "IPPool a created\nBGPPeer tor created\n")
	s.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged\n")
	s.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, natOutgoing: true"), "IPPool a configured\n")
	out, _, _ := s.run("get ippool a -o yaml", "")
	s.want("apply -f -", out, "IPPool a unchanged\n")
	s.want("get ippools", "", "NAME   CIDR          SELECTOR\na      10.1.0.0/16   all()\n")
	s.refused("apply -f -", pool("bad", "cidr: 10.300.0.0/16"), "IPPool bad", "spec.cidr")
	s.refused("apply -f -", pool("bad", "cidr: 10.2.0.0/16, vxlanMode: Sometimes"), "IPPool bad", "spec.vxlanMode",
		"CrossSubnet")
	s.refused("apply -f -", pool("a", "cidr: 10.9.0.0/16"), "IPPool a", "spec.cidr")
	s.want("get ippools -o name", "", "ippool/a\n")
	exported, _, _ := s.run("get ippools -o yaml --export", "")
	s.want("delete ippool a", "", "IPPool a deleted\n")
	s.refused("get ippool a", "", "IPPool a", "not found")
	s.want("create -f -", exported, "IPPool a created\n")
	s.want("delete -f -", exported+peer, "IPPool a deleted\nBGPPeer tor deleted\n")
}

// seedExample is what a user of BGP begins with.
const seedExample = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default-pool
spec:
  cidr: 10.244.0.0/16
  ipipMode: Never
  natOutgoing: true
  nodeSelector: all()
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: peer-to-router
spec:
  peerIP: 192.168.1.1
  asNumber: 64512
`

// The same life by either program: applied, read back, edited, deleted.
func (s server) seed() {
	s.want("apply -f -", seedExample, "IPPool default-pool created\nBGPPeer peer-to-router created\n")
	s.want("get ippools -o custom-columns=NAME,CIDR,IPIPMODE,NAT,SELECTOR", "",
		"NAME           CIDR            IPIPMODE   NAT    SELECTOR\ndefault-pool   10.244.0.0/16   Never      true  "+
			" all()\n")
	s.want("get bgppeer peer-to-router", "",
		"NAME             PEERIP        NODE       ASN\npeer-to-router   192.168.1.1   (global)   64512\n")
	const fields = "jsonpath={.spec.cidr}~{.spec.ipipMode}~{.spec.natOutgoing}~{.spec.nodeSelector}"
	if got := s.kubectl("get ippool default-pool -o "+fields, ""); got != "10.244.0.0/16 Never true all()" {
		s.t.Errorf("kubectl reads %q", got)
	}
	s.want("patch bgppeer peer-to-router -p {spec:~{asNumber:~64513}}", "", "BGPPeer peer-to-router patched\n")
	s.want("apply -f -", strings.Replace(seedExample, "natOutgoing: true", "natOutgoing: false", 1),
		"IPPool default-pool configured\nBGPPeer peer-to-router configured\n")
	s.want("delete -f -", seedExample, "IPPool default-pool deleted\nBGPPeer peer-to-router deleted\n")

	wantLines := func(got string, want ...string) {
		s.t.Helper()
		if diff := cmp.Diff(strings.Join(want, "\n")+"\n", got); diff != "" {
			s.t.Errorf("kubectl (-want +got):\n%s", diff)
		}
	}
	wantLines(s.kubectl("apply -f -", seedExample), "ippool.projectcalico.org/default-pool created",
		"bgppeer.projectcalico.org/peer-to-router created")
	s.want("apply -f -", seedExample, "IPPool default-pool unchanged\nBGPPeer peer-to-router unchanged\n")
	wantLines(s.kubectl("apply -f -", strings.Replace(seedExample, "asNumber: 64512", "asNumber: 64514", 1)),
		"ippool.projectcalico.org/default-pool unchanged", "bgppeer.projectcalico.org/peer-to-router configured")
	s.kubectl("patch ippool default-pool --type=merge -p {\"spec\":{\"disabled\":true}}", "")
	s.want("get bgppeer peer-to-router -o custom-columns=ASN", "", "ASN\n64514\n")
	wantLines(s.kubectl("delete -f -", seedExample), `ippool.projectcalico.org "default-pool" deleted`,
		`bgppeer.projectcalico.org "peer-to-router" deleted`)
	s.want("get ippools -o name", "", "")
}

func (s server) dryRun() {
	s.want("create -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a created\n")
	s.want("apply --dry-run=server -f -", pool("a", "cidr: 10.1.0.0/16, disabled: true")+pool("b", "cidr: 10.2.0.0/16"),
		"IPPool a configured (server dry run)\nIPPool b created (server dry run)\n")
	s.want("apply --dry-run=server -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged (server dry run)\n")
	s.want("apply --dry-run=client -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged (dry run)\n")
	s.refused("apply --dry-run=server -f -", pool("a", "cidr: 10.9.0.0/16"), "IPPool a", "spec.cidr")
	s.want("patch ippool a -p {spec:~{disabled:~true}} --dry-run=server", "", "IPPool a patched (server dry run)\n")
	s.want("label ippool a x=y --dry-run=server", "", "IPPool a labeled (server dry run)\n")
	s.want("delete ippool a --dry-run=server", "", "IPPool a deleted (server dry run)\n")
	s.want("get ippools -o custom-columns=NAME,DISABLED,L:.metadata.labels", "",
		"NAME   DISABLED   L\na      false      <none>\n")
	s.want("delete ippool a", "", "IPPool a deleted\n")
}

func (s server) watches() {
	s.want("create -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a created\n")
	w := s.watch("get ippools -w -o name --output-watch-events")
	w.want("ADDED ippool/a")
	s.kubectl("label ippool a x=y", "")
	w.want("MODIFIED ippool/a")
	s.kubectl("delete ippool a", "")
	w.want("DELETED ippool/a")
	w.stop()
}

const kubernetesObjects = `
apiVersion: v1
kind: Node
metadata: {name: n-1, labels: {rack: "1"}, annotations: {projectcalico.org/IPv4Address: 192.0.2.1/24}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: front, namespace: shop, labels: {role: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: n-1, serviceAccountName: front, containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]}
`

func (s server) derived() {
	s.kubectl("apply -f -", kubernetesObjects)
	s.want("get wep -n shop -o "+
		"custom-columns=NAME,WORKLOAD,NODE,PROFILES,PORT:.spec.ports[0].name,"+
		"SA:.metadata.labels.projectcalico\\.org/serviceaccount", "",
		"NAME                   WORKLOAD   NODE   PROFILES                  PORT   SA\n"+
			"n--1-k8s-web--0-eth0   web-0      n-1    kns.shop,ksa.shop.front   http   front\n")
	s.want("get profile kns.shop -o custom-columns=NAME,L:.spec.labelsToApply.pcns\\.team", "",
		"NAME       L\nkns.shop   red\n")
	s.want("get profile ksa.shop.front -o wide", "",
		"NAME             LABELS\nksa.shop.front   pcsa.projectcalico.org/name=front,pcsa.role=web\n")
	s.want("patch node n-1 -p {spec:~{bgp:~{routeReflectorClusterID:~244.0.0.1,asNumber:~64999}}}", "",
		"Node n-1 patched\n")
	s.want("label node n-1 route-reflector=true", "", "Node n-1 labeled\n")
	s.want("label node n-1 rack --remove --dry-run=server", "", "Node n-1 labeled (server dry run)\n")
	s.want("get nodes -o wide", "", "NAME   ASN     IPV4           IPV6\nn-1    64999   192.0.2.1/24   \n")
	got := s.kubectl("get node n-1 -o jsonpath={.metadata.annotations.projectcalico\\.org/RouteReflectorClusterID}~"+
		"{.metadata.labels.route-reflector}~{.metadata.labels.rack}", "")
	if got != "244.0.0.1 true 1" {
		s.t.Errorf("the node of Kubernetes has %q", got)
	}
	s.refused("delete node n-1", "", "follows from the Nodes of Kubernetes")
	s.kubectl("delete node n-1", "")
	s.refused("get node n-1", "", "Node n-1: get Node n-1: not found")
}

func (s server) agents() {
	agents, err := NewAgents(s.api.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	if nodes, err := agents.Status(s.t.Context(), ""); err != nil || len(nodes) != 0 {
		s.t.Errorf("agents of a cluster without nodes: %v, %v", nodes, err)
	}
}

// The program itself does what its page of the documentation shows, also as a plugin of kubectl.
func (s server) program() {
	dir := s.t.TempDir()
	build := exec.CommandContext(s.t.Context(), "go", "build", "-o", filepath.Join(dir, "calicoctl"),
		"../cmd/calicoctl")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build calicoctl: %v: %s", err, out)
	}
	for name, target := range map[string]string{"kubectl-calico": "calicoctl", "kubectl": s.api.Kubectl} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			s.t.Fatal(err)
		}
	}
	shell := func(script string) string {
		s.t.Helper()
		command := exec.CommandContext(s.t.Context(), "bash", "-eu", "-c", script)
		command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "KUBECONFIG="+s.api.Kubeconfig,
			"HOME="+dir)
		out, err := command.CombinedOutput()
		if err != nil {
			s.t.Fatalf("%s\n%v: %s", script, err, out)
		}
		return string(out)
	}
	s.kubectl("create -f -", "{apiVersion: v1, kind: Node, metadata: {name: node1}}")
	s.kubectl("create -f -", pool("a", "cidr: 10.1.0.0/16"))
	blocks, err := docs.Blocks("..")
	if err != nil {
		s.t.Fatal(err)
	}
	ran := 0
	for _, block := range blocks {
		// The agents of nodes are in a whole cluster only.
		if block.File == "docs/calicoctl.md" && block.Info == "sh" && !strings.Contains(block.Text, "node status") {
			ran++
			shell(block.Text)
		}
	}
	if ran < 5 {
		s.t.Errorf("%d blocks of the documentation ran", ran)
	}
	if got, want := shell("kubectl calico get nodes -o name"), "node/node1\n"; got != want {
		s.t.Errorf("the plugin shows %q, want %q", got, want)
	}
	if got := shell("kubectl-calico __complete get node no"); !strings.HasPrefix(got, "node1\n") {
		s.t.Errorf("completed to %q", got)
	}
	if got := shell("calicoctl get ippool nobody 2>&1 && exit 1 || echo code $?"); got != "IPPool nobody: get "+
		"IPPool nobody: not found: ippools.projectcalico.org \"nobody\" not found\ncode 1\n" {
		s.t.Errorf("a failure shows %q", got)
	}
	s.kubectl("delete node/node1 ippool/a", "")
}

// What a newer cluster knows and this program does not, stays when something else is changed.
func (s server) newer() {
	s.want("create -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a created\n")
	s.kubectl(`patch crd ippools.projectcalico.org --type=json -p [{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/future","value":{"type":"string"}}]`, "")
	s.eventually("the field is served", func() bool {
		s.kubectl(`patch ippool a --type=merge -p {"spec":{"future":"here"}}`, "")
		return s.kubectl("get ippool a -o jsonpath={.spec.future}", "") == "here"
	})
	s.want("label ippool a x=y", "", "IPPool a labeled\n")
	s.want("patch ippool a -p {spec:~{disabled:~true}}", "", "IPPool a patched\n")
	s.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, natOutgoing: true"), "IPPool a configured\n")
	if got := s.kubectl("get ippool a -o jsonpath={.spec.future}~{.spec.disabled}~{.spec.natOutgoing}",
		""); got != "here  true" {
		s.t.Errorf("after the changes: %q", got)
	}
	s.want("delete ippool a", "", "IPPool a deleted\n")
}

// What this program knows and an older cluster does not, is said.
func (s server) older() {
	const spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
	s.kubectl(`patch crd ippools.projectcalico.org --type=json -p [{"op":"remove","path":"`+spec+
		`/x-kubernetes-validations"},`+
		`{"op":"remove","path":"`+spec+`/properties/namespaceSelector"}]`, "")
	s.eventually("the field is gone", func() bool {
		_, errs, code := s.run("create --dry-run=server -f -", pool("a", "cidr: 10.1.0.0/16, namespaceSelector: all()"))
		return code == 1 && strings.Contains(errs, `IPPool a`) &&
			strings.Contains(errs, `unknown field "spec.namespaceSelector"`)
	})
	s.want("create -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a created\n")
	s.refused("patch ippool a -p {spec:~{namespaceSelector:~all()}}", "", `unknown field "spec.namespaceSelector"`)
	s.kubectl("delete crd ipreservations.projectcalico.org", "")
	s.eventually("the kind is gone", func() bool {
		_, errs, code := s.run("get ipreservations", "")
		return code == 1 && strings.Contains(errs, "the cluster does not serve this kind")
	})
	s.refused("apply -f -", "{apiVersion: projectcalico.org/v3, kind: IPReservation, metadata: {name: r}, spec: "+
		"{reservedCIDRs: [10.0.0.0/24]}}",
		"IPReservation r (standard input:1): the cluster does not serve this kind")
	s.want("get ippools -o name", "", "ippool/a\n")
}
