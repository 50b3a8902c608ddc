// Command cluster brings a Kubernetes of several nodes up on this machine, and
// takes it down again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	var status exitStatus
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	c := &cluster.Config{Progress: os.Stderr}
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A Kubernetes of several nodes on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&c.Name, "name", "dev", "the cluster's name")
	root.AddCommand(up(c), down(c), shell(c), execute(c), logs(c), dump(c), load(c), redeploy(c))
	return root
}

func up(c *cluster.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or converge it when it exists",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			cl, err := cluster.Up(cmd.Context(), *c)
			if err != nil {
				return err
			}
			fmt.Printf("cluster %s is up after %s\nexport KUBECONFIG=%s\n", c.Name,
				time.Since(began).Round(100*time.Millisecond), cl.Kubeconfig())
			return nil
		},
	}
	cmd.Flags().IntVar(&c.Nodes, "nodes", 3, "number of nodes")
	cmd.Flags().IntVar(&c.Subnets, "subnets", 1, "number of layer-2 networks that the nodes are spread over")
	cmd.Flags().StringVar((*string)(&c.IP), "ip", string(cluster.Dual), "IP families: ipv4, ipv6 or dual")
	cmd.Flags().StringVar((*string)(&c.CNI), "cni", string(cluster.CNINone), "pod network: none or ptp")
	return cmd
}

func down(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster and all it left on the machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Down(cmd.Context(), *c)
		},
	}
}

func shell(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "shell NODE",
		Short: "Open a shell in a node, in the router or in tor",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return attach(cmd.Context(), *c, args[0], "bash", "-l")
		},
	}
}

func execute(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "exec NODE -- COMMAND…",
		Short: "Run a command in a node, in the router or in tor",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return attach(cmd.Context(), *c, args[0], args[1:]...)
		},
	}
}

// attach runs a command with this process's terminal, whose interrupts are
// the command's business alone.
func attach(ctx context.Context, c cluster.Config, where string, argv ...string) error {
	cl, err := cluster.Open(c)
	if err != nil {
		return err
	}
	cmd, err := cl.Command(context.WithoutCancel(ctx), where, argv...)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitStatus(exit.ExitCode())
	}
	return err
}

// exitStatus is how a command ended that has said itself what was wrong.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func logs(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "logs",
		Short: "Follow the logs of all components on all nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := cluster.Open(*c)
			if err != nil {
				return err
			}
			var files []string
			for _, n := range cl.Nodes() {
				found, err := filepath.Glob(filepath.Join(n.Dir, "log", "*.log"))
				if err != nil {
					return fmt.Errorf("find logs: %w", err)
				}
				files = append(files, found...)
			}
			tail := exec.CommandContext(cmd.Context(), "tail", append([]string{"-n", "20", "-F"}, files...)...)
			tail.Stdout, tail.Stderr = os.Stdout, os.Stderr
			if err := tail.Run(); cmd.Context().Err() == nil {
				return err
			}
			return nil // interrupted, as it is meant to be ended
		},
	}
}

func load(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "load ARCHIVE…",
		Short: "Import image archives into every node",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := cluster.Open(*c)
			if err != nil {
				return err
			}
			return cl.LoadImage(cmd.Context(), args...)
		},
	}
}

func dump(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "dump",
		Short: "Write down objects, logs and the network of every node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := cluster.Open(*c)
			if err != nil {
				return err
			}
			dir, err := cl.Dump(cmd.Context())
			fmt.Println(dir)
			return err
		},
	}
}

func redeploy(c *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "redeploy COMPONENT",
		Short: "Rebuild a component and put it into the running cluster",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := cluster.Open(*c)
			if err != nil {
				return err
			}
			return cl.Redeploy(cmd.Context(), args[0])
		},
	}
}
