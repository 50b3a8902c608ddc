// Package convert turns the manifests of older versions of Calico, and flannel's, into resources of
// projectcalico.org/v3, and says what it cannot map.
//
// It decides nothing about the cluster: it reads text and gives resources, which have the form but not always the
// values that admission wants. It does no I/O besides reading what it is given. calicoctl calls it.
package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/calicoctl/manifest"
)

// Result is what became of one document.
type Result struct {
	// Source is the file's name and Line, from 1, where the document begins; Name is its kind and name.
	Source string
	Line   int
	Name   string
	// Resources are what it was turned into.
	Resources []manifest.Document
	// Remarks say what of it has no place there.
	Remarks []string
	// Err says why nothing could be made of it.
	Err error
}

// errForeign is the Err of documents that are of neither Calico nor flannel's network.
var errForeign = errors.New("not a resource of Calico nor flannel's network: left out")

// Foreign reports whether a document is nothing that could be converted, such as the Deployment of a program.
func (r Result) Foreign() bool { return errors.Is(r.Err, errForeign) }

// Read converts all documents of a manifest, in their order. After a syntax error nothing more can be read.
func Read(source string, in io.Reader) []Result {
	text, err := io.ReadAll(in)
	if err != nil {
		return []Result{{Source: source, Line: 1, Err: fmt.Errorf("read it: %w", err)}}
	}
	var results []Result
	lines := strings.Split(string(text), "\n")
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return results
		}
		if err != nil {
			return append(results, Result{Source: source, Line: 1, Err: manifest.SyntaxError(err, lines)})
		}
		for _, node := range documents(&root) {
			result := Result{Source: source, Line: node.Line}
			result.Err = manifest.CheckTags(node, lines)
			if result.Err == nil {
				result.convert(node)
			}
			results = append(results, result)
		}
	}
}

// documents takes apart lists: of YAML, as Calico 2 has them, and those with items.
func documents(node *yaml.Node) []*yaml.Node {
	children := node.Content
	switch {
	case node.Kind == yaml.MappingNode:
		children = nil
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == "items" && node.Content[i+1].Kind == yaml.SequenceNode {
				children = node.Content[i+1].Content
			}
		}
		if children == nil {
			return []*yaml.Node{node}
		}
	case node.Tag == "!!null":
		return nil
	case node.Kind == yaml.ScalarNode, node.Kind == yaml.AliasNode:
		return []*yaml.Node{node}
	}
	var all []*yaml.Node
	for _, child := range children {
		all = append(all, documents(child)...)
	}
	return all
}

func (r *Result) convert(node *yaml.Node) {
	content := fields{}
	if node.Kind != yaml.MappingNode {
		r.Err = errors.New("not a resource")
		return
	}
	if err := node.Decode((*map[string]any)(&content)); err != nil {
		r.Err = fmt.Errorf("not a resource: %w", err)
		return
	}
	version, kind := content.text("apiVersion"), content.text("kind")
	metadata := content.object("metadata")
	group, _, _ := strings.Cut(version, "/")
	r.Name = strings.TrimSpace(kind + " " + name(metadata))
	legacy, isLegacy := legacies[kind]
	switch {
	case version == "v1" && isLegacy:
		r.add(legacy(content))
		r.leftOver("", content)
	case version == v3.GroupVersion.String(), group == "crd.projectcalico.org":
		if r.wellFormed(content) {
			r.add(current(kind, content, group != v3.GroupVersion.Group))
		}
	case version == "v1" && kind == "ConfigMap":
		data := content.object("data")
		config := data.text("net-conf.json")
		if config == "" {
			r.Err = errForeign
			return
		}
		r.flannel(config)
		r.leftOver("data", data)
	case version == "v1" && kind == "workloadEndpoint":
		r.Err = errors.New("no mapping: the orchestrator writes the endpoints of workloads, and will write them anew")
	default:
		r.Err = errForeign
	}
}

// wellFormed checks the parts of a resource in the form of v3, and remarks on those that are left out.
func (r *Result) wellFormed(content fields) bool {
	for _, key := range slices.Sorted(maps.Keys(content)) {
		switch key {
		case "apiVersion", "kind":
		case "metadata", "spec":
			if _, ok := content[key].(map[string]any); !ok && content[key] != nil {
				r.Err = errors.Join(r.Err, fmt.Errorf("%s: must be a mapping", key))
			}
		case "status":
			r.remark("status: left out, the cluster writes it")
		default:
			r.remark("%s: a resource has no such field", key)
		}
	}
	r.checkMetadata(content.object("metadata"))
	return r.Err == nil
}

// checkMetadata remarks on labels and annotations that Calico does not read, since it reads those in an annotation.
func (r *Result) checkMetadata(metadata fields) {
	text, ok := metadata.object("annotations")[metadataAnnotation].(string)
	if !ok {
		return
	}
	if !json.Valid([]byte(text)) {
		r.Err = errors.Join(r.Err, fmt.Errorf("metadata.annotations.%s: must be JSON", metadataAnnotation))
	}
	for _, part := range []string{"labels", "annotations"} {
		for _, key := range slices.Sorted(maps.Keys(metadata.object(part))) {
			if key != metadataAnnotation && key != corev1.LastAppliedConfigAnnotation {
				r.remark("metadata.%s.%s: left out, Calico reads those in the annotation %s", part, key,
					metadataAnnotation)
			}
		}
	}
}

// name is how a document is called in messages.
func name(metadata fields) string {
	for _, key := range []string{"name", "cidr", "peerIP"} {
		if value, ok := metadata[key].(string); ok {
			return value
		}
	}
	return ""
}

// add decodes a resource in the form of v3, and remarks on the fields that it does not have.
func (r *Result) add(kind string, metadata, spec fields) {
	content := fields{"apiVersion": v3.GroupVersion.String(), "kind": kind, "metadata": metadata, "spec": spec}
	content.prune()
	data, err := json.Marshal(content)
	if err != nil {
		r.Err = err
		return
	}
	d := manifest.Decode(data, func(path string) { r.remark("%s: %s has no such field", path, kind) })
	d.Source, d.Line = r.Source, r.Line
	if d.Err != nil {
		r.Err = errors.Join(r.Err, d.Err)
		return
	}
	r.Resources = append(r.Resources, d)
}

func (r *Result) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

// leftOver remarks on every value that nobody took.
func (r *Result) leftOver(path string, value any) {
	switch v := value.(type) {
	case fields:
		r.leftOver(path, map[string]any(v))
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			r.leftOver(strings.TrimPrefix(path+"."+key, "."), v[key])
		}
	case []any:
		for i, item := range v {
			r.leftOver(fmt.Sprintf("%s[%d]", path, i), item)
		}
	default:
		r.remark("%s: not mapped", path)
	}
}

// fields is an object of which values are taken, so that those that stay are what was not understood.
type fields map[string]any

func (f fields) take(key string) any {
	value := f[key]
	delete(f, key)
	return value
}

// text takes a scalar.
func (f fields) text(key string) string {
	switch value := f[key].(type) {
	case nil, map[string]any, []any:
		return ""
	default:
		delete(f, key)
		return fmt.Sprint(value)
	}
}

// object returns an inner object, which stays: what is taken is taken out of it.
func (f fields) object(key string) fields {
	inner, _ := f[key].(map[string]any)
	return inner
}

// list returns the items of a list, which stay.
func (f fields) list(key string) []any {
	items, _ := f[key].([]any)
	return items
}

// prune removes what is not set, from inner objects as well.
func (f fields) prune() {
	for key, value := range f {
		if inner, ok := value.(fields); ok {
			inner.prune()
			if len(inner) == 0 && key != "spec" {
				delete(f, key)
			}
		} else if value == nil || value == "" {
			delete(f, key)
		}
	}
}
