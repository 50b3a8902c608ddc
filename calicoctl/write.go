package calicoctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// writing is a verb that takes manifests. do changes the datastore and says what it did.
type writing struct {
	verb, short string
	do          func(context.Context, datastore.Store, manifest.Document) (string, error)
}

var writings = []writing{
	{"apply", "Create resources, or replace those that exist", apply},
	{"create", "Create resources that do not exist", create},
	{"replace", "Replace resources that exist", replace},
	{"delete", "Delete resources", remove},
}

func (t *tool) writeCommand(w writing) *cobra.Command {
	var in input
	var dry dryRun
	var skip bool
	command := &cobra.Command{
		Use: w.verb + " -f FILE", Short: w.short, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, args []string) error {
			documents, bad, err := t.named(&in, args, w.verb != "delete")
			if err != nil {
				return err
			}
			store, err := t.store(command.Context(), dry)
			if err != nil {
				return err
			}
			return t.each(w.verb, documents, bad, func(d manifest.Document) (string, error) {
				if d.Complete != nil && (t.complete || dry == dryClient) {
					d.Object = d.Complete
				}
				done, err := w.do(command.Context(), store, d)
				switch {
				case skip && errors.Is(err, datastore.ErrExists):
					return "exists already", nil
				case skip && errors.Is(err, datastore.ErrNotFound):
					return "does not exist", nil
				case err == nil && dry == dryNone && w.verb != "delete":
					t.warnLeftOut(command.Context(), store, d.Name(), d.Object)
				}
				return done + dry.suffix(), err
			})
		},
	}
	in.flags(command)
	dry.flag(command)
	switch w.verb {
	case "create":
		command.Flags().BoolVar(&skip, "skip-exists", false, "leave resources alone that exist already")
	case "delete":
		command.Use, command.Args = "delete (TYPE NAME... | -f FILE)", cobra.ArbitraryArgs
		command.ValidArgsFunction = t.completeNames
		command.Flags().BoolVarP(&skip, "skip-not-exists", "s", false, "succeed also for resources that do not exist")
	}
	return command
}

// named returns the resources that arguments or files name; either, not both.
func (t *tool) named(in *input, args []string, judge bool) (good []manifest.Document, bad int, err error) {
	switch {
	case len(in.files) > 0 && len(args) > 0:
		return nil, 0, errors.New("give either TYPE NAME or -f FILE, not both")
	case len(in.files) > 0:
		return t.read(in, judge)
	case judge:
		return nil, 0, errors.New("say what: -f FILE, -f FOLDER, or -f - for standard input")
	case len(args) == 0:
		return nil, 0, errors.New("say what: TYPE NAME, or -f FILE")
	}
	s, err := selected(args, in.namespace)
	if err != nil {
		return nil, 0, err
	}
	good, err = s.documents()
	return good, 0, err
}

// each does something with every resource and says how it went; one that fails does not stop the others. bad is how
// many failed before.
func (t *tool) each(verb string, documents []manifest.Document, bad int,
	do func(manifest.Document) (string, error)) error {
	total := len(documents) + bad
	for _, d := range documents {
		done, err := do(d)
		if err != nil {
			bad++
			t.complain(d.Name(), err)
			continue
		}
		fmt.Fprintf(t.Out, "%s %s %s\n", d.Kind, datastore.KeyOf(d.Object), done)
	}
	if bad == 0 {
		return nil
	}
	fmt.Fprintf(t.Err, "Error: failed to %s %d of %d resources\n", verb, bad, total)
	return errReported
}

// validateCommand judges without a datastore.
func (t *tool) validateCommand() *cobra.Command {
	var in input
	command := &cobra.Command{
		Use: "validate -f FILE", Short: "Judge resources without a cluster", Args: cobra.NoArgs,
		Long: "Judge resources without a cluster: their form, their values, and what the values say together. What " +
			"depends on\n" +
			"other resources, such as pools that overlap, only the cluster knows: apply --dry-run=server asks it.",
		RunE: func(*cobra.Command, []string) error {
			documents, bad, err := t.named(&in, nil, true)
			if err != nil {
				return err
			}
			return t.each("validate", documents, bad, func(manifest.Document) (string, error) { return "valid", nil })
		},
	}
	in.flags(command)
	return command
}

func create(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	_, err := store.Create(ctx, d.Kind, d.Object)
	return "created", err
}

func remove(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	key := datastore.KeyOf(d.Object)
	if d.Kind == datastore.IPPools {
		if err := unused(ctx, store, key.Name); err != nil {
			return "", err
		}
	}
	if err := store.Delete(ctx, d.Kind, key, datastore.Preconditions{}); err != nil {
		return "", err
	}
	left, err := store.Get(ctx, d.Kind, key)
	if err == nil && left.GetDeletionTimestamp() != nil {
		return fmt.Sprintf("marked as deleted: it stays until its finalizers are removed (%s)",
			strings.Join(left.GetFinalizers(), ", ")), nil
	}
	return "deleted", nil
}

func replace(ctx context.Context, store datastore.Store, d manifest.Document) (string, error) {
	current, err := store.Get(ctx, d.Kind, datastore.KeyOf(d.Object))
	if err != nil {
		return "", err
	}
	keep(d.Object, current)
	updated, err := store.Update(ctx, d.Kind, d.Object)
	if err == nil && same(current, updated) {
		return "unchanged", nil
	}
	return "replaced", err
}

// same compares all but the revision, which a dry run does not move.
func same(a, b datastore.Object) bool {
	b = b.DeepCopyObject().(datastore.Object)
	b.SetResourceVersion(a.GetResourceVersion())
	b.SetGeneration(a.GetGeneration())
	return equality.Semantic.DeepEqual(a, b)
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
			done, err = create(ctx, store, d)
			if !errors.Is(err, datastore.ErrExists) {
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
