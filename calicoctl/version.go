package calicoctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/build"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

func (t *tool) versionCommand() *cobra.Command {
	var client bool
	var poll time.Duration
	command := &cobra.Command{
		Use: "version", Short: "Show the versions of this program and of the cluster", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if poll < 0 {
				return fmt.Errorf("--poll=%s: must be 0 or more, for example 10s", poll)
			}
			version, commit := t.build()
			fmt.Fprintf(t.Out, "Client Version:    %s\nGit commit:        %s\n", version, commit)
			if client {
				return nil
			}
			t.allowMismatch = true
			store, err := t.store(command.Context(), dryNone)
			if err != nil {
				return err
			}
			if poll > 0 {
				t.followVersion(command.Context(), store, poll)
				return nil
			}
			shown, err := clusterVersion(command.Context(), store)
			fmt.Fprint(t.Out, shown)
			return err
		},
	}
	command.Flags().BoolVar(&client, "client", false, "show this program's version alone, without a cluster")
	command.Flags().DurationVar(&poll, "poll", 0, "go on, look again after this time, and show what changed (0: once)")
	return command
}

// clusterVersion returns what is printed of the cluster's version.
func clusterVersion(ctx context.Context, store datastore.Store) (string, error) {
	object, err := store.Get(ctx, datastore.ClusterInformations, datastore.Key{Name: "default"})
	if errors.Is(err, datastore.ErrNotFound) {
		return "", errors.New("the cluster has no ClusterInformation default: it is not installed, " +
			"or the nodes have not started yet")
	}
	if err != nil {
		return "", err
	}
	spec := object.(*v3.ClusterInformation).Spec
	return fmt.Sprintf("Cluster Version:   %s\nCluster Type:      %s\n", spec.CalicoVersion, spec.ClusterType), nil
}

// followVersion shows the cluster's version, or why it is not known, and again when it has changed, until ctx ends.
func (t *tool) followVersion(ctx context.Context, store datastore.Store, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for before := ""; ctx.Err() == nil; {
		shown, err := clusterVersion(ctx, store)
		switch {
		case err != nil && ctx.Err() == nil:
			fmt.Fprintln(t.Err, err)
		case shown != before:
			fmt.Fprint(t.Out, shown)
		}
		before = shown
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// build says what this program was built from.
func (t *tool) build() (version, commit string) {
	return cmp.Or(t.Version, build.Version()), build.Commit()
}

// release finds the major and minor number of a version.
var release = regexp.MustCompile(`^v?(\d+)\.(\d+)\.`)

// checkVersion refuses a cluster that is more than one minor version away: what the one does not know of the other
// could be lost. Versions that are no releases, and clusters that do not say theirs, are not compared.
func (t *tool) checkVersion(ctx context.Context, store datastore.Store) error {
	info, err := datastore.Get[*v3.ClusterInformation](ctx, store, datastore.ClusterInformations,
		datastore.Key{Name: "default"})
	switch {
	case errors.Is(err, datastore.ErrUnavailable) && !notServed(err):
		return err // so that nobody waits twice
	case err != nil:
		return nil // the cluster does not say, or not to this user
	}
	version, _ := t.build()
	ours, theirs := release.FindStringSubmatch(version), release.FindStringSubmatch(info.Spec.CalicoVersion)
	if ours == nil || theirs == nil || ours[1]+ours[2] == "00" || theirs[1]+theirs[2] == "00" {
		return nil
	}
	minor, _ := strconv.Atoi(ours[2])
	other, _ := strconv.Atoi(theirs[2])
	if ours[1] == theirs[1] && max(minor-other, other-minor) <= 1 {
		return nil
	}
	return fmt.Errorf("this program is %s and the cluster %s, more than one minor version apart: "+
		"use a version like the cluster's, or --allow-version-mismatch", version, info.Spec.CalicoVersion)
}
