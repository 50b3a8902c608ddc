// Package crds holds the CustomResourceDefinitions of projectcalico.org/v3, which are
// generated from the Go types in api/v3.
//
// It owns the files and nothing else: whoever installs the product applies them.
package crds

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed *.yaml
var files embed.FS

// Manifest is one CustomResourceDefinition.
type Manifest struct {
	// File is the name of the file, for example projectcalico.org_ippools.yaml.
	File string
	// YAML is its content, one document.
	YAML []byte
}

// All returns every manifest, ordered by file name. They are independent of each other.
func All() []Manifest {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(fmt.Sprintf("crds: list embedded files: %v", err)) // the pattern is constant
	}
	manifests := make([]Manifest, len(names))
	for i, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("crds: read embedded %s: %v", name, err))
		}
		manifests[i] = Manifest{File: name, YAML: body}
	}
	return manifests
}
