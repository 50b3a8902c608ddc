package calicoctl

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// bench is the tool on a datastore in memory.
type bench struct {
	t          *testing.T
	store      datastore.Store
	nodes      []NodeStatus
	connection Connection
	env        map[string]string
	name       string
}

func newBench(t *testing.T) *bench { return &bench{t: t, store: memory.New(), name: "calicoctl"} }

// Status implements Agents.
func (b *bench) Status(_ context.Context, node string) ([]NodeStatus, error) {
	var asked []NodeStatus
	for _, n := range b.nodes {
		if node == "" || n.Node == node {
			asked = append(asked, n)
		}
	}
	return asked, nil
}

// run executes a command line, and gives what it printed and its exit code.
func (b *bench) run(line, input string) (out, errs string, code int) {
	var stdout, stderr bytes.Buffer
	code = Run(context.Background(), Environment{
		Name: b.name, In: strings.NewReader(input), Out: &stdout, Err: &stderr,
		Getenv: func(name string) string { return b.env[name] },
		Open:   func(c Connection) (datastore.Store, error) { b.connection = c; return b.store, nil },
		Agents: func(c Connection) (Agents, error) { b.connection = c; return b, nil },
	}, strings.Fields(line))
	return stdout.String(), stderr.String(), code
}

// want runs a command that must succeed and print this.
func (b *bench) want(line, input, want string) {
	b.t.Helper()
	out, errs, code := b.run(line, input)
	if code != 0 || errs != "" {
		b.t.Fatalf("calicoctl %s: exit code %d: %s", line, code, errs)
	}
	if diff := cmp.Diff(want, out); diff != "" {
		b.t.Errorf("calicoctl %s (-want +got):\n%s", line, diff)
	}
}

// refused runs a command that must fail and say this.
func (b *bench) refused(line, input string, want ...string) {
	b.t.Helper()
	_, errs, code := b.run(line, input)
	if code != 1 {
		b.t.Errorf("calicoctl %s: exit code %d, want 1", line, code)
	}
	for _, w := range want {
		if !strings.Contains(errs, w) {
			b.t.Errorf("calicoctl %s says\n%s\nwithout %q", line, errs, w)
		}
	}
}

func pool(name, spec string) string {
	return "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

const peer = "---\napiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 192.0.2.1, asNumber: 65000}\n"

func TestLifeOfResources(t *testing.T) {
	b := newBench(t)
	b.want("get ippools", "", "NAME   CIDR   SELECTOR\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16")+peer, "IPPool a created\nBGPPeer tor created\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, natOutgoing: true"), "IPPool a configured\n")
	b.want("create -f -", pool("b", "cidr: fd00::/64, vxlanMode: Always, nodeSelector: 'rack == \"1\"'"), "IPPool b created\n")
	b.refused("create -f -", pool("b", "cidr: fd00::/64"), "IPPool b (standard input:2)", "already exists")
	b.want("create --skip-exists -f -", pool("b", "cidr: fd00::/64"), "IPPool b exists already\n")
	b.refused("replace -f -", pool("c", "cidr: fd00::/64"), "IPPool c", "not found")
	b.want("get ippools", "", "NAME   CIDR          SELECTOR\na      10.1.0.0/16   all()\nb      fd00::/64     rack == \"1\"\n")
	b.want("get ipp -o wide", "", ""+
		"NAME   CIDR          NAT     IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR\n"+
		"a      10.1.0.0/16   true    Never      Never       false      false              all()\n"+
		"b      fd00::/64     false   Never      Always      false      false              rack == \"1\"\n")
	b.want("get bgpPeer", "", "NAME   PEERIP      NODE       ASN\ntor    192.0.2.1   (global)   65000\n")
	b.want("get ippool a b -o name", "", "ippool/a\nippool/b\n")
	b.want("replace -f -", pool("b", "cidr: fd00::/64, disabled: true"), "IPPool b replaced\n")
	b.want("delete ippool/b", "", "IPPool b deleted\n")
	b.want("delete -f -", peer+pool("a", "cidr: 10.1.0.0/16"), "BGPPeer tor deleted\nIPPool a deleted\n")
	b.refused("delete ippool a", "", "IPPool a", "not found", "failed to delete 1 of 1")
	b.want("delete ippool a --skip-not-exists", "", "IPPool a does not exist\n")
}

func TestOutputFormats(t *testing.T) {
	b := newBench(t)
	b.run("apply -f -", pool("a", "cidr: 10.1.0.0/16"))
	for _, format := range []string{"yaml", "json"} {
		for _, line := range []string{"get ippool a", "get ippools", "get -f -"} {
			out, errs, code := b.run(line+" -o "+format, pool("a", "cidr: 10.1.0.0/16"))
			if code != 0 || !strings.Contains(out, "10.1.0.0/16") || !strings.Contains(out, "projectcalico.org/v3") {
				t.Errorf("%s -o %s: %s%s", line, format, out, errs)
			}
			if list := strings.Contains(out, "IPPoolList"); list != (line == "get ippools") {
				t.Errorf("%s -o %s: a list: %v\n%s", line, format, list, out)
			}
			// What was read can be applied again.
			b.want("apply -f -", out, "IPPool a unchanged\n")
		}
	}
	b.refused("get ippools -o xml", "", "-o xml: must be one of wide, yaml, json, name")
	b.refused("get ippool a nobody", "", "IPPool nobody", "not found")
}

// What is refused changes nothing, not even what stands next to it.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, line, input string
		want              []string
	}{
		{"misspelt field", "apply -f -", pool("good", "cidr: 10.1.0.0/16") + pool("bad", "cidr: 10.2.0.0/16, natOutgoin: true"),
			[]string{"IPPool bad (standard input:7): line 10: spec.natOutgoin: unknown field; did you mean natOutgoing?", "nothing was changed: 1 of 2"}},
		{"values that cannot be", "apply -f -", pool("good", "cidr: 10.1.0.0/16") + pool("bad", "cidr: 10.2.0.0/28, ipipMode: Always, vxlanMode: Always"),
			[]string{"IPPool bad (standard input:7): spec.", "blockSize", "vxlanMode", "nothing was changed: 1 of 2"}},
		{"unknown type", "get ippol", "", []string{`no resource type "ippol"; did you mean ipp`}},
		{"nothing like it", "get services", "", []string{`no resource type "services"; known are bgpconfigurations`}},
		{"empty input", "apply -f -", "---\n", []string{"no resource in -"}},
		{"missing file", "apply -f /nonexistent/x.yaml", "", []string{"/nonexistent/x.yaml"}},
		{"no file", "apply", "", []string{"filename"}},
		{"delete without a name", "delete ippools", "", []string{"say which ippools"}},
		{"delete of nothing", "delete", "", []string{"TYPE NAME"}},
		{"both ways", "delete ippool a -f -", "", []string{"not both"}},
		{"unknown command", "aply", "", []string{"unknown command", "apply"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.t = t
			b.refused(test.line, test.input, test.want...)
			b.want("get ippools", "", "NAME   CIDR   SELECTOR\n")
		})
	}
}

// refusing is a datastore that refuses one object, as admission would.
type refusing struct{ datastore.Store }

func (r refusing) Create(ctx context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	if o.GetName() == "bad" {
		return nil, datastore.OpError("create", kind, datastore.KeyOf(o), datastore.ErrInvalid, errors.New("spec.cidr: overlaps IPPool good"))
	}
	return r.Store.Create(ctx, kind, o)
}

func TestOneRefusalByTheServerStopsNoOther(t *testing.T) {
	b := newBench(t)
	b.store = refusing{b.store}
	b.refused("apply -f -", pool("bad", "cidr: 10.1.0.0/16")+pool("good", "cidr: 10.1.0.0/16"),
		"IPPool bad (standard input:2)", "spec.cidr: overlaps IPPool good", "failed to apply 1 of 2 resources")
	b.want("get ippools -o name", "", "ippool/good\n")
}

// contended is a datastore in which somebody changes an object just before the first update.
type contended struct {
	datastore.Store
	once bool
}

func (c *contended) Update(ctx context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	if !c.once {
		c.once = true
		current, err := c.Get(ctx, kind, datastore.KeyOf(o))
		if err != nil {
			return nil, err
		}
		current.SetAnnotations(map[string]string{"by": "another"})
		if _, err := c.Store.Update(ctx, kind, current); err != nil {
			return nil, err
		}
	}
	return c.Store.Update(ctx, kind, o)
}

func TestApplyOverAConcurrentChange(t *testing.T) {
	b := newBench(t)
	b.run("apply -f -", pool("a", "cidr: 10.1.0.0/16"))
	stale, err := b.store.Get(context.Background(), datastore.IPPools, datastore.Key{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	b.store = &contended{Store: b.store}
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, disabled: true"), "IPPool a configured\n")
	object, err := b.store.Get(context.Background(), datastore.IPPools, datastore.Key{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if got := object.(*v3.IPPool); !got.Spec.Disabled || got.Annotations["by"] != "another" {
		t.Errorf("after both changes: %+v", got)
	}
	// A manifest that names a version insists on it.
	old := strings.Replace(pool("a", "cidr: 10.1.0.0/16"), "name: a", `name: a, resourceVersion: "`+stale.GetResourceVersion()+`"`, 1)
	b.refused("apply -f -", old, "conflict")
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": pool("a", "cidr: 10.1.0.0/16"), "b.json": `{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "b"}, "spec": {"cidr": "10.2.0.0/16"}}`,
		"notes.txt": "not a manifest", "sub/c.yml": pool("c", "cidr: 10.3.0.0/16"),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	b.want("apply -f "+dir, "", "IPPool a created\nIPPool b created\n")
	b.want("apply -R -f "+dir, "", "IPPool a unchanged\nIPPool b unchanged\nIPPool c created\n")
}

func TestConnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "calicoctl.cfg")
	text := "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: kubernetes\n  kubeconfig: /from/file\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, flags string
		env         map[string]string
		want        string
	}{
		{"file", "-c " + file, nil, "/from/file"},
		{"Calico's variable before file", "-c " + file, map[string]string{"CALICO_KUBECONFIG": "/from/env"}, "/from/env"},
		{"KUBECONFIG is the loader's", "-c " + file, map[string]string{"KUBECONFIG": "/a:/b"}, ""},
		{"flag before all", "--kubeconfig /from/flag -c " + file, map[string]string{"KUBECONFIG": "/a", "CALICO_KUBECONFIG": "/b"}, "/from/flag"},
	} {
		b := newBench(t)
		b.env = test.env
		b.want("get ippools -o name "+test.flags, "", "")
		if b.connection.Kubeconfig != test.want {
			t.Errorf("%s: kubeconfig %q, want %q", test.name, b.connection.Kubeconfig, test.want)
		}
	}
	b := newBench(t)
	b.env = map[string]string{"DATASTORE_TYPE": "etcdv3"}
	b.refused("get ippools", "", `datastore type "etcdv3" is not supported`)
	b.env = nil
	b.refused("get ippools -c /nonexistent", "", "read connection settings")
}

func TestNodeStatus(t *testing.T) {
	since := time.Date(2024, 5, 6, 7, 8, 9, 0, time.Local)
	b := newBench(t)
	b.nodes = []NodeStatus{
		{Node: "n2", Error: "felix status in pod calico-system/calico-node-x: no such container"},
		{Node: "n1", InSync: true, BGP: bgp.Status{ASNumber: 64512, Routes: 3, Peers: []bgp.PeerStatus{
			{Name: "Mesh_n2", Addr: netip.MustParseAddr("10.0.0.2"), ASNumber: 64512, Type: "NodeMesh", State: bgp.Active, Since: since},
			{Name: "tor", Addr: netip.MustParseAddr("fd00::1"), ASNumber: 65000, Type: "BGPPeer", State: bgp.Established, Since: since, Imported: 3},
		}}},
	}
	const n1 = "" +
		"NODE   STATE     ASN     PEERS   ROUTES   INFO\n" +
		"n1     in sync   64512   2       3        \n\n" +
		"NODE   PEER ADDRESS   PEER TYPE           ASN     STATE   SINCE                 INFO          ROUTES\n" +
		"n1     10.0.0.2       node-to-node mesh   64512   down    2024-05-06 07:08:09   Active        0\n" +
		"n1     fd00::1        BGPPeer tor         65000   up      2024-05-06 07:08:09   Established   3\n"
	b.want("node status --node n1", "", n1)
	out, _, code := b.run("node status", "")
	if code != 1 || !strings.Contains(out, "n2     not in sync           0       0        felix status in pod") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	b.refused("node status --node n3", "", "node n3 does not run calico-node")
	if got := decodeStatus("n1", []byte("panic: no")); got.InSync || !strings.Contains(got.Error, "cannot be read") {
		t.Errorf("status of garbage: %+v", got)
	}
	out, _, _ = b.run("node status --node n1 -o json", "")
	if got := decodeStatus("n1", []byte(strings.Trim(strings.TrimSpace(out), "[]"))); cmp.Diff(b.nodes[1], got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) != "" {
		t.Errorf("read back %+v from\n%s", got, out)
	}
}

func TestVersionAndPlugin(t *testing.T) {
	b := newBench(t)
	b.name = "/usr/local/bin/kubectl-calico"
	if out, _, code := b.run("version --client", ""); code != 0 || !strings.Contains(out, "Client Version:") {
		t.Errorf("version: exit code %d: %s", code, out)
	}
	b.refused("version", "", "no ClusterInformation default")
	b.run("apply -f -", "{apiVersion: projectcalico.org/v3, kind: ClusterInformation, metadata: {name: default}, spec: {calicoVersion: v3.31, clusterType: k8s}}")
	if out, _, code := b.run("version", ""); code != 0 || !strings.Contains(out, "Cluster Version:   v3.31\n") {
		t.Errorf("version: exit code %d: %s", code, out)
	}
	if out, _, _ := b.run("--help", ""); !strings.Contains(out, "kubectl calico [command]") {
		t.Errorf("help of the plugin:\n%s", out)
	}
}
