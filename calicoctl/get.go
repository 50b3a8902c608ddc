package calicoctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/datastore"
)

func (t *tool) getCommand() *cobra.Command {
	var files []string
	var namespace, format string
	var recursive, everywhere bool
	command := &cobra.Command{
		Use: "get (TYPE [NAME...] | -f FILE)", Short: "Show resources",
		RunE: func(command *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			store, err := t.store()
			if err != nil {
				return err
			}
			if everywhere {
				namespace = ""
			}
			var found []datastore.Object
			failed := error(nil)
			if len(args) == 1 && len(files) == 0 {
				s, err := selected(args, namespace)
				if err != nil {
					return err
				}
				if len(s.names) == 0 {
					if found, err = list(command.Context(), store, s); err != nil {
						return err
					}
					return t.print(s.kind, found, format, true)
				}
			}
			documents, err := t.named(args, files, recursive, namespace)
			if err != nil {
				return err
			}
			for _, d := range documents {
				object, err := store.Get(command.Context(), d.Kind, datastore.KeyOf(d.Object))
				if err != nil {
					t.complain(d.Name(), err)
					failed = errReported
					continue
				}
				found = append(found, object)
			}
			for _, group := range byKind(found) {
				if err := t.print(group.kind, group.objects, format, len(documents) > 1); err != nil {
					return err
				}
			}
			return failed
		},
	}
	command.Flags().StringSliceVarP(&files, "filename", "f", nil, "file or folder that names the resources; - is standard input")
	command.Flags().BoolVarP(&recursive, "recursive", "R", false, "read the folders in a folder too")
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of namespaced resources")
	command.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "list the resources of all namespaces")
	command.Flags().StringVarP(&format, "output", "o", "", "wide, yaml, json or name (default a table)")
	return command
}

// list gives all objects of a kind, which the API sorts by name.
func list(ctx context.Context, store datastore.Store, s selection) ([]datastore.Object, error) {
	found, err := store.List(ctx, s.kind, datastore.ListOptions{Namespace: s.namespace})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.kind.Plural, err)
	}
	return found.Items, nil
}

type group struct {
	kind    datastore.Kind
	objects []datastore.Object
}

// byKind splits objects into runs of one kind, in their order.
func byKind(objects []datastore.Object) []group {
	var groups []group
	for _, object := range objects {
		kind, err := datastore.KindOf(object)
		if err != nil {
			panic(err)
		}
		if n := len(groups); n == 0 || groups[n-1].kind != kind {
			groups = append(groups, group{kind: kind})
		}
		last := &groups[len(groups)-1]
		last.objects = append(last.objects, object)
	}
	return groups
}
