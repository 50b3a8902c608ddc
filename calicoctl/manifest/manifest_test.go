package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

const header = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\nspec:\n"

const policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: p}\n"

func TestErrorsSayWhereAndWhat(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"misspelt field", header + "  cidr: 10.0.0.0/16\n  natOutgoin: true\n",
			"line 7: spec.natOutgoin: unknown field; did you mean natOutgoing?"},
		{"nothing near", header + "  cidr: 10.0.0.0/16\n  colour: red\n", "line 7: spec.colour: unknown field"},
		{"case", header + "  CIDR: 10.0.0.0/16\n", "line 6: spec.CIDR: unknown field; did you mean cidr?"},
		{"at the top", header + "  cidr: 10.0.0.0/16\nspecs: {}\n", "line 7: specs: unknown field; did you mean spec?"},
		{"in metadata", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, label: {}}\n",
			"line 3: metadata.label: unknown field; did you mean labels?"},
		{"twice", header + "  cidr: 10.0.0.0/16\n  cidr: 10.1.0.0/16\n",
			"line 7: spec.cidr: given twice, first in line 6"},
		{"number for a string", header + "  cidr: 10\n", `line 6: spec.cidr: must be a string, put it in quotes: "10"`},
		{"string for a boolean", header + "  natOutgoing: maybe\n",
			`line 6: spec.natOutgoing: must be true or false, not "maybe"`},
		{"string for a number", header + "  blockSize: big\n",
			`line 6: spec.blockSize: must be a whole number from -9223372036854775808 to 9223372036854775807, not "big"`},
		{"out of range", "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {asNumber: " +
			"4294967296}\n",
			`line 4: spec.asNumber: must be a whole number from 0 to 4294967295, not "4294967296"`},
		{"scalar for a list", header + "  allowedUses: Workload\n", "line 6: spec.allowedUses: must be a list"},
		{"list item", header + "  allowedUses: [Workload, 7]\n",
			`line 6: spec.allowedUses[1]: must be a string, put it in quotes: "7"`},
		{"scalar for a mapping", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: none\n",
			"line 4: spec: must be a mapping with allowedUses, assignmentMode, blockSize, cidr, disableBGPExport, " +
				"disabled, ipipMode, namespaceSelector, …"},
		{"bad time", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, creationTimestamp: soon}\n",
			`line 3: metadata.creationTimestamp: must be a time, for example 2024-05-06T07:08:09Z, not "soon"`},
		{"no name", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {}\n",
			"line 1: metadata.name: must be set"},
		{"unknown kind", "apiVersion: projectcalico.org/v3\nkind: IPool\n",
			`line 2: kind: there is no "IPool"; did you mean IPPool?`},
		{"no kind", "apiVersion: projectcalico.org/v3\n",
			"line 1: kind: must be set, one of BGPConfiguration, BGPFilter, BGPPeer,"},
		{"wrong version", "apiVersion: crd.projectcalico.org/v1\nkind: IPPool\n",
			`apiVersion: must be projectcalico.org/v3 for kind IPPool, not "crd.projectcalico.org/v1": calicoctl convert`},
		{"no version", "kind: IPPool\n", `line 1: apiVersion: must be projectcalico.org/v3 for kind IPPool, not ""`},
		{"version of another kind", "apiVersion: v1\nkind: IPPool\n",
			`line 1: apiVersion: must be projectcalico.org/v3 for kind IPPool, not "v1"`},
		{"Calico 2", "apiVersion: v1\nkind: ipPool\n",
			"kind: ipPool is of Calico 2, before projectcalico.org/v3: calicoctl convert"},
		{"Kubernetes' Node", "apiVersion: v1\nkind: Node\n", "use kubectl for this one"},
		{"Kubernetes' NetworkPolicy", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n",
			"use kubectl for this one"},
		{"text for an order", policy + "spec: {order: first}\n", `line 4: spec.order: must be a number, not "first"`},
		{"no number", policy + "spec: {order: .nan}\n", `line 4: spec.order: must be a number, not ".nan"`},
		{"in a rule", policy + "spec:\n  ingress:\n  - action: Allow\n    source: {net: 10.0.0.0/8}\n",
			"line 7: spec.ingress[0].source.net: unknown field; did you mean nets?"},
		{"a port", policy + "spec: {ingress: [{action: Allow, destination: {ports: [1.5]}}]}\n",
			"line 4: spec.ingress[0].destination.ports[0]: must be a whole number or a string, not 1.5"},
		{"a duration", "apiVersion: projectcalico.org/v3\nkind: KubeControllersConfiguration\nmetadata: {name: " +
			"default}\nspec: {controllers: {node: {leakGracePeriod: soon}}}\n",
			`line 4: spec.controllers.node.leakGracePeriod: must be a duration, for example 90s, 5m or 1h, not "soon"`},
		{"a Kubernetes resource", "apiVersion: v1\nkind: Pod\n", "use kubectl for this one"},
		{"not a mapping", "- a\n", "line 1: a resource is a mapping"},
		{"not YAML", header + "  cidr: [\n", "not YAML: line 6"},
		{"a tag", header + "  cidr: 10.0.0.0/16\n  nodeSelector: !has(reflector)\n",
			`line 7: spec.nodeSelector: ! begins a YAML tag, not a text: put it in quotes: '!has(reflector)'`},
		{"a tag and a comment", header + "  nodeSelector: !has(reflector) # not these\n", `quotes: '!has(reflector)'`},
		{"a tag and more", header + "  nodeSelector: !has(a) in {'a', 'b'}\n", `quotes: "!has(a) in {'a', 'b'}"`},
		{"a tag alone", header + "  nodeSelector: ! has(reflector)\n",
			`line 6: spec.nodeSelector: ! begins a YAML tag, not a text: put it in quotes: '! has(reflector)'`},
		{"a tag of YAML's form", header + "  nodeSelector: !!has(reflector)\n", `quotes: '!!has(reflector)'`},
		{"a tag on another line", header + "  nodeSelector:\n    !(all())\n",
			`line 7: spec.nodeSelector: ! begins a YAML tag, not a text: put it in quotes: '!(all())'`},
		{"a tag in a list", header + "  allowedUses: [!has(a), Workload]\n",
			`line 6: spec.allowedUses[0]: ! begins a YAML tag, not a text: put it in quotes: '!has(a)'`},
		{"a tag in a list of lines", header + "  allowedUses:\n  - !has(a)\n",
			`line 7: spec.allowedUses[0]: ! begins a YAML tag`},
		{"a tag deep inside", policy + "spec:\n  ingress:\n  - action: Allow\n    source:\n      selector: !has(a)\n",
			`line 8: spec.ingress[0].source.selector: ! begins a YAML tag, not a text: put it in quotes: '!has(a)'`},
		{"a tag in front of a mapping",
			"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: !x {cidr: 10.0.0.0/16}\n",
			`line 4: spec: ! begins a YAML tag`},
		{"a tag in a map of labels",
			"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, labels: {a: !x b}}\n",
			`line 3: metadata.labels.a: ! begins a YAML tag, not a text: put it in quotes: '!x b'`},
		{"a tag and an anchor", header + "  nodeSelector: !has(a) && has(b)\n",
			`(line 6: ! begins a YAML tag, not a text: put it in quotes: '!has(a) && has(b)')`},
		{"a tag and a literal", header + "  nodeSelector: !has(a) || has(b)\n",
			`(line 6: ! begins a YAML tag, not a text: put it in quotes: '!has(a) || has(b)')`},
		{"a tag in braces", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: " +
			"{nodeSelector: !has(a)}\n",
			`(line 4: ! begins a YAML tag, not a text: put it in quotes: '!has(a)')`},
		{"an alias inside itself", header + "  cidr: &a [*a]\n", "must be a string"},
		{"endless", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, ownerReferences: &a [*a]}\n",
			"must be a mapping with"},
	} {
		t.Run(test.name, func(t *testing.T) {
			documents := Read("f.yaml", strings.NewReader(test.text))
			last := documents[len(documents)-1]
			if last.Err == nil || !strings.Contains(last.Err.Error(), test.want) {
				t.Errorf("error %v\nwant %s", last.Err, test.want)
			}
		})
	}
}

func TestEveryErrorOfADocumentIsNamed(t *testing.T) {
	documents := Read("f.yaml", strings.NewReader(header+"  cidrr: 10.0.0.0/16\n  natOutgoing: 7\n"))
	want := "line 6: spec.cidrr: unknown field; did you mean cidr?\nline 7: spec.natOutgoing: must be true or " +
		"false, not \"7\""
	if got := documents[0].Err.Error(); got != want {
		t.Errorf("errors\n%s\nwant\n%s", got, want)
	}
	if got, want := documents[0].Name(), "IPPool p (f.yaml:1)"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
}

// The commonest slips, in every kind.
func TestEveryKindIsReadStrictly(t *testing.T) {
	for _, kind := range datastore.EtcdKinds() {
		header := "apiVersion: projectcalico.org/v3\nkind: " + kind.String() + "\nmetadata:\n  name: x\n"
		for text, want := range map[string]string{
			"spec: {}\n":                     "",
			"spec:\n  misspelt: 1\n":         "line 6: spec.misspelt: unknown field",
			"spec: text\n":                   "line 5: spec: must be a mapping with",
			"spec: []\n":                     "line 5: spec: must be a mapping with",
			"spec: {}\nspec: {}\n":           "line 6: spec: given twice, first in line 5",
			"spek: {}\n":                     "line 5: spek: unknown field; did you mean spec?",
			"  label: {}\nspec: {}\n":        "line 5: metadata.label: unknown field; did you mean labels?",
			"  labels: {a: [1]}\nspec: {}\n": `line 5: metadata.labels.a: must be a string`,
		} {
			documents := Read("f.yaml", strings.NewReader(header+text))
			if err := fmt.Sprint(documents[0].Err); !strings.Contains(err, want) ||
				(documents[0].Err == nil) != (want == "") {
				t.Errorf("%s with %q: %s, want %q", kind, text, err, want)
			}
		}
		wrong := strings.Replace(header, "/v3", "/v2", 1)
		if d := Read("f.yaml", strings.NewReader(wrong))[0]; d.Err == nil ||
			!strings.Contains(d.Err.Error(), "apiVersion: must be projectcalico.org/v3 for kind "+kind.String()) {
			t.Errorf("%s of another version: %v", kind, d.Err)
		}
		misspelt := kind.String() + "x"
		wrong = strings.Replace(header, "kind: "+kind.String(), "kind: "+misspelt, 1)
		if d := Read("f.yaml", strings.NewReader(wrong))[0]; d.Err == nil ||
			!strings.Contains(d.Err.Error(), `line 2: kind: there is no "`+misspelt+`"; did you mean `+kind.String()+
				"?") {
			t.Errorf("%s: %v", misspelt, d.Err)
		}
	}
}

func TestDecodeTellsWhatItLeavesOut(t *testing.T) {
	data := []byte(`{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16", "new": {"a": 1}}}`)
	var left []string
	d := Decode(data, func(path string) { left = append(left, path) })
	if d.Err != nil || d.Object.(*v3.IPPool).Spec.CIDR != "10.0.0.0/16" || len(left) != 1 || left[0] != "spec.new" {
		t.Errorf("decoded %+v, left out %v", d, left)
	}
	if d := Decode(data, nil); d.Err == nil || d.Err.Error() != "spec.new: unknown field" {
		t.Errorf("strictly: %v", d.Err)
	}
}

func TestRead(t *testing.T) {
	text := `---
# nothing here
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: first
  annotations: &more {rack: "2", row: "3"}
  labels: {rack: "1", <<: *more}
  creationTimestamp: 2024-05-06T07:08:09Z
spec:
  cidr: 10.0.0.0/16
  natOutgoing: yes
  allowedUses: [Workload]
---
apiVersion: v1
kind: List
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {name: second}
  spec:
    natOutgoing: on
    cidr: fd00::/64
- {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "third"}, "spec": {"asNumber": 4294967295}}
`
	var got []string
	for _, d := range Read("-", strings.NewReader(text)) {
		if d.Err != nil {
			t.Fatalf("%s: %v", d.Name(), d.Err)
		}
		got = append(got, d.Name())
		switch o := d.Object.(type) {
		case *v3.IPPool:
			if !o.Spec.NATOutgoing || o.APIVersion != "projectcalico.org/v3" {
				t.Errorf("%s: %+v", d.Name(), o)
			}
			if o.Name == "first" && (o.CreationTimestamp.Year() != 2024 || o.Labels["rack"] != "1" ||
				o.Labels["row"] != "3" || len(o.Spec.AllowedUses) != 1) {
				t.Errorf("first: %+v", o)
			}
		case *v3.BGPPeer:
			if o.Spec.ASNumber != 4294967295 {
				t.Errorf("third: %+v", o)
			}
		}
	}
	want := []string{"IPPool first (-:4)", "IPPool second (-:19)", "BGPPeer third (-:25)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(header + "  cidr: 10.0.0.0/16\n")
	f.Add("a: &a [*a]\n---\nkind: List\nitems: [{kind: IPPool}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range Read("f", strings.NewReader(text)) {
			if d.Err == nil && d.Object == nil {
				t.Errorf("neither object nor error for %q", text)
			}
		}
	})
}

// What only looks like a tag is a text like others.
func TestTextsThatAreNoTags(t *testing.T) {
	for text, want := range map[string]string{
		"all()": "all()", "'!has(a)'": "!has(a)", `"!has(a)"`: "!has(a)", "has(b) && !has(a)": "has(b) && !has(a)",
		"(!has(a))": "(!has(a))", "!!str all()": "all()", "|-\n    !has(a)": "!has(a)", ">-\n    !has(a)": "!has(a)",
	} {
		d := Read("f.yaml", strings.NewReader(header+"  cidr: 10.0.0.0/16\n  nodeSelector: "+text+"\n"))[0]
		if d.Err != nil || d.Object.(*v3.IPPool).Spec.NodeSelector != want {
			t.Errorf("%s: %v, %v", text, d.Object, d.Err)
		}
	}
}

// Numbers and booleans of labels and annotations become texts, as in Calico's tools; a warning says when the text is
// not the one that is written.
func TestLabelsThatAreNoTexts(t *testing.T) {
	for _, test := range []struct{ written, want, warning string }{
		{"true", "true", ""}, {"False", "false", `False becomes "false"`}, {"1", "1", ""}, {"-7", "-7", ""},
		{"0x10", "16", `0x10 becomes "16"`},
		{"1.5", "1.5", ""}, {"1.10", "1.1", `1.10 becomes "1.1"`}, {"18446744073709551615", "18446744073709551615", ""},
		{"'1.10'", "1.10", ""}, {"yes", "yes", ""}, {"1.2.3", "1.2.3", ""}, {"2024-05-06", "2024-05-06", ""},
		{"", "", ""}, {"null", "", ""},
	} {
		for _, field := range []string{"labels", "annotations"} {
			for _, kind := range []string{"Node", "IPPool"} {
				text := "apiVersion: projectcalico.org/v3\nkind: " + kind + "\nmetadata:\n  name: n\n  " + field +
					":\n    key: " + test.written + "\n"
				d := Read("f.yaml", strings.NewReader(text))[0]
				if d.Err != nil {
					t.Errorf("%s: %v", text, d.Err)
					continue
				}
				got := map[string]map[string]string{"labels": d.Object.GetLabels(),
					"annotations": d.Object.GetAnnotations()}[field]["key"]
				warnings := strings.Join(d.Warnings, "")
				if got != test.want || !strings.Contains(warnings, test.warning) ||
					(warnings == "") != (test.warning == "") {
					t.Errorf("%s %s: %s is %q with the warning %q, want %q and %q", kind, field, test.written, got,
						warnings, test.want, test.warning)
				}
			}
		}
	}
}

// A number has the value that YAML gives it, as in every other tool.
func TestWholeNumbers(t *testing.T) {
	for written, want := range map[string]uint32{"64512": 64512, "0x10": 16, "010": 8, "0o10": 8, "64512.0": 64512,
		"6.4512e4":   64512,
		"4294967295": 4294967295, "4294967296": 0, "-1": 0, "1.5": 0, "'7'": 0, "4294967296.0": 0, "1e300": 0,
		"true": 0} {
		d := Read("f", strings.NewReader("apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: "+
			"p}\nspec: {asNumber: "+written+"}\n"))[0]
		if want == 0 {
			if d.Err == nil || !strings.Contains(d.Err.Error(), "line 4: spec.asNumber: must be a whole number from "+
				"0 to 4294967295") {
				t.Errorf("%s: %v, %v", written, d.Object, d.Err)
			}
		} else if d.Err != nil || d.Object.(*v3.BGPPeer).Spec.ASNumber != want {
			t.Errorf("%s: %v, %v", written, d.Object, d.Err)
		}
	}
}

// A namespace on a kind that has none is left out, as the API server does.
func TestNamespaceOfClusterScopedKinds(t *testing.T) {
	for _, kind := range datastore.EtcdKinds() {
		d := Read("f", strings.NewReader("apiVersion: projectcalico.org/v3\nkind: "+kind.String()+
			"\nmetadata: {name: p, namespace: calico-system}\n"))[0]
		want, warning := "", "metadata.namespace: calico-system is left out: "+kind.String()+" is in no namespace"
		if kind.Namespaced {
			want, warning = "calico-system", ""
		}
		if d.Err != nil || d.Object.GetNamespace() != want || d.Complete.GetNamespace() != want ||
			strings.Join(d.Warnings, "") != warning {
			t.Errorf("%s: %v, %v, %v, %q", kind, d.Err, d.Object.GetNamespace(), d.Complete.GetNamespace(), d.Warnings)
		}
	}
}
