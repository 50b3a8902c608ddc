package calicoctl

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// defaulted is a field that has a default in a CRD. In its path, [] stands for the items of a list.
type defaulted struct {
	kind  datastore.Kind
	path  []string
	value any
}

func (d defaulted) String() string { return d.kind.String() + " " + strings.Join(d.path, ".") }

// allDefaults finds them in the text of the CRDs.
func allDefaults(t *testing.T) (all []defaulted) {
	t.Helper()
	for _, m := range crds.All() {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			t.Fatal(err)
		}
		kind, ok := manifest.KindNamed(crd.Spec.Names.Kind)
		if !ok {
			t.Fatalf("%s: no kind %s", m.File, crd.Spec.Names.Kind)
		}
		var walk func(path []string, schema map[string]any)
		walk = func(path []string, schema map[string]any) {
			if value, there := schema["default"]; there {
				all = append(all, defaulted{kind, slices.Clone(path), value})
			}
			if items, ok := schema["items"].(map[string]any); ok {
				walk(append(path, "[]"), items)
			}
			properties, _ := schema["properties"].(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(properties)) {
				walk(append(path, name), properties[name].(map[string]any))
			}
		}
		walk(nil, crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	if len(all) < 25 {
		t.Fatalf("only %d fields have defaults", len(all))
	}
	return all
}

// holders returns the objects in which the field of a path would be.
func holders(value any, path []string) (all []map[string]any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			all = append(all, holders(item, path[1:])...)
		}
	case map[string]any:
		if len(path) == 1 {
			return []map[string]any{v}
		}
		return holders(v[path[0]], path[1:])
	}
	return all
}

// nested are manifests with what holds the fields that no accepted manifest reaches.
var nested = []string{
	`{kind: BGPConfiguration, metadata: {name: x}, spec: {nodeMeshPassword: {secretKeyRef: {key: a}}}}`,
	`{kind: BGPPeer, metadata: {name: x}, spec: {peerIP: 192.0.2.1, asNumber: 65000, password: {secretKeyRef: {key: a}}}}`,
	`{kind: KubeControllersConfiguration, metadata: {name: default}, spec: {controllers: {loadBalancer: {}, migration: {},
	  node: {hostEndpoint: {templates: [{generateName: a}]}}, policy: {}, workloadEndpoint: {}, serviceAccount: {},
	  namespace: {}}},
	  status: {runningConfig: {controllers: {loadBalancer: {}, migration: {}, node: {hostEndpoint: {}}}}}}`,
}

// withHolder returns a manifest in which something could hold the field, or nil.
func (d defaulted) withHolder(t *testing.T) map[string]any {
	t.Helper()
	var texts []string
	for _, m := range validatetest.Accepted() {
		if m.Kind == d.kind.String() {
			texts = append(texts, m.YAML)
		}
	}
	for _, text := range append(texts, nested...) {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatal(err)
		}
		if content["kind"] == d.kind.String() && len(holders(content, d.path)) > 0 {
			content["apiVersion"] = "projectcalico.org/v3"
			return content
		}
	}
	return nil
}

// variant returns the manifest without the field, or with another value of it.
func (d defaulted) variant(t *testing.T, change func(holder map[string]any, name string)) map[string]any {
	t.Helper()
	content := d.withHolder(t)
	for _, holder := range holders(content, d.path) {
		change(holder, d.path[len(d.path)-1])
	}
	return content
}

// variants are what a manifest can say of the field, besides the values that it may have.
func (d defaulted) variants(t *testing.T) map[string]map[string]any {
	all := map[string]map[string]any{
		"absent": d.variant(t, func(h map[string]any, name string) { delete(h, name) }),
		"null":   d.variant(t, func(h map[string]any, name string) { h[name] = nil }),
	}
	if _, text := d.value.(string); !text { // an empty text is as good as an absent one
		all["zero"] = d.variant(t, func(h map[string]any, name string) { h[name] = d.zero() })
	}
	return all
}

func (d defaulted) zero() any { return reflect.Zero(reflect.TypeOf(d.value)).Interface() }

// No Go type turns the absence of a field into a value other than its default, so that no program that decodes and
// encodes an object changes what it means.
func TestGoTypesKeepTheAbsenceOfDefaults(t *testing.T) {
	for _, d := range allDefaults(t) {
		content := d.variant(t, func(h map[string]any, name string) { delete(h, name) })
		if content == nil {
			t.Errorf("%s: no manifest has what holds it", d)
			continue
		}
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		document := manifest.Decode(data, nil)
		if document.Err != nil {
			t.Fatalf("%s: %v", d, document.Err)
		}
		data, err = json.Marshal(document.Object)
		if err != nil {
			t.Fatal(err)
		}
		var again map[string]any
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		for _, holder := range holders(again, d.path) {
			if value, there := holder[d.path[len(d.path)-1]]; there && !reflect.DeepEqual(value, d.value) {
				t.Errorf("%s: absent is encoded as %v, and its default is %v", d, value, d.value)
			}
		}
	}
}

// defaults: what a manifest leaves out is stored by this program, on Kubernetes and on etcd, as the API server stores
// it for everyone else.
func (s server) defaults() {
	s.t.Helper()
	client, err := dynamic.NewForConfig(s.api.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	database := etcdserver.Start(s.t, etcdserver.Options{})
	onEtcd := newBench(s.t)
	onEtcd.env = map[string]string{"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": database.Config.Endpoints}
	onEtcd.store, err = etcd.New(database.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	compared := 0
	for _, d := range allDefaults(s.t) {
		if d.path[0] == "status" {
			continue // only controllers write it
		}
		for name, content := range d.variants(s.t) {
			wants := s.storedByServer(client, d.kind, content)
			if wants == nil {
				continue // it refuses this value
			}
			compared++
			for how, stored := range map[string]map[string]any{
				"apply":          s.storedBy(s.bench, "apply", client, d.kind, content),
				"create":         s.storedBy(s.bench, "create", client, d.kind, content),
				"apply on etcd":  s.onEtcd(onEtcd, database, "apply", d.kind, content),
				"create on etcd": s.onEtcd(onEtcd, database, "create", d.kind, content),
			} {
				d.sameStored(s.t, name+": "+how, wants, stored)
			}
		}
	}
	s.t.Logf("%d manifests compared", compared)
	if compared < 50 {
		s.t.Errorf("only %d manifests were compared", compared)
	}
}

func (s server) at(client *dynamic.DynamicClient, kind datastore.Kind) dynamic.ResourceInterface {
	resource := client.Resource(kind.GroupVersion().WithResource(kind.Plural))
	if kind.Namespaced {
		return resource.Namespace("default")
	}
	return resource
}

// storedByServer returns what an API server stores of a manifest, or nil if it refuses it.
func (s server) storedByServer(client *dynamic.DynamicClient, kind datastore.Kind, content map[string]any) (
	written map[string]any) {
	s.t.Helper()
	object := (&unstructured.Unstructured{Object: content}).DeepCopy()
	object.SetNamespace("")
	if kind.Namespaced {
		object.SetNamespace("default")
	}
	stored, err := s.at(client, kind).Create(s.t.Context(), object, metav1.CreateOptions{FieldValidation: "Strict"})
	if apierrors.IsInvalid(err) {
		return nil
	}
	if err != nil {
		s.t.Fatalf("%s: %v", kind, err)
	}
	s.remove(client, kind, object.GetName())
	return stored.Object
}

func (s server) remove(client *dynamic.DynamicClient, kind datastore.Kind, name string) {
	s.t.Helper()
	if err := s.at(client, kind).Delete(s.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// storedBy returns what the API server has after this program wrote a manifest.
func (s server) storedBy(b *bench, verb string, client *dynamic.DynamicClient, kind datastore.Kind,
	content map[string]any) map[string]any {
	s.t.Helper()
	name := s.write(b, verb, content)
	stored, err := s.at(client, kind).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.remove(client, kind, name)
	return stored.Object
}

// onEtcd returns what etcd has after this program wrote a manifest.
func (s server) onEtcd(b *bench, database *etcdserver.Cluster, verb string, kind datastore.Kind,
	content map[string]any) map[string]any {
	s.t.Helper()
	name := s.write(b, verb, content)
	path := "/calico/resources/v3/projectcalico.org/" + kind.Plural + "/"
	if kind.Namespaced {
		path += "default/"
	}
	response, err := database.Admin().Get(s.t.Context(), path+name)
	if err != nil || len(response.Kvs) != 1 {
		s.t.Fatalf("%s: %v, %v", path+name, response, err)
	}
	var stored map[string]any
	if err := json.Unmarshal(response.Kvs[0].Value, &stored); err != nil {
		s.t.Fatal(err)
	}
	if _, err := database.Admin().Delete(s.t.Context(), path+name); err != nil {
		s.t.Fatal(err)
	}
	return stored
}

// write has this program write a manifest, and returns its name.
func (s server) write(b *bench, verb string, content map[string]any) string {
	s.t.Helper()
	object := (&unstructured.Unstructured{Object: content}).DeepCopy()
	object.SetNamespace("")
	text, err := json.Marshal(object)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, errs, code := b.run(verb+" -f -", string(text)); code != 0 {
		s.t.Fatalf("%s %s: %s", verb, text, errs)
	}
	return object.GetName()
}

// sameStored compares the field in stored objects. A Go value's zero that is not encoded is as good as a default that
// is the same.
func (d defaulted) sameStored(t *testing.T, what string, want, got map[string]any) {
	t.Helper()
	wants, gots := holders(want, d.path), holders(got, d.path)
	if len(wants) == 0 || len(wants) != len(gots) {
		t.Errorf("%s: %s stores %v, the API server %v", d, what, gots, wants)
		return
	}
	name := d.path[len(d.path)-1]
	for i := range wants {
		a, b := wants[i][name], gots[i][name]
		if _, there := gots[i][name]; !there && reflect.DeepEqual(d.value, d.zero()) {
			b = d.zero()
		}
		x, _ := json.Marshal(a)
		if y, _ := json.Marshal(b); string(x) != string(y) {
			t.Errorf("%s: %s stores %s, the API server %s", d, what, y, x)
		}
	}
}

// An object that another program stored in etcd without a field keeps its meaning when something else is changed.
func TestEtcdObjectsWithoutDefaults(t *testing.T) {
	for _, line := range []string{"label ipamconfiguration default a=b",
		"patch ipamconfiguration default -p {spec:~{strictAffinity:~true}}"} {
		b := newBench(t)
		b.store = memory.New() // sets no defaults, as etcd
		b.env = map[string]string{"DATASTORE_TYPE": "etcdv3"}
		if _, err := b.store.Create(t.Context(), datastore.IPAMConfigurations,
			&v3.IPAMConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := b.run(line, ""); code != 0 {
			t.Fatalf("%s: %s", line, errs)
		}
		stored, err := datastore.Get[*v3.IPAMConfiguration](t.Context(), b.store, datastore.IPAMConfigurations,
			datastore.Key{Name: "default"})
		if err != nil || stored.Spec.AutoAllocateBlocks != nil && !*stored.Spec.AutoAllocateBlocks {
			t.Errorf("after %s: %+v, %v", line, stored.Spec, err)
		}
	}
}
