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
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/datastore"
)

// Environment is what the tool works with.
type Environment struct {
	// Name that the program was started by; kubectl-calico makes it a plugin of kubectl.
	Name     string
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
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
	command.SetIn(env.In)
	command.SetOut(env.Out)
	command.SetErr(env.Err)
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
	connection Connection
}

func newCommand(env Environment) *cobra.Command {
	t := &tool{Environment: env}
	root := &cobra.Command{
		Use:   "calicoctl",
		Short: "Manage the network and network policy of a cluster",
		Long: "Manage the projectcalico.org/v3 resources of a cluster and show the state of its nodes.\n\n" +
			"Resources are named as in Kubernetes: by kind, plural or short name (ippool, ippools).",
		SilenceUsage: true, SilenceErrors: true,
	}
	if filepath.Base(env.Name) == "kubectl-calico" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl calico"}
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&t.connection.Kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&t.connection.Context, "context", "", "context of the kubeconfig file (default its current one)")
	flags.StringVarP(&t.connection.ConfigFile, "config", "c", defaultConfigFile, "file with connection settings (CalicoAPIConfig)")
	root.AddCommand(t.applyCommand(), t.createCommand(), t.replaceCommand(), t.getCommand(), t.deleteCommand(),
		t.versionCommand(), t.nodeCommand())
	return root
}

// store connects to the datastore.
func (t *tool) store() (datastore.Store, error) {
	connection, err := t.connection.complete(t.Getenv)
	if err != nil {
		return nil, err
	}
	return t.Open(connection)
}
