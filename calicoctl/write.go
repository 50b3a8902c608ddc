package calicoctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// writing is a verb that takes manifests. do changes the datastore and says what it did.
type writing struct {
	verb, past, short string
	do                func(context.Context, datastore.Store, manifest.Document) (string, error)
}

func (t *tool) applyCommand() *cobra.Command {
	return t.writeCommand(writing{"apply", "applied", "Create resources, or replace those that exist", apply})
}

func (t *tool) createCommand() *cobra.Command {
	return t.writeCommand(writing{"create", "created", "Create resources that do not exist", create})
}

func (t *tool) replaceCommand() *cobra.Command {
	return t.writeCommand(writing{"replace", "replaced", "Replace resources that exist", replace})
}

func (t *tool) writeCommand(w writing) *cobra.Command {
	var files []string
	var namespace string
	var recursive, skipExists bool
	command := &cobra.Command{
		Use: w.verb + " -f FILE", Short: w.short, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			documents, err := t.documents(files, recursive, validate.Object)
			if err != nil {
				return err
			}
			store, err := t.store()
			if err != nil {
				return err
			}
			place(documents, namespace)
			return t.each(w.verb, documents, func(d manifest.Document) (string, error) {
				done, err := w.do(command.Context(), store, d)
				if skipExists && errors.Is(err, datastore.ErrExists) {
					return "exists already", nil
				}
				return done, err
			})
		},
	}
	command.Flags().StringSliceVarP(&files, "filename", "f", nil, "file or folder with resources; - is standard input")
	command.Flags().BoolVarP(&recursive, "recursive", "R", false, "read the folders in a folder too")
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of resources that name none")
	if w.verb == "create" {
		command.Flags().BoolVar(&skipExists, "skip-exists", false, "leave resources alone that exist already")
	}
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err)
	}
	return command
}

// place gives namespaced resources that name no namespace one.
func place(documents []manifest.Document, namespace string) {
	for _, d := range documents {
		if d.Kind.Namespaced && d.Object.GetNamespace() == "" {
			d.Object.SetNamespace(namespace)
		}
	}
}

// each does something with every resource and says how it went; one that fails does not stop the others.
func (t *tool) each(verb string, documents []manifest.Document, do func(manifest.Document) (string, error)) error {
	failed := 0
	for _, d := range documents {
		done, err := do(d)
		if err != nil {
			failed++
			t.complain(d.Name(), err)
			continue
		}
		fmt.Fprintf(t.Out, "%s %s %s\n", d.Kind, datastore.KeyOf(d.Object), done)
	}
	if failed == 0 {
		return nil
	}
	fmt.Fprintf(t.Err, "Error: failed to %s %d of %d resources\n", verb, failed, len(documents))
	return errReported
}

func create(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	_, err := store.Create(ctx, d.Kind, d.Object)
	return "created", err
}

func replace(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	current, err := store.Get(ctx, d.Kind, datastore.KeyOf(d.Object))
	if err != nil {
		return "", err
	}
	keep(d.Object, current)
	updated, err := store.Update(ctx, d.Kind, d.Object)
	if err == nil && current.GetResourceVersion() == updated.GetResourceVersion() {
		return "unchanged", nil
	}
	return "replaced", err
}

// apply creates or replaces; when somebody comes in between, it starts over.
func apply(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	given := d.Object.GetResourceVersion()
	for {
		d.Object.SetResourceVersion(given)
		done, err := replace(ctx, store, d)
		switch {
		case err == nil && done == "replaced":
			return "configured", nil
		case errors.Is(err, datastore.ErrNotFound):
			if done, err = create(ctx, store, d); !errors.Is(err, datastore.ErrExists) {
				return done, err
			}
		case !errors.Is(err, datastore.ErrConflict) || given != "":
			return done, err
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
}

// keep takes over from the current object what a manifest usually does not have: its version,
// unless the manifest insists on one, and the metadata that others maintain.
func keep(object, current datastore.Object) {
	if object.GetResourceVersion() == "" {
		object.SetResourceVersion(current.GetResourceVersion())
	}
	object.SetUID(current.GetUID())
	object.SetCreationTimestamp(current.GetCreationTimestamp())
	if object.GetLabels() == nil {
		object.SetLabels(current.GetLabels())
	}
	if object.GetAnnotations() == nil {
		object.SetAnnotations(current.GetAnnotations())
	}
	if object.GetFinalizers() == nil {
		object.SetFinalizers(current.GetFinalizers())
	}
	if object.GetOwnerReferences() == nil {
		object.SetOwnerReferences(current.GetOwnerReferences())
	}
}
