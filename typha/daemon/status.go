package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
)

// status prints, as a table or with -json as it comes, what the nodes report to the Typha that runs on this machine
// with the same settings, and whether what they are given is old. The exit status is 0, 1 if Typha could not be asked,
// or 3 if a node has errors or lags, or what it is given is old.
func status(ctx context.Context, environ, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("typha status", flag.ContinueOnError)
	flags.SetOutput(stderr)
	raw := flags.Bool("json", false, "print JSON")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	var nodes []hub.NodeStatus
	var store datastoreStatus
	body, err := ask(ctx, environ, "/nodes", &nodes)
	if err == nil {
		_, err = ask(ctx, environ, "/datastore", &store)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "typha status:", err)
		return 1
	}
	if *raw {
		_, _ = stdout.Write(body)
	} else {
		printNodes(stdout, nodes, time.Now())
	}
	if complaint := store.complaint(); complaint != "" {
		_, _ = fmt.Fprintln(stderr, complaint)
		return 3
	}
	for _, n := range nodes {
		if len(n.Errors) > 0 || n.Lagging() {
			return 3
		}
	}
	return 0
}

// datastoreStatus is how new what nodes are given is.
type datastoreStatus struct {
	// SilentSeconds is how long ago the datastore was last heard of.
	SilentSeconds float64 `json:"silentSeconds"`
	// BehindSeconds is, by kind, how long ago it was last certain that no change was missing.
	BehindSeconds map[string]float64 `json:"behindSeconds"`
}

func datastoreStatusOf(view *sync.View) datastoreStatus {
	s := datastoreStatus{SilentSeconds: view.Silence().Seconds(), BehindSeconds: map[string]float64{}}
	for kind, d := range view.Behind() {
		s.BehindSeconds[kind] = d.Seconds()
	}
	return s
}

// complaint says what is wrong; nothing if nothing is.
func (s datastoreStatus) complaint() string {
	behind := map[string]time.Duration{}
	for kind, seconds := range s.BehindSeconds {
		behind[kind] = time.Duration(seconds * float64(time.Second))
	}
	kinds, longest := sync.Stale(behind)
	if len(kinds) == 0 {
		return ""
	}
	silent := time.Duration(s.SilentSeconds * float64(time.Second))
	return fmt.Sprintf("datastore: last heard of %s ago; what nodes are given may be %s old: %s",
		silent.Round(time.Second), longest.Round(time.Second), strings.Join(kinds, ", "))
}

// ask returns the answer to a path of the health port, decoded and as it came.
func ask(ctx context.Context, environ []string, path string, answer any) (body []byte, err error) {
	cfg, err := parse(environ, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, aliveWithin)
	defer cancel()
	url := "http://" + address(cfg.HealthHost, cfg.HealthPort) + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: is TYPHA_HEALTHENABLED true, and its port as here?", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s: %s", url, response.Status, body)
	}
	err = json.Unmarshal(body, answer)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	return body, nil
}

func printNodes(w io.Writer, nodes []hub.NodeStatus, now time.Time) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NODE\tCONNECTED\tCOMMIT\tAPPLIED\tBEHIND\tERRORS")
	for _, n := range nodes {
		behind := time.Duration(n.BehindSeconds * float64(time.Second)).Round(time.Second)
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\n", n.Node, now.Sub(n.Connected).Round(time.Second), n.Commit,
			n.Applied, behind, len(n.Errors))
	}
	_ = table.Flush()
	for _, n := range nodes {
		for _, e := range n.Errors {
			_, _ = fmt.Fprintf(w, "%s: %s\n", n.Node, e)
		}
		for _, notice := range n.Notices {
			_, _ = fmt.Fprintf(w, "%s: notice: %s\n", n.Node, notice)
		}
	}
}
