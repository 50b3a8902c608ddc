// Package manifest reads the files that users write: YAML or JSON with one or more
// documents, each a resource or a list of them.
//
// It is strict: a field that the resource does not have, a key given twice and a value of the wrong
// type are errors that say where they stand and what would be right. It judges the form
// alone, not whether values make sense, and does no I/O besides reading what it is given.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/defaults"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/datastore"
)

// scheme makes an empty object of a kind.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v3.AddToScheme(s))
	return s
}()

// Document is one resource of a manifest.
type Document struct {
	// Source is the file's name and Line, from 1, where the resource begins; empty without a file.
	Source string
	Line   int
	// Kind and Object are set when the document could be read; otherwise Err says why not.
	Kind   datastore.Kind
	Object datastore.Object
	// Complete is the Object with the defaults of its CRD: what an API server makes of it, and what is stored where
	// there is none. They are set while it can still be told what the user left out.
	Complete datastore.Object
	// Missing are the fields that the CRD wants and the user left out; a Go value does not tell.
	Missing field.ErrorList
	// Warnings say what of the document was read otherwise than it is written.
	Warnings []string
	Err      error
}

// Name is how messages call the document: kind and name as far as they are known, and where it stands.
func (d Document) Name() string {
	if d.Object == nil {
		return fmt.Sprintf("%s:%d", d.Source, d.Line)
	}
	if d.Source == "" {
		return fmt.Sprintf("%s %s", d.Kind, datastore.KeyOf(d.Object))
	}
	return fmt.Sprintf("%s %s (%s:%d)", d.Kind, datastore.KeyOf(d.Object), d.Source, d.Line)
}

// Read returns the resources of a manifest in order; empty documents are skipped. Errors are
// in the Documents; after a syntax error nothing more can be read.
func Read(source string, in io.Reader) []Document {
	text, err := io.ReadAll(in)
	if err != nil {
		return []Document{{Source: source, Line: 1, Err: fmt.Errorf("read it: %w", err)}}
	}
	lines := strings.Split(string(text), "\n")
	var documents []Document
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			return append(documents, Document{Source: source, Line: 1, Err: SyntaxError(err, lines)})
		}
		if len(root.Content) == 1 && root.Content[0].Tag != "!!null" {
			documents = append(documents, read(source, root.Content[0], lines)...)
		}
	}
}

// SyntaxError explains an error of the YAML decoder about some lines.
func SyntaxError(err error, lines []string) error {
	hint := tagIn(lines)
	if hint == "" && strings.Contains(err.Error(), "cannot start any token") {
		hint = " (indent with spaces, not tabs, and put what begins with @ or a backquote in quotes)"
	}
	return fmt.Errorf("not YAML: %s%s", strings.TrimPrefix(err.Error(), "yaml: "), hint)
}

// read takes a document apart when it is a list.
func read(source string, node *yaml.Node, lines []string) []Document {
	document := Document{Source: source, Line: node.Line}
	fail := func(format string, args ...any) []Document {
		document.Err = fmt.Errorf(format, args...)
		return []Document{document}
	}
	if node.Kind != yaml.MappingNode {
		return fail("line %d: a resource is a mapping with apiVersion, kind, metadata and spec", node.Line)
	}
	kind := scalar(node, "kind")
	if items := child(node, "items"); items != nil && items.Kind == yaml.SequenceNode &&
		strings.HasSuffix(kind, "List") {
		var documents []Document
		for _, item := range items.Content {
			documents = append(documents, read(source, item, lines)...)
		}
		return documents
	}
	if kind == "" {
		return fail("line %d: kind: must be set, one of %s", node.Line, kindNames())
	}
	if err := checkVersion(scalar(node, "apiVersion"), kind); err != nil {
		return fail("line %d: %w", node.Line, err)
	}
	found, ok := KindNamed(kind)
	if !ok {
		return fail("line %d: kind: there is no %q%s (known are %s)", lineOf(node, "kind"), kind,
			meant(kind, kindList()), kindNames())
	}
	document.Kind = found
	return []Document{document.decode(node, &reader{lines: lines})}
}

// KindNamed finds a kind of projectcalico.org/v3 by its name as in manifests.
func KindNamed(name string) (datastore.Kind, bool) {
	for _, kind := range datastore.EtcdKinds() {
		if kind.String() == name {
			return kind, true
		}
	}
	return datastore.Kind{}, false
}

// convertHint is what to do about resources of older versions.
const convertHint = "calicoctl convert rewrites older manifests"

// checkVersion explains an apiVersion that is not ours.
func checkVersion(version, kind string) error {
	_, known := KindNamed(kind)
	group, _, _ := strings.Cut(version, "/")
	switch {
	case version == v3.GroupVersion.String():
		return nil
	case group == "crd.projectcalico.org":
		return fmt.Errorf("apiVersion: must be %s for kind %s, not %q: %s", v3.GroupVersion, kind, version, convertHint)
	case version == "v1" && kind != "" && kind[0] >= 'a' && kind[0] <= 'z':
		return fmt.Errorf("kind: %s is of Calico 2, before %s: %s", kind, v3.GroupVersion, convertHint)
	case known && (kind == "Node" && version == "v1" || kind == "NetworkPolicy" && group == "networking.k8s.io"),
		!known && version != "":
		return fmt.Errorf("%s of %q: calicoctl is for resources of %s; use kubectl for this one", kind, version,
			v3.GroupVersion)
	}
	return fmt.Errorf("apiVersion: must be %s for kind %s, not %q", v3.GroupVersion, kind, version)
}

// Decode reads one resource of projectcalico.org/v3 that is not a user's file: its errors have no lines. With
// unknown, fields that the resource does not have are left out and told to it, by their paths.
func Decode(data []byte, unknown func(path string)) Document {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return Document{Err: fmt.Errorf("not YAML: %w", err)}
	}
	if len(root.Content) != 1 {
		return Document{Err: errors.New("nothing is there")}
	}
	node := root.Content[0]
	kind, ok := KindNamed(scalar(node, "kind"))
	if !ok {
		return Document{Err: fmt.Errorf("kind: there is no %q", scalar(node, "kind"))}
	}
	return Document{Kind: kind}.decode(node, &reader{noLines: true, unknown: unknown})
}

// decode fills in the Object. It is set even when there is an error, if only its name, so that messages can name it.
func (d Document) decode(node *yaml.Node, r *reader) Document {
	object := empty(d.Kind)
	object.SetName(scalar(child(node, "metadata"), "name"))
	object.SetNamespace(scalar(child(node, "metadata"), "namespace"))
	d.Object = object

	value := r.value(node, reflect.TypeOf(object).Elem(), "", 0)
	if object.GetName() == "" {
		r.fail(node, "metadata.name", "must be set")
	}
	if len(r.errs) > 0 {
		d.Err = errors.Join(r.errs...)
		return d
	}
	d.Warnings = r.warnings
	data, err := json.Marshal(value)
	if err == nil {
		err = d.fill(object, data)
	}
	if err == nil {
		err = d.complete(data)
	}
	if err != nil {
		d.Err = fmt.Errorf("line %d: %w", node.Line, err)
		return d
	}
	if namespace := object.GetNamespace(); namespace != "" && !d.Kind.Namespaced {
		d.Warnings = append(d.Warnings, fmt.Sprintf("metadata.namespace: %s is left out: %s is in no namespace",
			namespace, d.Kind))
		d.SetNamespace("")
	}
	return d
}

// SetNamespace puts the resource into a namespace.
func (d Document) SetNamespace(namespace string) {
	d.Object.SetNamespace(namespace)
	d.Complete.SetNamespace(namespace)
}

func (d Document) fill(object datastore.Object, data []byte) error {
	if err := json.Unmarshal(data, object); err != nil {
		return err
	}
	object.GetObjectKind().SetGroupVersionKind(d.Kind.GroupVersionKind)
	return nil
}

// complete sets what depends on which fields there are: Complete, Missing and some Warnings.
func (d *Document) complete(data []byte) error {
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return err
	}
	d.Warnings = append(d.Warnings, validate.EmptySelectors(content)...)
	defaults.Raw(d.Kind.String(), content)
	if s := schema.Of(d.Kind.String()); s != nil && content["spec"] != nil {
		for _, err := range s.Properties["spec"].Check(field.NewPath("spec"), content["spec"]) {
			if err.Type == field.ErrorTypeRequired {
				d.Missing = append(d.Missing, err)
			}
		}
	}
	completed, err := json.Marshal(content)
	if err != nil {
		return err
	}
	d.Complete = empty(d.Kind)
	return d.fill(d.Complete, completed)
}

// empty returns a resource of a kind without anything in it.
func empty(kind datastore.Kind) datastore.Object {
	object, err := scheme.New(kind.GroupVersionKind)
	if err != nil {
		panic(err) // every kind of ours is registered
	}
	return object.(datastore.Object)
}

// child is the value of a mapping's key, or nil.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

func scalar(node *yaml.Node, key string) string {
	if value := child(node, key); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}
	return ""
}

func lineOf(node *yaml.Node, key string) int {
	if value := child(node, key); value != nil {
		return value.Line
	}
	return node.Line
}

func kindList() []string {
	var names []string
	for _, kind := range datastore.EtcdKinds() {
		names = append(names, kind.String())
	}
	return names
}

func kindNames() string { return strings.Join(kindList(), ", ") }

// Named is a document that is nothing but an object's name, as a command line gives it.
func Named(kind datastore.Kind, key datastore.Key) Document {
	object := empty(kind)
	object.SetNamespace(key.Namespace)
	object.SetName(key.Name)
	return Document{Kind: kind, Object: object}
}
