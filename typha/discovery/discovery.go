// Package discovery finds the replicas of Typha behind their Service, by a watch of its EndpointSlices.
//
// It speaks plain HTTP with the API server, because Felix links no clientset. It keeps what it saw last: an API server
// that is away takes no replica away. Felix and Typha run a Watcher each, on one goroutine; the other methods are for any.
package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Watcher.
type Options struct {
	Client *http.Client // with the credentials for the API server
	Host   string       // the API server's URL
	// Namespace and Service name the Service, Port the port of it where it has several.
	Namespace, Service, Port string
	// Node is the node whose zone is preferred; empty for none.
	Node string
	Log  *slog.Logger
}

// Endpoint is a replica that is ready.
type Endpoint struct {
	Address string // host:port
	Zone    string
}

// Watcher follows the EndpointSlices of a Service. Make it with New.
type Watcher struct {
	opts Options

	mu        sync.Mutex
	endpoints []Endpoint
	known     bool // the API server has answered once
	zone      string
	changed   chan struct{} // closed when endpoints change, and replaced
}

// New makes a Watcher that knows nothing before Run.
func New(opts Options) *Watcher {
	opts.Host = strings.TrimSuffix(opts.Host, "/")
	return &Watcher{opts: opts, changed: make(chan struct{})}
}

// The waits before the API server is asked again double from the first to the last, with jitter.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// A watch is asked for again after this time, so that one which silently broke does not last.
const watchTime = 5 * time.Minute

// Run follows the Service until ctx ends, and returns its error.
func (w *Watcher) Run(ctx context.Context) error {
	backoff, complaint := firstBackoff, ""
	for {
		began := time.Now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > lastBackoff {
			backoff, complaint = firstBackoff, ""
		}
		if err != nil && err.Error() != complaint {
			complaint = err.Error()
			w.opts.Log.Warn("typha's replicas not watched, retrying", "error", err)
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
			return ctx.Err()
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// follow lists the slices and watches them until the watch ends.
func (w *Watcher) follow(ctx context.Context) error {
	if err := w.findZone(ctx); err != nil {
		w.opts.Log.Debug("own zone not known", "error", err)
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []slice `json:"items"`
	}
	const listTime = 10 * time.Second
	if err := w.get(ctx, listTime, w.slices(nil), func(d *json.Decoder) error { return d.Decode(&list) }); err != nil {
		return err
	}
	byName := map[string]slice{}
	for _, s := range list.Items {
		byName[s.Metadata.Name] = s
	}
	w.set(byName)
	query := url.Values{"watch": {"true"}, "resourceVersion": {list.Metadata.ResourceVersion},
		"timeoutSeconds": {strconv.Itoa(int(watchTime.Seconds()))}}
	return w.get(ctx, watchTime+listTime, w.slices(query), func(d *json.Decoder) error {
		for {
			var event struct {
				Type   string `json:"type"`
				Object slice  `json:"object"`
			}
			if err := d.Decode(&event); err != nil {
				return fmt.Errorf("watch ended: %w", err)
			}
			switch event.Type {
			case "ADDED", "MODIFIED":
				byName[event.Object.Metadata.Name] = event.Object
			case "DELETED":
				delete(byName, event.Object.Metadata.Name)
			default:
				return fmt.Errorf("watch ended: %s", event.Type)
			}
			w.set(byName)
		}
	})
}

func (w *Watcher) slices(query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("labelSelector", "kubernetes.io/service-name="+w.opts.Service)
	return "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(w.opts.Namespace) + "/endpointslices?" + query.Encode()
}

// get asks the API server, within a time, and passes the answer on.
func (w *Watcher) get(ctx context.Context, within time.Duration, path string, read func(*json.Decoder) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	failed := func(err error) error {
		return fmt.Errorf("endpoints of Service %s/%s: %w", w.opts.Namespace, w.opts.Service, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.opts.Host+path, nil)
	if err != nil {
		return failed(err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := w.opts.Client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return failed(errors.New(response.Status))
	}
	if err := read(json.NewDecoder(response.Body)); err != nil {
		return failed(err)
	}
	return nil
}

// findZone asks once for the zone of the own node.
func (w *Watcher) findZone(ctx context.Context) error {
	if w.opts.Node == "" || w.ownZone() != "" {
		return nil
	}
	var node struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	err := w.get(ctx, 5*time.Second, "/api/v1/nodes/"+url.PathEscape(w.opts.Node), func(d *json.Decoder) error { return d.Decode(&node) })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zone = node.Metadata.Labels["topology.kubernetes.io/zone"]
	return err
}

func (w *Watcher) ownZone() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.zone
}

// slice is what is read of an EndpointSlice (discovery.k8s.io/v1).
type slice struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Endpoints []struct {
		Addresses  []string `json:"addresses"`
		Zone       string   `json:"zone"`
		Conditions struct {
			Ready *bool `json:"ready"`
		} `json:"conditions"`
	} `json:"endpoints"`
	Ports []struct {
		Name *string `json:"name"`
		Port *int32  `json:"port"`
	} `json:"ports"`
}

// ready gives the slice's endpoints that are ready.
func (s slice) ready(portName string) (found []Endpoint) {
	for _, port := range s.Ports {
		if port.Port == nil || len(s.Ports) > 1 && (port.Name == nil || *port.Name != portName) {
			continue
		}
		for _, endpoint := range s.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}
			for _, addr := range endpoint.Addresses {
				found = append(found, Endpoint{net.JoinHostPort(addr, strconv.Itoa(int(*port.Port))), endpoint.Zone})
			}
		}
	}
	return found
}

func (w *Watcher) set(byName map[string]slice) {
	var found []Endpoint
	for _, s := range byName {
		found = append(found, s.ready(w.opts.Port)...)
	}
	slices.SortFunc(found, func(a, b Endpoint) int { return strings.Compare(a.Address, b.Address) })
	found = slices.CompactFunc(found, func(a, b Endpoint) bool { return a.Address == b.Address })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known && slices.Equal(found, w.endpoints) {
		return
	}
	w.endpoints, w.known = found, true
	close(w.changed)
	w.changed = make(chan struct{})
	w.opts.Log.Debug("typha's replicas", "endpoints", found)
}

// ErrNone says that no replica is ready, or that the API server has not answered yet.
var ErrNone = errors.New("no ready endpoint is known")

// Addresses gives the replicas as host:port in an order to try them: those in the own zone first, otherwise by chance, so
// that many nodes spread evenly.
func (w *Watcher) Addresses() ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.endpoints) == 0 {
		return nil, fmt.Errorf("Service %s/%s: %w", w.opts.Namespace, w.opts.Service, ErrNone)
	}
	shuffled := slices.Clone(w.endpoints)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	var near, far []string
	for _, e := range shuffled {
		if w.zone != "" && e.Zone == w.zone {
			near = append(near, e.Address)
		} else {
			far = append(far, e.Address)
		}
	}
	return append(near, far...), nil
}

// Changed gives a channel that is closed when the replicas are others than at the call.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Count gives how many replicas are ready, and whether the API server has said so.
func (w *Watcher) Count() (n int, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.endpoints), w.known
}
