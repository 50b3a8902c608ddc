package calicoctl

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/datastore"
)

func (b *bench) pool(name string) *v3.IPPool {
	b.t.Helper()
	pool, err := datastore.Get[*v3.IPPool](b.t.Context(), b.store, datastore.IPPools, datastore.Key{Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return pool
}

func TestDryRunOfTheClient(t *testing.T) {
	b := newBench(t)
	b.furnish()
	before, _, _ := b.run("get ippools -o yaml", "")
	b.want("apply --dry-run=client -f -", pool("a", "cidr: 10.1.0.0/16")+pool("c", "cidr: 10.3.0.0/16"),
		"IPPool a configured (dry run)\nIPPool c created (dry run)\n")
	b.refused("create --dry-run=client -f -", pool("a", "cidr: 10.1.0.0/16"), "already exists")
	b.refused("replace --dry-run=client -f -", pool("c", "cidr: 10.1.0.0/16"), "not found")
	b.want("patch ippool a --dry-run=client -p {spec:~{disabled:~true}}", "", "IPPool a patched (dry run)\n")
	b.want("label ippool b rack=2 --dry-run=client", "", "IPPool b labeled (dry run)\n")
	b.want("delete ippool a --dry-run=client", "", "IPPool a deleted (dry run)\n")
	b.refused("delete ippool c --dry-run=client", "", "not found")
	if after, _, _ := b.run("get ippools -o yaml", ""); after != before {
		t.Errorf("dry runs changed\n%s\nto\n%s", before, after)
	}
}

func TestPatch(t *testing.T) {
	b := newBench(t)
	b.furnish()
	for _, test := range []struct{ line, want string }{
		{"patch ippool a -p {spec:~{natOutgoing:~false}}", "IPPool a patched\n"},
		{"patch ippool/a -p {\"spec\":{\"natOutgoing\":false}}", "IPPool a unchanged\n"},
		{"patch pool a --type=merge -p {spec:~{allowedUses:~[Tunnel]},metadata:~{labels:~{rack:~null,row:~\"2\"}}}",
			"IPPool a patched\n"},
		{"patch ipp a -t json -p [{op:~replace,path:~/spec/vxlanMode,value:~CrossSubnet}]", "IPPool a patched\n"},
		{"patch np web -n shop -p {spec:~{order:~5.5}}", "NetworkPolicy shop/web patched\n"},
	} {
		b.want(test.line, "", test.want)
	}
	a := b.pool("a")
	if a.Spec.NATOutgoing || a.Spec.VXLANMode != v3.VXLANModeCrossSubnet || len(a.Spec.AllowedUses) != 1 ||
		len(a.Labels) != 1 || a.Labels["row"] != "2" {
		t.Errorf("after the patches: %+v", a)
	}
	for _, test := range []struct{ line, want string }{
		{"patch ippool a -p {spec:~{natOutgoin:~true}}",
			"IPPool a: spec.natOutgoin: unknown field; did you mean natOutgoing?"},
		{"patch ippool a -p {spec:~{natOutgoing:~1}}", "IPPool a: spec.natOutgoing: must be true or false"},
		{"patch ippool a -p {spec:~{blockSize:~99}}", "IPPool a: spec.blockSize"},
		{"patch ippool a -p {metadata:~{name:~z}}", "cannot change the kind, namespace or name"},
		{"patch ippool a -p {", "read the patch"},
		{"patch ippool a --type=json -p {}", "apply the patch"},
		{"patch ippool a --type=json -p [{op:~remove,path:~/spec/none}]", "apply the patch"},
		{"patch ippool a --type=strange -p {}", "--type=strange: must be one of json, merge, strategic"},
		{"patch ippool a", `"patch" not set`},
		{"patch ippool a b -p {}", "say which one of ippools"},
		{"patch ippool z -p {}", "IPPool z: get IPPool z: not found"},
	} {
		b.refused(test.line, "", test.want)
	}
}

func TestLabel(t *testing.T) {
	b := newBench(t)
	b.furnish()
	for _, test := range []struct{ line, want string }{
		{"label ippools a row=2 site=x", "IPPool a labeled\n"},
		{"label ippools/a row=2", "IPPool a unchanged\n"},
		{"label ippools a rack=5 --overwrite", "IPPool a labeled\n"},
		{"label ippools a site --remove", "IPPool a labeled\n"},
	} {
		b.want(test.line, "", test.want)
	}
	if labels := b.pool("a").Labels; len(labels) != 2 || labels["row"] != "2" || labels["rack"] != "5" {
		t.Errorf("labels %v", labels)
	}
	for _, test := range []struct{ line, want string }{
		{"label ippools a rack=6", `label rack has the value "5" already: --overwrite changes it`},
		{"label ippools a other --remove", "there is no label other to remove"},
		{"label ippools a other", `label "other": must be KEY=VALUE`},
		{"label ippools a other=x --remove", "must be KEY=VALUE, or KEY with --remove"},
		{"label ippools a -- -x=1", "metadata.labels"},
		{"label ippools a", "say which labels"},
		{"label ippools/a", "requires at least 2"},
		{"label ippools z a=b", "not found"},
	} {
		b.refused(test.line, "", test.want)
	}
}

// A Node's fields are annotations of Kubernetes' Node.
func TestNodesOfKubernetes(t *testing.T) {
	b := newBench(t)
	b.furnish()
	b.want("patch node n1 -p {spec:~{bgp:~{asNumber:~64999,routeReflectorClusterID:~244.0.0.1}}}", "",
		"Node n1 patched\n")
	b.want("label nodes n1 rack=1", "", "Node n1 labeled\n")
	node, err := datastore.Get[*corev1.Node](t.Context(), b.store, datastore.Nodes, datastore.Key{Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if node.Annotations["projectcalico.org/ASNumber"] != "64999" ||
		node.Annotations["projectcalico.org/RouteReflectorClusterID"] != "244.0.0.1" ||
		node.Annotations["projectcalico.org/IPv4Address"] != "192.0.2.7/24" || node.Labels["rack"] != "1" ||
		node.Labels["kubernetes.io/hostname"] != "n1" {
		t.Errorf("the node of Kubernetes: %+v", node.ObjectMeta)
	}
	out, _, _ := b.run("get node n1 -o yaml", "")
	b.want("apply -f -", out, "Node n1 unchanged\n")
	b.refused("delete node n1", "",
		"Node n1: delete Node n1: invalid: where Kubernetes is the datastore it follows from the Nodes of Kubernetes")
	b.refused("label wep n1-k8s-web--0-eth0 a=b -n shop", "", "follows from the Pods")
}

func TestValidate(t *testing.T) {
	b := newBench(t)
	b.store = failing{}
	b.want("validate -f -", pool("a", "cidr: 10.1.0.0/16")+peer, "IPPool a valid\nBGPPeer tor valid\n")
	out, errs, code := b.run("validate -f -", pool("a", "cidr: 10.1.0.0/16")+pool("b", "cidr: 10.300.0.0/16")+
		pool("c", "cidr: 10.1.0.0/16, x: 1"))
	if code != 1 || out != "IPPool a valid\n" {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, want := range []string{
		`IPPool b (standard input:7): spec.cidr: Invalid value: "10.300.0.0/16": must be a network, for example`,
		"IPPool c (standard input:12): line 15: spec.x: unknown field", "Error: failed to validate 2 of 3 resources"} {
		if !strings.Contains(errs, want) {
			t.Errorf("validate says\n%s\nwithout %q", errs, want)
		}
	}
	out, errs, code = b.run("validate -f -",
		"{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {types: "+
			"[Ingress], egress: [{action: Deny}]}}")
	if code != 0 || out != "GlobalNetworkPolicy x valid\n" ||
		!strings.HasPrefix(errs, "Warning: GlobalNetworkPolicy x (standard input:1): spec.egress: ") {
		t.Errorf("a policy with rules for nothing: exit code %d: %s%s", code, out, errs)
	}
	b.want("validate --skip-empty -f -", "", "")
	b.refused("validate", "", "say what: -f FILE")
}

// The manifests by which every door is judged: what an API server or admission refuses, this program refuses before it
// asks, and with the library's words.
func TestVerdicts(t *testing.T) {
	for _, m := range append(validatetest.Refused(), validatetest.RefusedEtcd()...) {
		out, errs, code := newBench(t).run("validate -f -", m.YAML)
		if code != 1 || out != "" || !strings.Contains(errs, m.Library) {
			t.Errorf("%s: exit code %d: %s%s\nwant %q", m, code, out, errs, m.Library)
		}
	}
	for _, m := range append(validatetest.Accepted(), validatetest.AcceptedEtcd()...) {
		if out, errs, code := newBench(t).run("validate -f -", m.YAML); code != 0 ||
			!strings.HasSuffix(out, " valid\n") {
			t.Errorf("%s: exit code %d: %s%s", m, code, out, errs)
		}
	}
}

// failing is a datastore that nobody may ask.
type failing struct{ datastore.Store }

func TestModifyingOverAConcurrentChange(t *testing.T) {
	b := newBench(t)
	b.furnish()
	b.store = &contended{Store: b.store}
	b.want("label ippool a row=2", "", "IPPool a labeled\n")
	if a := b.pool("a"); a.Labels["row"] != "2" || a.Annotations["by"] != "another" {
		t.Errorf("after both changes: %+v", a.ObjectMeta)
	}
	b.store = refusingUpdates{b.store}
	b.refused("label ippool a row=3 --overwrite", "", "IPPool a: update IPPool a: invalid: no")
}

type refusingUpdates struct{ datastore.Store }

func (r refusingUpdates) Update(_ context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	return nil, datastore.OpError("update", kind, datastore.KeyOf(o), datastore.ErrInvalid, errors.New("no"))
}

// A patch is read as strictly as a manifest: what YAML takes for a tag or gives twice is not lost.
func TestPatchIsReadStrictly(t *testing.T) {
	b := newBench(t)
	b.furnish()
	b.refused("patch ippool a -p {spec:~{nodeSelector:~!has(a)~}}", "", "spec.nodeSelector: ! begins a YAML tag",
		"'!has(a)'")
	b.refused("patch ippool a -p {spec:~{nodeSelector:~!has(a)}}", "", "! begins a YAML tag", "'!has(a)'")
	b.refused("patch ippool a -p {spec:~{disabled:~true,disabled:~false}}", "", "read the patch", "disabled")
	b.want("patch ippool a -p {spec:~{nodeSelector:~'!has(a)'}}", "", "IPPool a patched\n")
	b.want("patch ippool a -p {metadata:~{labels:~{number:~1}}}", "", "IPPool a patched\n")
	if a := b.pool("a"); a.Spec.NodeSelector != "!has(a)" || a.Labels["number"] != "1" {
		t.Errorf("the pool is %+v", a)
	}
}

// bgppeer-namespace: all that reads a manifest leaves the namespace of a cluster-scoped kind out, and says so.
func TestNamespaceOnAClusterScopedKind(t *testing.T) {
	b := newBench(t)
	const manifest = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: edge, namespace: " +
		"calico-system}\n" +
		"spec: {peerIP: 10.0.0.1, asNumber: 65001}\n"
	for _, test := range []struct{ line, want string }{
		{"validate -f -", "BGPPeer edge valid\n"}, {"apply --dry-run=client -f -", "BGPPeer edge created (dry run)\n"},
		{"apply -f -", "BGPPeer edge created\n"}, {"replace -f -", "BGPPeer edge unchanged\n"},
		{"get -o name -f -", "bgppeer/edge\n"},
		{"convert -f -", strings.Replace(strings.Replace(manifest, "{name: edge, namespace: calico-system}",
			"\n  name: edge", 1),
			"{peerIP: 10.0.0.1, asNumber: 65001}", "\n  asNumber: 65001\n  peerIP: 10.0.0.1", 1)},
		{"delete -f -", "BGPPeer edge deleted\n"},
	} {
		out, errs, code := b.run(test.line, manifest)
		out = strings.ReplaceAll(out, " \n", "\n")
		if code != 0 || out != strings.ReplaceAll(test.want, " \n", "\n") ||
			errs != "Warning: BGPPeer edge (standard input:1): metadata.namespace: calico-system is left out: "+
				"BGPPeer is in no namespace\n" {
			t.Errorf("%s: exit code %d: %s%s", test.line, code, out, errs)
		}
	}
}

// TestDeleteOfWhatStays: of a resource that finalizers keep, delete does not say that it is gone.
func TestDeleteOfWhatStays(t *testing.T) {
	b := newBench(t)
	b.furnish()
	kept := b.pool("a")
	kept.Finalizers = []string{v3.IPPoolFinalizer}
	if _, err := b.store.Update(t.Context(), datastore.IPPools, kept); err != nil {
		t.Fatal(err)
	}
	b.want("delete ippool a b", "", "IPPool a marked as deleted: it stays until its finalizers are removed "+
		"(projectcalico.org/ippool-finalizer)\nIPPool b deleted\n")
}

// TestDeleteOfAPoolInUse: where no finalizer keeps a pool, calicoctl does not delete it before its addresses are
// released. Another pool goes at once.
func TestDeleteOfAPoolInUse(t *testing.T) {
	b := newBench(t)
	b.furnish()
	cidr := netip.MustParsePrefix(b.pool("a").Spec.CIDR)
	zero, handle := 0, "web"
	block := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: v3.BlockName(netip.PrefixFrom(cidr.Addr(), 30))},
		Spec: v3.IPAMBlockSpec{CIDR: netip.PrefixFrom(cidr.Addr(), 30).String(),
			Allocations: []*int{&zero, nil, nil, nil},
			Unallocated: []int{1, 2, 3}, Attributes: []v3.AllocationAttribute{{HandleID: &handle}}}}
	created, err := b.store.Create(t.Context(), datastore.IPAMBlocks, block)
	if err != nil {
		t.Fatal(err)
	}
	_, errs, code := b.run("delete ippool a", "")
	if code != 1 || !strings.Contains(errs, "in use (1, the first is "+cidr.Addr().String()+")") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	b.want("delete ippool b", "", "IPPool b deleted\n")
	err = b.store.Delete(t.Context(), datastore.IPAMBlocks, datastore.KeyOf(created), datastore.Preconditions{})
	if err != nil {
		t.Fatal(err)
	}
	b.want("delete ippool a", "", "IPPool a deleted\n")
}
