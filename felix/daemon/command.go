package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/build"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/config"
)

// exitRestart is the exit code when a setting changed that is read at the start, Calico's.
const exitRestart = 129

// probeLimit bounds what asks a running Felix.
const probeLimit = 5 * time.Second

var discard = slog.New(slog.DiscardHandler)

// Main runs the command line and gives the exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := command(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, felix.ErrRestart):
		return exitRestart
	}
	return 1
}

func command(stdout, stderr io.Writer) *cobra.Command {
	run := func(cmd *cobra.Command, _ []string) error {
		level := &slog.LevelVar{}
		log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
		err := Run(cmd.Context(), level, log)
		if err != nil {
			log.Error("felix ends", "error", err)
		}
		return err
	}
	root := &cobra.Command{Use: "felix",
		Short: "The node agent: programs the kernel of this node with routes and policy",
		RunE:  run, SilenceErrors: true, SilenceUsage: true}
	root.SetOut(stdout)
	root.SetErr(stderr)
	add := func(use, short string, do func(context.Context) error) {
		root.AddCommand(&cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, _ []string) error {
			err := do(cmd.Context())
			if err != nil {
				fmt.Fprintln(stderr, "felix "+use+":", err)
			}
			return err
		}})
	}
	root.AddCommand(&cobra.Command{Use: "run", Short: "Run the agent (the default)", RunE: run})
	add("status", "Show what the running agent knows and has programmed, as JSON", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeLimit)
		defer cancel()
		status, err := fetchStatus(ctx)
		if err != nil {
			return err
		}
		_, err = stdout.Write(status)
		return err
	})
	add("ready", "Succeed if the running agent is ready", func(ctx context.Context) error {
		return probe(ctx,
			"readiness")
	})
	add("live", "Succeed if the running agent is alive", func(ctx context.Context) error {
		return probe(ctx,
			"liveness")
	})
	add("cleanup", "Remove the rules, sets, routes and tunnels that Felix made; stop the agent first", Cleanup)
	add("remove-state", "Remove the files that Felix and the CNI plugin keep on this node; clean up first",
		func(context.Context) error { return removeState("/") })
	add("version", "Show the version", func(context.Context) error {
		_, err := fmt.Fprintln(stdout, build.Version())
		return err
	})
	add("settings", "Show every setting as a table in Markdown",
		func(context.Context) error { return config.WriteDoc(stdout) })
	strict(root, stderr)
	return root
}

// probe asks the health endpoint of the running process.
func probe(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	local, err := localSources()
	if err != nil {
		return err
	}
	c, _ := config.Resolve(local...) // the running process has logged the error
	_, err = get(ctx, http.DefaultClient, "http://"+healthAddress(c)+"/"+path)
	return err
}

func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("ask felix: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask felix, is it running? %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("ask felix: %w", err)
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("felix answers %s: %s", response.Status, body)
	}
	return body, nil
}
