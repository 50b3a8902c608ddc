// Package calicoctl is the command-line tool: it applies, shows and deletes the
// projectcalico.org/v3 resources and shows the state of the nodes.
//
// It owns what the user types and reads. It talks to a datastore.Store and to the agents' pods, and decides
// nothing about resources beyond their form: admission does. Everything runs on the
// caller's goroutine; cmd/calicoctl is the caller.
package calicoctl

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/connect"
)

// Environment is what the tool works with.
type Environment struct {
	// Name that the program was started by; kubectl-calico makes it a plugin of kubectl.
	Name     string
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// Version of the program; empty is what it was built from.
	Version string
	// Open connects to the datastore and Agents to the nodes' agents.
	Open   func(Connection) (datastore.Store, error)
	Agents func(Connection) (Agents, error)
}

// Agents are the Felix agents of the cluster's nodes.
type Agents interface {
	// Status asks the agents of all nodes, or of one if node is not empty, for their state. A node
	// that does not answer is in the result with its Error; the error is for when not even the nodes are known.
	Status(ctx context.Context, node string) ([]NodeStatus, error)
}

// errReported ends the program with an exit code when everything has been said.
var errReported = errors.New("failed")

// Run executes one command line and gives the exit code: 0 when all of it was done, 1 otherwise.
func Run(ctx context.Context, env Environment, args []string) int {
	command := newCommand(env)
	command.SetArgs(args)
	err := command.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		command.PrintErrln("Error:", err)
	}
	return 1
}

// tool is one run of the program.
type tool struct {
	Environment
	connection    Connection // of flags
	configFile    string
	allowMismatch bool
	log           *slog.Logger // set before a command runs
	// complete: the datastore sets no defaults.
	complete bool
	// warned are the warnings that were printed before the API server was asked.
	warned map[string]bool
}

func newCommand(env Environment) *cobra.Command {
	t := &tool{Environment: env}
	root := &cobra.Command{
		Use:   "calicoctl",
		Short: "Manage the network and network policy of a cluster",
		Long: "Manage the projectcalico.org/v3 resources of a cluster and show the state of its nodes.\n\n" +
			"Resources are named as in Kubernetes: by kind, plural or short name (ippool, ippools, ipp).\n" +
			"Every variable of Calico's calicoctl for connecting, but for secrets, is also a flag: " +
			"ETCD_CA_CERT_FILE is --etcd-ca-cert-file.",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	called := root.Use
	if filepath.Base(env.Name) == "kubectl-calico" {
		called = "kubectl calico"
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: called}
	}
	root.Version, _ = t.build()
	root.SetVersionTemplate("Client Version:    {{.Version}}\n")
	t.connectionFlags(root)
	level := root.PersistentFlags().StringP("log-level", "l", "panic",
		"log to standard error: panic, fatal, error, warn, info or debug")
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		t.log, err = newLog(t.Err, *level)
		return err
	}
	root.PersistentFlags().BoolVar(&t.allowMismatch, "allow-version-mismatch", false,
		"work on a cluster that is more than one minor version older or newer")
	for _, w := range writings {
		root.AddCommand(t.writeCommand(w))
	}
	root.AddCommand(t.getCommand(), t.patchCommand(), t.labelCommand(), t.validateCommand(), t.convertCommand(),
		t.versionCommand(), t.nodeCommand())
	root.InitDefaultCompletionCmd()
	addElsewhere(root)
	strictGroups(root)
	strictHelp(root)
	for _, command := range root.Commands() {
		command.Example = strings.ReplaceAll(command.Example, root.Use+" ", called+" ")
		if command.Flags().Lookup("namespace") != nil {
			t.completeNamespaces(command)
		}
	}
	return root
}

// store connects to the datastore of a cluster that the program is fit for.
func (t *tool) store(ctx context.Context, dry dryRun) (datastore.Store, error) {
	store, err := t.unlogged(ctx, dry)
	if err != nil {
		return nil, err
	}
	return logging{store, t.log}, nil
}

func (t *tool) unlogged(ctx context.Context, dry dryRun) (datastore.Store, error) {
	connection, err := t.connection.complete(t.Getenv, t.configFile)
	if err != nil {
		return nil, err
	}
	connection.Warnings = t
	store, err := t.Open(connection)
	if err != nil {
		return nil, err
	}
	if !t.allowMismatch {
		if err := t.checkVersion(ctx, store); err != nil {
			return nil, err
		}
	}
	if connection.Type == connect.Etcd {
		t.complete = true
		if dry == dryNone {
			if err := ensureTiers(ctx, store); err != nil {
				return nil, err
			}
		}
		return dry.overEtcd(store)
	}
	return dry.over(store)
}
