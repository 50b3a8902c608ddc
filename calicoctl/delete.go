package calicoctl

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

func (t *tool) deleteCommand() *cobra.Command {
	var files []string
	var namespace string
	var recursive, skipMissing bool
	command := &cobra.Command{
		Use: "delete (TYPE NAME... | -f FILE)", Short: "Delete resources",
		RunE: func(command *cobra.Command, args []string) error {
			documents, err := t.named(args, files, recursive, namespace)
			if err != nil {
				return err
			}
			store, err := t.store()
			if err != nil {
				return err
			}
			return t.each("delete", documents, func(d manifest.Document) (string, error) {
				err := store.Delete(command.Context(), d.Kind, datastore.KeyOf(d.Object), datastore.Preconditions{})
				if skipMissing && errors.Is(err, datastore.ErrNotFound) {
					return "does not exist", nil
				}
				return "deleted", err
			})
		},
	}
	command.Flags().StringSliceVarP(&files, "filename", "f", nil, "file or folder with the resources to delete; - is standard input")
	command.Flags().BoolVarP(&recursive, "recursive", "R", false, "read the folders in a folder too")
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of resources that name none")
	command.Flags().BoolVar(&skipMissing, "skip-not-exists", false, "succeed also for resources that do not exist")
	return command
}

// named gives the resources that arguments or files name; either, not both.
func (t *tool) named(args, files []string, recursive bool, namespace string) ([]manifest.Document, error) {
	switch {
	case len(files) > 0 && len(args) > 0:
		return nil, errors.New("give either TYPE NAME or -f FILE, not both")
	case len(files) > 0:
		documents, err := t.documents(files, recursive, nil)
		place(documents, namespace)
		return documents, err
	case len(args) == 0:
		return nil, errors.New("say what: TYPE NAME, or -f FILE")
	}
	s, err := selected(args, namespace)
	if err != nil {
		return nil, err
	}
	if len(s.names) == 0 {
		return nil, errors.New("say which " + s.kind.Plural + " by their names")
	}
	var documents []manifest.Document
	for _, key := range s.keys() {
		documents = append(documents, manifest.Named(s.kind, key))
	}
	return documents, nil
}
