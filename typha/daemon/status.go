package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/maneki-net/maneki/typha/stream"
)

// status prints, as a table or with -json as it comes, what the nodes report to the Typha that runs on this machine with
// the same settings. The exit status is 0, 1 if Typha could not be asked, or 3 if a node has errors or lags.
func status(ctx context.Context, environ, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("typha status", flag.ContinueOnError)
	flags.SetOutput(stderr)
	raw := flags.Bool("json", false, "print JSON")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	nodes, body, err := askNodes(ctx, environ)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "typha status:", err)
		return 1
	}
	if *raw {
		_, _ = stdout.Write(body)
	} else {
		printNodes(stdout, nodes, time.Now())
	}
	for _, n := range nodes {
		if len(n.Errors) > 0 || n.Lagging() {
			return 3
		}
	}
	return 0
}

func askNodes(ctx context.Context, environ []string) (nodes []stream.NodeStatus, body []byte, err error) {
	cfg, err := parse(environ, nil)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, aliveWithin)
	defer cancel()
	url := "http://" + address(cfg.HealthHost, cfg.HealthPort) + "/nodes"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: is TYPHA_HEALTHENABLED true, and its port as here?", err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(response.Body); err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("get %s: %s: %s", url, response.Status, body)
	}
	if err = json.Unmarshal(body, &nodes); err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", url, err)
	}
	return nodes, body, nil
}

func printNodes(w io.Writer, nodes []stream.NodeStatus, now time.Time) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NODE\tCONNECTED\tCOMMIT\tAPPLIED\tBEHIND\tERRORS")
	for _, n := range nodes {
		behind := time.Duration(n.BehindSeconds * float64(time.Second)).Round(time.Second)
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\n", n.Node, now.Sub(n.Connected).Round(time.Second), n.Commit, n.Applied, behind, len(n.Errors))
	}
	_ = table.Flush()
	for _, n := range nodes {
		for _, e := range n.Errors {
			_, _ = fmt.Fprintf(w, "%s: %s\n", n.Node, e)
		}
	}
}
