package calicoctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/calicoctl/manifest"
)

// documents reads manifests: a file, "-" for standard input, or the .yaml, .yml and .json files of a
// folder. judge finds what else is wrong with a resource that could be read; nil finds nothing. Nothing is returned
// when anything is wrong, so that a command changes nothing rather than a part; the
// errors have then been printed.
func (t *tool) documents(files []string, recursive bool, judge func(runtime.Object) field.ErrorList) ([]manifest.Document, error) {
	var all []manifest.Document
	for _, file := range files {
		documents, err := t.read(file, recursive)
		if err != nil {
			return nil, err
		}
		all = append(all, documents...)
	}
	bad := 0
	for _, d := range all {
		if d.Err == nil && judge != nil {
			d.Err = judge(d.Object).ToAggregate()
		}
		if d.Err != nil {
			bad++
			t.complain(d.Name(), d.Err)
		}
	}
	switch {
	case bad > 0:
		return nil, fmt.Errorf("nothing was changed: %d of %d resources cannot be used", bad, len(all))
	case len(all) == 0:
		return nil, fmt.Errorf("no resource in %s", strings.Join(files, ", "))
	}
	return all, nil
}

func (t *tool) read(file string, recursive bool) ([]manifest.Document, error) {
	if file == "-" {
		return manifest.Read("standard input", t.In), nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if !info.IsDir() {
		return readFile(file)
	}
	var all []manifest.Document
	err = filepath.WalkDir(file, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != file && !recursive:
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			return nil
		}
		documents, err := readFile(path)
		all = append(all, documents...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read manifests of %s: %w", file, err)
	}
	return all, nil
}

func readFile(path string) ([]manifest.Document, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer in.Close()
	return manifest.Read(path, in), nil
}

// complain prints what is wrong with one resource, a line for each error.
func (t *tool) complain(name string, err error) {
	for _, one := range flatten(err) {
		fmt.Fprintf(t.Err, "%s: %s\n", name, one)
	}
}

// flatten takes apart errors that were joined.
func flatten(err error) []error {
	var aggregate utilerrors.Aggregate
	if errors.As(err, &aggregate) {
		return aggregate.Errors()
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && strings.Contains(err.Error(), "\n") {
		return joined.Unwrap()
	}
	return []error{err}
}
