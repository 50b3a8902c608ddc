// Package validatetest holds manifests that must be accepted and manifests that must be
// refused, with the messages, so that every door that they may come through is tested with
// the same ones.
//
// It is data: it judges nothing. Tests call it.
package validatetest

import (
	"embed"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

//go:embed *.yaml
var files embed.FS

// Manifest is one object in YAML.
type Manifest struct {
	metav1.TypeMeta
	Namespace, Name, YAML string
	// Server and Library are what the messages of the API server and of the library contain, if the manifest is
	// to be refused; empty where it accepts.
	Server, Library string
}

// String is kind/name.
func (m Manifest) String() string { return m.Kind + "/" + m.Name }

// Accepted returns one or more manifests of each kind that has a CRD, with nothing wrong in them.
func Accepted() []Manifest { return read("accepted.yaml") }

// Refused returns manifests of these kinds with one thing wrong in each.
func Refused() []Manifest { return read("refused.yaml", "refused-policy.yaml", "refused-other.yaml") }

// AcceptedEtcd is Accepted for the kinds that are stored in etcd alone.
func AcceptedEtcd() []Manifest { return read("accepted-etcd.yaml") }

// RefusedEtcd is Refused for the kinds that are stored in etcd alone.
func RefusedEtcd() []Manifest { return read("refused-etcd.yaml") }

// read panics, since the files are part of the program.
func read(names ...string) []Manifest {
	var all []Manifest
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		for text := range strings.SplitSeq(string(body), "\n---\n") {
			var meta metav1.PartialObjectMetadata
			if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
				panic(fmt.Sprintf("%s: %v in\n%s", name, err, text))
			}
			all = append(all, Manifest{
				TypeMeta: meta.TypeMeta, Namespace: meta.Namespace, Name: meta.Name, YAML: text,
				Server: comment(text, "# server: "), Library: comment(text, "# library: "),
			})
		}
	}
	return all
}

// comment returns the text of a comment line with a prefix; "-" stands for nothing.
func comment(text, prefix string) string {
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimPrefix(strings.TrimSpace(s), "-")
		}
	}
	return ""
}
