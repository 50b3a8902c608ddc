package calicoctl

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

func (t *tool) versionCommand() *cobra.Command {
	var client bool
	command := &cobra.Command{
		Use: "version", Short: "Show the versions of this program and of the cluster", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			version, commit := build()
			fmt.Fprintf(t.Out, "Client Version:    %s\nGit commit:        %s\n", version, commit)
			if client {
				return nil
			}
			store, err := t.store()
			if err != nil {
				return err
			}
			object, err := store.Get(command.Context(), datastore.ClusterInformations, datastore.Key{Name: "default"})
			if errors.Is(err, datastore.ErrNotFound) {
				return errors.New("the cluster has no ClusterInformation default: it is not installed, or the nodes have not started yet")
			}
			if err != nil {
				return err
			}
			spec := object.(*v3.ClusterInformation).Spec
			fmt.Fprintf(t.Out, "Cluster Version:   %s\nCluster Type:      %s\n", spec.CalicoVersion, spec.ClusterType)
			return nil
		},
	}
	command.Flags().BoolVar(&client, "client", false, "show this program's version alone, without a cluster")
	return command
}

// build says what this program was built from.
func build() (version, commit string) {
	version, commit = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	version = info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			commit = setting.Value
		}
	}
	return version, commit
}
