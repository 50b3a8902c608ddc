package calicoctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/defaults"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// input is the flags that name manifests, and the namespace of resources that name none.
type input struct {
	files                []string
	recursive, skipEmpty bool
	namespace            string
}

func (in *input) flags(command *cobra.Command) {
	f := command.Flags()
	f.StringSliceVarP(&in.files, "filename", "f", nil, "file or folder with resources; - is standard input")
	f.BoolVarP(&in.recursive, "recursive", "R", false, "read the folders in a folder too")
	f.BoolVar(&in.skipEmpty, "skip-empty", false, "succeed when there is no resource in the files")
	in.namespaceFlag(command)
}

func (in *input) namespaceFlag(command *cobra.Command) {
	command.Flags().StringVarP(&in.namespace, "namespace", "n", defaultNamespace,
		"namespace of namespaced resources that name none")
}

const defaultNamespace = "default"

// read returns the resources of the files that can be used, and how many cannot; what is wrong with those has then been
// printed. With judge, values are judged as well.
func (t *tool) read(in *input, judge bool) (good []manifest.Document, bad int, err error) {
	var all []manifest.Document
	for _, file := range in.files {
		documents, err := t.readFiles(file, in.recursive)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, documents...)
	}
	if len(all) == 0 && !in.skipEmpty {
		return nil, 0, fmt.Errorf("no resource in %s (--skip-empty accepts that)", strings.Join(in.files, ", "))
	}
	for _, d := range all {
		if d.Err == nil && d.Kind.Namespaced && d.Object.GetNamespace() == "" {
			d.SetNamespace(in.namespace)
		}
		if d.Err == nil {
			t.warnAbout(d.Name(), d.Warnings)
		}
		if d.Err == nil && judge {
			d.Err = judged(d.Complete, d.Missing)
			t.warn(d)
		}
		if d.Err != nil {
			bad++
			t.complain(d.Name(), d.Err)
			continue
		}
		good = append(good, d)
	}
	return good, bad, nil
}

// judged says what is wrong with an object as it will be stored, and with what of it is missing.
func judged(object datastore.Object, missing field.ErrorList) error {
	object = object.DeepCopyObject().(datastore.Object)
	if err := defaults.Set(object); err != nil {
		return err
	}
	errs := validate.Object(object)
	for _, m := range missing {
		if !slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Field == m.Field }) {
			errs = append(errs, m)
		}
	}
	return errs.ToAggregate()
}

// readFiles reads a file, standard input, or the .yaml, .yml and .json files of a folder.
func (t *tool) readFiles(file string, recursive bool) ([]manifest.Document, error) {
	var all []manifest.Document
	err := t.open(file, recursive, func(source string, in io.Reader) error {
		all = append(all, manifest.Read(source, in)...)
		return nil
	})
	return all, err
}

// open calls each with the contents of a file, of standard input, or of the manifests of a folder.
func (t *tool) open(file string, recursive bool, each func(source string, in io.Reader) error) error {
	if file == "-" {
		return each("standard input", t.In)
	}
	if strings.Contains(file, "://") {
		return fmt.Errorf("-f %s: URLs are not read, so that what is applied is what you have seen: curl -O it, or "+
			"pipe it into -f -", file)
	}
	err := filepath.WalkDir(file, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != file && !recursive:
			return fs.SkipDir
		case entry.IsDir(), path != file && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		return each(path, in)
	})
	if err != nil {
		return fmt.Errorf("read manifests of %s: %w", file, err)
	}
	return nil
}

// complain prints what is wrong with one resource, a line for each error.
func (t *tool) complain(name string, err error) {
	for _, one := range flatten(err) {
		fmt.Fprintf(t.Err, "%s: %s\n", name, explained(one))
	}
}

// explained says more of an error than the server does.
func explained(err error) error {
	if notServed(err) {
		return fmt.Errorf("the cluster does not serve this kind: it is older than this program, or its CRDs are not "+
			"installed: %w", err)
	}
	return err
}

// notServed reports whether an error is that the API server does not know the kind.
func notServed(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
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
