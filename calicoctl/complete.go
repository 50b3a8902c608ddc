package calicoctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/datastore"
)

// completionTimeout bounds how long a shell waits for names.
const completionTimeout = 3 * time.Second

// completeNames completes TYPE, and then the names of its objects in the datastore. When that cannot be
// reached there are none: a shell has nowhere to show an error.
func (t *tool) completeNames(command *cobra.Command, args []string, prefix string) ([]string,
	cobra.ShellCompDirective) {
	if len(args) == 0 {
		return starting(plurals(), prefix), cobra.ShellCompDirectiveNoFileComp
	}
	if command.Name() == "label" && len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace, err := command.Flags().GetString("namespace")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	s, err := selected(args, namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := slices.DeleteFunc(t.namesOf(command, s.kind, s.namespace),
		func(name string) bool { return slices.Contains(s.names, name) })
	return starting(names, prefix), cobra.ShellCompDirectiveNoFileComp
}

// completeNamespaces completes the flag --namespace.
func (t *tool) completeNamespaces(command *cobra.Command) {
	err := command.RegisterFlagCompletionFunc("namespace", func(command *cobra.Command, _ []string,
		prefix string) ([]string, cobra.ShellCompDirective) {
		return starting(t.namesOf(command, datastore.Namespaces, ""), prefix), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // only commands with the flag come here
	}
}

func (t *tool) namesOf(command *cobra.Command, kind datastore.Kind, namespace string) []string {
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	t.allowMismatch = true
	store, err := t.store(ctx, dryNone)
	if err != nil {
		return nil
	}
	list, err := store.List(ctx, kind, datastore.ListOptions{Namespace: namespace})
	if err != nil {
		return nil
	}
	var names []string
	for _, object := range list.Items {
		names = append(names, object.GetName())
	}
	return names
}

func starting(names []string, prefix string) []string {
	var some []string
	for _, name := range names {
		if strings.HasPrefix(name, strings.ToLower(prefix)) {
			some = append(some, name)
		}
	}
	return some
}

// fixed completes a flag with the values that it can have.
func fixed(command *cobra.Command, flag string, values ...string) {
	if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values,
		cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was made above
	}
}

func required(command *cobra.Command, flag string) {
	if err := command.MarkFlagRequired(flag); err != nil {
		panic(err) // the flag was made above
	}
}
