package daemon

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/calicoctl"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// slip is a way to write the metadata of a manifest.
type slip struct {
	name   string
	change func(metadata map[string]any)
	// field is what a refusal names; empty where nothing is wrong.
	field string
}

// owners are ownerReferences: to v1 objects of a kind and name each, with more fields.
func owners(fields ...map[string]any) func(map[string]any) {
	var all []any
	for _, f := range fields {
		f["apiVersion"] = "v1"
		all = append(all, f)
	}
	return set("ownerReferences", all)
}

func set(path string, value any) func(map[string]any) {
	return func(metadata map[string]any) { metadata[path] = value }
}

var slips = []slip{
	{"as it is", func(map[string]any) {}, ""},
	{"labels and annotations", func(m map[string]any) {
		m["labels"] = map[string]any{"rack": "1", "example.org/row": ""}
		m["annotations"] = map[string]any{"example.org/note": strings.Repeat("n", 5000)}
	}, ""},
	{"null labels", set("labels", nil), ""},
	{"foreign fields", func(m map[string]any) {
		m["uid"], m["generation"], m["creationTimestamp"] = "abc", 7, "2024-05-06T07:08:09Z"
	}, ""},
	{"name in capitals", set("name", "Capital"), "metadata.name"},
	{"name with an underscore", set("name", "a_b"), "metadata.name"},
	{"name with a slash", set("name", "a/b"), "metadata.name"},
	{"name with a dot at its end", set("name", "a."), "metadata.name"},
	{"long name", set("name", strings.Repeat("a", 254)), "metadata.name"},
	{"empty name", set("name", ""), "metadata.name"},
	{"number as name", set("name", 7), "metadata.name"},
	{"label key", set("labels", map[string]any{"a b": "c"}), "metadata.labels"},
	{"label value", set("labels", map[string]any{"a": "b c"}), "metadata.labels"},
	{"long label value", set("labels", map[string]any{"a": strings.Repeat("b", 64)}), "metadata.labels"},
	{"long label key", set("labels", map[string]any{strings.Repeat("b", 64): "a"}), "metadata.labels"},
	{"list of labels", set("labels", []any{"a"}), "metadata.labels"},
	{"annotation key", set("annotations", map[string]any{"a/b/c": "d"}), "metadata.annotations"},
	{"large annotations", set("annotations", map[string]any{"a": strings.Repeat("b", 256<<10)}),
		"metadata.annotations"},
	{"finalizer", set("finalizers", []any{"example.org/hold"}), ""},
	{"wrong finalizer", set("finalizers", []any{"a b"}), "metadata.finalizers"},
	{"owner", owners(map[string]any{"kind": "Pod", "name": "p", "uid": "u"}), ""},
	{"owner without uid", owners(map[string]any{"kind": "Pod", "name": "p"}), "metadata.ownerReferences"},
	{"owner without kind", owners(map[string]any{"name": "p", "uid": "u"}), "metadata.ownerReferences"},
	{"two controllers", owners(map[string]any{"kind": "Pod", "name": "p", "uid": "u", "controller": true},
		map[string]any{"kind": "Pod", "name": "q", "uid": "v", "controller": true}), "metadata.ownerReferences"},
	{"Event as owner", owners(map[string]any{"kind": "Event", "name": "p", "uid": "u"}), "metadata.ownerReferences"},
	{"unknown field", set("labls", map[string]any{}), "metadata.labls"},
	{"time", set("creationTimestamp", "yesterday"), "metadata.creationTimestamp"},
}

// scopes are the same for the namespace: of cluster-scoped kinds, and of namespaced ones.
var scopes = map[bool][]slip{
	false: {
		{"namespace of its own", set("namespace", "default"), ""},
		{"namespace that is not there", set("namespace", "nowhere"), ""},
	},
	true: {
		{"no namespace", func(m map[string]any) { delete(m, "namespace") }, ""},
		{"empty namespace", set("namespace", ""), ""},
		{"impossible namespace", set("namespace", "No_Name"), "namespace"},
	},
}

// slipped are manifests of every kind with each slip.
func slipped(t *testing.T) (manifests []validatetest.Manifest, all []slip) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range validatetest.Accepted() {
		if seen[m.Kind] || internal(m) {
			continue
		}
		seen[m.Kind] = true
		for _, s := range append(slips, scopes[m.Namespace != ""]...) {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(m.YAML), &content); err != nil {
				t.Fatal(err)
			}
			metadata := content["metadata"].(map[string]any)
			if m.Namespace != "" {
				metadata["namespace"] = "default"
			}
			s.change(metadata)
			text, err := yaml.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			manifests = append(manifests, validatetest.Manifest{TypeMeta: m.TypeMeta, Name: s.name, YAML: string(text)})
			all = append(all, s)
		}
	}
	return manifests, all
}

// sameOfAll: kubectl, `calicoctl validate`, and `calicoctl create` on Kubernetes and on etcd accept and refuse the same
// metadata, in every kind.
func (w *world) sameOfAll(t *testing.T) {
	manifests, all := slipped(t)
	out, _ := w.kubectl(t, "create", "--dry-run=server", "-f", folder(t, manifests))
	refused := map[bool]int{}
	for i, m := range manifests {
		complaint := regexp.MustCompile(fmt.Sprintf(`(?m)^.*%03d\.yaml.*$`, i)).FindString(out)
		if exists := strings.Contains(complaint, "already exists"); exists {
			complaint = "" // it passed all else
		}
		if (complaint != "") != (all[i].field != "") {
			t.Errorf("%s: kubectl says %q", m, complaint)
		}
		refused[complaint != ""]++
		byCluster, takenByCluster := w.calicoctl(t, m.YAML, "apply", "--dry-run=server", "-f", "-")
		byItself, takenByItself := w.calicoctl(t, m.YAML, "validate", "-f", "-")
		byEtcd, takenByEtcd := onEtcd(t, m.YAML, "apply", "--dry-run=server", "-f", "-")
		for name, verdict := range map[string]struct {
			said  string
			taken bool
		}{
			"apply": {byCluster, takenByCluster}, "validate": {byItself, takenByItself},
			"apply on etcd": {byEtcd, takenByEtcd},
		} {
			if verdict.taken != (complaint == "") || !verdict.taken && !strings.Contains(verdict.said, all[i].field) {
				t.Errorf("%s: calicoctl %s says %q, kubectl %q, want %q named", m, name, verdict.said, complaint,
					all[i].field)
			}
		}
	}
	t.Logf("%d manifests accepted, %d refused", refused[false], refused[true])
	if refused[false] < 100 || refused[true] < 200 {
		t.Error("that is too few")
	}
}

// onEtcd runs the tool's code on an etcd, which judges nothing itself.
func onEtcd(t *testing.T, input string, args ...string) (output string, ok bool) {
	t.Helper()
	var out bytes.Buffer
	code := calicoctl.Run(t.Context(), calicoctl.Environment{
		Name: "calicoctl", In: strings.NewReader(input), Out: &out, Err: &out,
		Getenv: func(name string) string { return map[string]string{"DATASTORE_TYPE": "etcdv3"}[name] },
		Open:   func(calicoctl.Connection) (datastore.Store, error) { return memory.New(), nil },
	}, args)
	return out.String(), code == 0
}

// emptied: kubectl sends an empty selector where YAML takes the text for a tag, and is warned.
func (w *world) emptied(t *testing.T) {
	for _, tt := range []struct{ kind, name, spec, field string }{
		{"IPPool", "emptied", "{cidr: 10.77.0.0/24, nodeSelector: %s}", "spec.nodeSelector"},
		{"BGPPeer", "emptied", "{peerIP: 192.0.2.9, asNumber: 65001, nodeSelector: %s}", "spec.nodeSelector"},
		{"GlobalNetworkPolicy", "emptied", "{selector: %s, types: [Egress]}", "spec.selector"},
		{"GlobalNetworkPolicy", "emptied",
			"{selector: a == 'b', ingress: [{action: Allow, source: {notSelector: %s}}]}",
			"spec.ingress[0].source.notSelector"},
		{"NetworkPolicy", "emptied", "{ingress: [{action: Allow, source: {namespaceSelector: %s}}]}",
			"spec.ingress[0].source.namespaceSelector"},
		{"StagedNetworkPolicy", "emptied", "{selector: %s}", "spec.selector"},
		{"KubeControllersConfiguration", "default",
			"{controllers: {node: {hostEndpoint: {autoCreate: Enabled, templates: [{generateName: a, " +
				"interfaceCIDRs: [10.0.0.0/8], nodeSelector: %s}]}}}}",
			"spec.controllers.node.hostEndpoint.templates[0].nodeSelector"},
	} {
		for selector, warned := range map[string]bool{"!has(a) ": true, `""`: true, "'!has(a)'": false} {
			text := fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: %s\nmetadata: {name: %s}\nspec: ", tt.kind,
				tt.name) +
				fmt.Sprintf(tt.spec, selector)
			out, ok := w.kubectl(t, "apply", "--dry-run=server", "-f", folder(t, []validatetest.Manifest{{YAML: text}}))
			want := "Warning: " + tt.field + ": is empty"
			if !ok || strings.Contains(out, want) != warned {
				t.Errorf("%s\nkubectl says %q, want %q: %v", text, out, want, warned)
			}
			said, taken := w.calicoctl(t, text, "apply", "--dry-run=server", "-f", "-")
			tag := strings.HasPrefix(selector, "!")
			if taken == tag || tag != strings.Contains(said, tt.field+": ! begins a YAML tag") ||
				selector == `""` && !strings.Contains(said, tt.field+": is empty") {
				t.Errorf("%s\ncalicoctl says %q", text, said)
			}
		}
	}
}
