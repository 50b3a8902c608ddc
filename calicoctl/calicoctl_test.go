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
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes/derived"
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
	version    string
	// open is in place of store, for what the connection says.
	open func(Connection) (datastore.Store, error)
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, store: derived.New(memory.New()), name: "calicoctl"}
}

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

// run executes a command line, and gives what it printed and its exit code. In a word of it, ~ stands for a space.
func (b *bench) run(line, input string) (out, errs string, code int) {
	words := strings.Fields(line)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ")
	}
	return b.execute(words, input)
}

func (b *bench) execute(words []string, input string) (out, errs string, code int) {
	var stdout, stderr bytes.Buffer
	code = Run(context.Background(), Environment{
		Name: b.name, Version: b.version, In: strings.NewReader(input), Out: &stdout, Err: &stderr,
		Getenv: func(name string) string { return b.env[name] },
		Open: func(c Connection) (datastore.Store, error) {
			b.connection = c
			switch {
			case b.open != nil:
				return b.open(c)
			case b.store == nil:
				return nil, errors.New("unreachable")
			}
			return b.store, nil
		},
		Agents: func(c Connection) (Agents, error) { b.connection = c; return b, nil },
	}, words)
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

const peer = "---\napiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: " +
	"192.0.2.1, asNumber: 65000}\n"

func TestLifeOfResources(t *testing.T) {
	b := newBench(t)
	b.want("get ippools", "", "NAME   CIDR   SELECTOR\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16")+peer, "IPPool a created\nBGPPeer tor created\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged\n")
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16, natOutgoing: true"), "IPPool a configured\n")
	b.want("create -f -", pool("b", "cidr: fd00::/64, vxlanMode: Always, nodeSelector: 'rack == \"1\"'"),
		"IPPool b created\n")
	b.refused("create -f -", pool("b", "cidr: fd00::/64"), "IPPool b (standard input:2)", "already exists")
	b.want("create --skip-exists -f -", pool("b", "cidr: fd00::/64"), "IPPool b exists already\n")
	b.refused("replace -f -", pool("c", "cidr: fd00::/64"), "IPPool c", "not found")
	b.want("get ippools", "", "NAME   CIDR          SELECTOR\na      10.1.0.0/16   all()\nb      fd00::/64     rack "+
		"== \"1\"\n")
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
	for format, want := range map[string]string{
		"xml": "-o xml: must be one of ps, wide, yaml, json, name, custom-columns=", "yaml=x": "must be one of",
		"custom-columns": "say what after custom-columns=", "go-template=": "say what",
		"go-template={{":                "-o go-template:",
		"go-template-file=/nonexistent": "no such file",
		"custom-columns=NAME,CIDER":     "IPPool has no column CIDER; it has CIDR, DISABLEBGPEXPORT, DISABLED, ",
		"custom-columns=A:{[":           "column A: path", `go-template={{config~"x"}}`: "asnumber",
		"go-template={{.None}}": "execute the template",
	} {
		b.refused("get ippools -o "+format, "", want)
	}
	b.refused("get ippool a nobody", "", "IPPool nobody", "not found")
}

// What cannot be used is named and changes nothing.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, line, input string
		want              []string
	}{
		{"misspelt field", "apply -f -", pool("bad", "cidr: 10.2.0.0/16, natOutgoin: true"),
			[]string{"IPPool bad (standard input:2): line 5: spec.natOutgoin: unknown field; did you mean natOutgoing?",
				"failed to apply 1 of 1"}},
		{"values that cannot be", "create -f -", pool("bad", "cidr: 10.2.0.0/28, ipipMode: Always, vxlanMode: Always"),
			[]string{"IPPool bad (standard input:2): spec.", "blockSize", "vxlanMode", "failed to create 1 of 1"}},
		{"a URL", "apply -f https://example.org/pool.yaml", "",
			[]string{"-f https://example.org/pool.yaml: URLs are not read"}},
		{"older manifests", "apply -f -", "apiVersion: v1\nkind: ipPool\nmetadata: {cidr: 10.0.0.0/8}\n",
			[]string{"calicoctl convert"}},
		{"-A with a name", "get ippool a -A", "", []string{"-A is for lists"}},
		{"--selector with a name", "get ippool a --selector x=y", "", []string{"--selector is for lists"}},
		{"bad selector", "get ippools --selector ((", "", []string{"--selector=((:"}},
		{"watch of a file", "get -f - -w", pool("a", "cidr: 10.1.0.0/16"), []string{"-w watches one"}},
		{"watch of nothing", "get -w", "", []string{"-w watches one"}},
		{"a tab", "apply -f -", "apiVersion: projectcalico.org/v3\nmetadata:\n\tname: a\n",
			[]string{"standard input:1: not YAML: line 3: ", "spaces, not tabs"}},
		{"bad dry run", "apply --dry-run=perhaps -f -", pool("a", "cidr: 10.1.0.0/16"),
			[]string{"must be none, client or server"}},
		{"dry run without a server", "apply --dry-run=server -f -", pool("a", "cidr: 10.1.0.0/16"),
			[]string{"use --dry-run=client"}},
		{"unknown type", "get ippol", "", []string{`no resource type "ippol"; did you mean ipp`}},
		{"nothing like it", "get services", "", []string{`no resource type "services"; known are bgpconfigurations`}},
		{"empty input", "apply -f -", "---\n", []string{"no resource in -", "--skip-empty"}},
		{"missing file", "apply -f /nonexistent/x.yaml", "", []string{"/nonexistent/x.yaml"}},
		{"no file", "apply", "", []string{"say what: -f FILE"}},
		{"delete without a name", "delete ippools", "", []string{"say which ippools"}},
		{"delete of nothing", "delete", "", []string{"TYPE NAME"}},
		{"both ways", "delete ippool a -f -", "", []string{"not both"}},
		{"unknown command", "aply", "", []string{"unknown command", "apply"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.t = t
			b.refused(test.line, test.input, test.want...)
			b.want("get ippools -o name", "", "")
		})
	}
}

// refusing is a datastore that refuses one object, as admission would.
type refusing struct{ datastore.Store }

func (r refusing) Create(ctx context.Context, kind datastore.Kind, o datastore.Object) (datastore.Object, error) {
	if o.GetName() == "bad" {
		return nil, datastore.OpError("create", kind, datastore.KeyOf(o), datastore.ErrInvalid,
			errors.New("spec.cidr: overlaps IPPool good"))
	}
	return r.Store.Create(ctx, kind, o)
}

func TestWhatCanBeDoneIsDone(t *testing.T) {
	b := newBench(t)
	b.store = refusing{b.store}
	b.refused("apply -f -", pool("bad", "cidr: 10.1.0.0/16")+pool("worse", "cidr: true")+
		pool("good", "cidr: 10.1.0.0/16"),
		"IPPool bad (standard input:2)", "spec.cidr: overlaps IPPool good",
		"IPPool worse (standard input:7): line 10: spec.cidr: must be a string",
		"failed to apply 2 of 3 resources")
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
	old := strings.Replace(pool("a", "cidr: 10.1.0.0/16"), "name: a",
		`name: a, resourceVersion: "`+stale.GetResourceVersion()+`"`, 1)
	b.refused("apply -f -", old, "conflict")
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":    pool("a", "cidr: 10.1.0.0/16"),
		"b.json":    `{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "b"}, "spec": {"cidr": "10.2.0.0/16"}}`,
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

func TestNodeStatus(t *testing.T) {
	since := time.Date(2024, 5, 6, 7, 8, 9, 0, time.Local)
	b := newBench(t)
	b.nodes = []NodeStatus{
		{Node: "n2", Error: "felix status in pod calico-system/calico-node-x: no such container"},
		{Node: "n1", InSync: true, BGP: bgp.Status{ASNumber: 64512, Routes: 3, Peers: []bgp.PeerStatus{
			{Name: "Mesh_n2", Addr: netip.MustParseAddr("10.0.0.2"), ASNumber: 64512, Type: "NodeMesh",
				State: bgp.Active, Since: since},
			{Name: "tor", Addr: netip.MustParseAddr("fd00::1"), ASNumber: 65000, Type: "BGPPeer",
				State: bgp.Established, Since: since, Imported: 3},
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
	b.env = map[string]string{"DATASTORE_TYPE": "etcdv3"}
	b.refused("node status", "", "felix status")
	b.env = nil
	out, _, _ = b.run("node status --node n1 -o json", "")
	if got := decodeStatus("n1", []byte(strings.Trim(strings.TrimSpace(out), "[]"))); cmp.Diff(b.nodes[1], got,
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) != "" {
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
	b.cluster("v3.31.2")
	if out, _, code := b.run("version", ""); code != 0 || !strings.Contains(out, "Cluster Version:   v3.31.2\n") {
		t.Errorf("version: exit code %d: %s", code, out)
	}
	for _, line := range []string{"--help", "get --help", "label --help"} {
		if out, _, _ := b.run(line, ""); !strings.Contains(out, "kubectl calico ") ||
			strings.Contains(out, "  calicoctl ") {
			t.Errorf("%s of the plugin:\n%s", line, out)
		}
	}
}

// cluster makes the datastore that of a cluster of a version.
func (b *bench) cluster(version string) {
	b.t.Helper()
	b.run("apply -f - --allow-version-mismatch",
		"{apiVersion: projectcalico.org/v3, kind: ClusterInformation, metadata: {name: default}, "+
			"spec: {calicoVersion: "+version+", clusterType: k8s}}")
}

func TestVersionsThatAreFarApart(t *testing.T) {
	for _, test := range []struct {
		ours, theirs string
		works        bool
	}{
		{"v3.30.1", "v3.30.0", true}, {"v3.30.1", "v3.31.5", true}, {"v3.30.1", "v3.29.0", true},
		{"v3.30.1", "v3.32.0", false}, {"v3.30.1", "v3.28.4", false}, {"v4.30.0", "v3.30.0", false},
		{"(devel)", "v3.28.4", true}, {"v3.30.0", "", true}, {"v0.0.0-20260102030405-abcdef123456", "v3.30.0", true},
	} {
		b := newBench(t)
		b.cluster(test.theirs)
		b.version = test.ours
		if _, errs, code := b.run("get ippools", ""); (code == 0) != test.works || !test.works &&
			!strings.Contains(errs, "--allow-version-mismatch") {
			t.Errorf("%s on a cluster of %s: exit code %d: %s", test.ours, test.theirs, code, errs)
		}
		b.want("get ippools -o name --allow-version-mismatch", "", "")
	}
}

// Every type answers to its kind, its plural and its short names, in any case; no name means two.
func TestNamesOfTypes(t *testing.T) {
	owner := map[string]datastore.Kind{}
	for _, kind := range datastore.EtcdKinds() {
		for _, name := range namesOf(kind) {
			if other, taken := owner[name]; taken && other != kind {
				t.Errorf("%s means %s and %s", name, kind, other)
			}
			owner[name] = kind
			for _, written := range []string{name, strings.ToUpper(name)} {
				if got, err := kindNamed(written); err != nil || got != kind {
					t.Errorf("%s is %v, %v, want %s", written, got, err, kind)
				}
			}
		}
	}
	// Those of the CRDs are among them.
	for _, m := range crds.All() {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(crd.Spec.Names.ShortNames, crd.Spec.Names.Plural, crd.Spec.Names.Singular) {
			if owner[name].String() != crd.Spec.Names.Kind {
				t.Errorf("%s is %v, in the CRD %s", name, owner[name], crd.Spec.Names.Kind)
			}
		}
	}
}
