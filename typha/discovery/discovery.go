// Package discovery finds the replicas of Typha behind their Service, by a watch of its EndpointSlices.
//
// It asks over plain HTTP, because Felix links no clientset. It keeps what it saw last, on disk too if it is told
// where: an API server that is away takes no replica away. It never asks a replica. Felix, Typha and kube-controllers
// run a Watcher each, on one goroutine; the other methods are for any.
package discovery

import (
	"cmp"
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

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/api/backoff"
)

// PortName is the name that the port has in Typha's Service.
const PortName = "calico-typha"

// Options of a Watcher.
type Options struct {
	API *rest.Config
	// Namespace and Service name the Service, Port the port of it where it has several.
	Namespace, Service, Port string
	// Node is the node whose zone is preferred; empty for none.
	Node string
	// File keeps the endpoints for a start without the API server; empty keeps none.
	File string
	Log  *slog.Logger // nil discards
}

// Endpoint is where a replica is.
type Endpoint struct {
	Address string `json:"address"` // host:port
	Zone    string `json:"zone,omitempty"`
	Pod     string `json:"pod,omitempty"`
}

// Watcher follows the EndpointSlices of a Service. Make it with New.
type Watcher struct {
	opts   Options
	client *http.Client
	server *url.URL

	mu        sync.Mutex
	endpoints []Endpoint // sorted by address
	unready   []Endpoint // those that are there and not ready, likewise
	known     bool       // the API server has answered once
	zone      string
	changed   chan struct{} // closed when endpoints change, and replaced
}

// New makes a Watcher that knows nothing before Run. It does not connect.
func New(opts Options) (*Watcher, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	client, err := rest.HTTPClientFor(opts.API)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", opts.API.Host, err)
	}
	server, _, err := rest.DefaultServerUrlFor(opts.API)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", opts.API.Host, err)
	}
	return &Watcher{opts: opts, client: client, server: server, changed: make(chan struct{})}, nil
}

// The waits before the API server is asked again double from the first to the last, with jitter.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

const (
	// askTime bounds a question that is answered at once.
	askTime = 10 * time.Second
	// A watch is asked for again after watchTime to twice that, so that one which silently broke does not last, and not
	// by all nodes at once.
	watchTime = 5 * time.Minute
)

// Run follows the Service until ctx ends, and returns its error.
func (w *Watcher) Run(ctx context.Context) error {
	retries, complaint := backoff.Backoff{First: firstBackoff, Last: lastBackoff}, ""
	for {
		began := time.Now()
		listed, err := w.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !listed {
			w.recall()
		}
		if listed && time.Since(began) > lastBackoff {
			// otherwise each node would list and list where no watch is let be
			retries.Reset()
			complaint = ""
		}
		if err.Error() != complaint {
			complaint = err.Error()
			w.opts.Log.Info("typha's replicas not watched, retrying", "error", err)
		}
		select {
		case <-time.After(retries.Spread()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow lists the slices and watches them until the watch ends, which the error tells of. It says whether it listed
// them.
func (w *Watcher) follow(ctx context.Context) (listed bool, err error) {
	if err := w.findZone(ctx); err != nil {
		w.opts.Log.Info("zone of this node not known", "error", err)
	}
	var list discoveryv1.EndpointSliceList
	if err := w.ask(ctx, askTime, w.slices(url.Values{}),
		func(d *json.Decoder) error { return d.Decode(&list) }); err != nil {
		return false, fmt.Errorf("list endpoints of Service %s/%s: %w", w.opts.Namespace, w.opts.Service, err)
	}
	byName := map[string]discoveryv1.EndpointSlice{}
	for _, s := range list.Items {
		byName[s.Name] = s
	}
	w.set(byName)
	lasts := watchTime + rand.N(watchTime)
	watch := w.slices(url.Values{"watch": {"true"}, "resourceVersion": {list.ResourceVersion},
		"timeoutSeconds": {strconv.Itoa(int(lasts.Seconds()))}})
	err = w.ask(ctx, lasts+askTime, watch, func(d *json.Decoder) error {
		for {
			if err := w.event(d, byName); err != nil {
				return err
			}
			w.set(byName)
		}
	})
	return true, fmt.Errorf("watch endpoints of Service %s/%s: %w", w.opts.Namespace, w.opts.Service, err)
}

// event takes one event of a watch into account.
func (w *Watcher) event(d *json.Decoder, byName map[string]discoveryv1.EndpointSlice) error {
	var event metav1.WatchEvent
	if err := d.Decode(&event); err != nil {
		return err
	}
	if event.Type == "ERROR" {
		return errors.New(string(event.Object.Raw))
	}
	var s discoveryv1.EndpointSlice
	if err := json.Unmarshal(event.Object.Raw, &s); err != nil {
		return err
	}
	if event.Type == "DELETED" {
		delete(byName, s.Name)
	} else {
		byName[s.Name] = s
	}
	return nil
}

func (w *Watcher) slices(query url.Values) *url.URL {
	query.Set("labelSelector", discoveryv1.LabelServiceName+"="+w.opts.Service)
	u := w.server.JoinPath("apis/discovery.k8s.io/v1/namespaces", w.opts.Namespace, "endpointslices")
	u.RawQuery = query.Encode()
	return u
}

// ask asks the API server and has the answer read, both within a time.
func (w *Watcher) ask(ctx context.Context, within time.Duration, u *url.URL, read func(*json.Decoder) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return read(json.NewDecoder(response.Body))
}

// findZone asks for the zone of the own node, until it has one.
func (w *Watcher) findZone(ctx context.Context) error {
	w.mu.Lock()
	found := w.zone != ""
	w.mu.Unlock()
	if w.opts.Node == "" || found {
		return nil
	}
	var node metav1.PartialObjectMetadata
	err := w.ask(ctx, askTime, w.server.JoinPath("api/v1/nodes", w.opts.Node),
		func(d *json.Decoder) error { return d.Decode(&node) })
	if err != nil {
		return fmt.Errorf("get Node %s: %w", w.opts.Node, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zone = node.Labels[corev1.LabelTopologyZone]
	return nil
}

// set takes what the API server has for what there is.
func (w *Watcher) set(byName map[string]discoveryv1.EndpointSlice) {
	var found, unready []Endpoint
	for _, s := range byName {
		found = append(found, endpoints(s, w.opts.Port, true)...)
		unready = append(unready, endpoints(s, w.opts.Port, false)...)
	}
	found = sorted(found)
	if w.replace(found, sorted(unready), true) && len(found) > 0 {
		w.keep(found)
	}
}

// sorted sorts by address, and leaves each once.
func sorted(list []Endpoint) []Endpoint {
	slices.SortFunc(list, func(a, b Endpoint) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(list, func(a, b Endpoint) bool { return a.Address == b.Address })
}

// replace reports whether there was something to replace.
func (w *Watcher) replace(found, unready []Endpoint, known bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known && slices.Equal(found, w.endpoints) && slices.Equal(unready, w.unready) {
		return false
	}
	w.endpoints, w.unready, w.known = found, unready, known
	close(w.changed)
	w.changed = make(chan struct{})
	w.opts.Log.Debug("typha's replicas", "endpoints", found)
	return true
}

// endpoints returns a slice's endpoints that are ready, or those that are not.
func endpoints(s discoveryv1.EndpointSlice, portName string, ready bool) (found []Endpoint) {
	for _, port := range s.Ports {
		if port.Port == nil || len(s.Ports) > 1 && (port.Name == nil || *port.Name != portName) {
			continue
		}
		for _, e := range s.Endpoints {
			if is := e.Conditions.Ready == nil || *e.Conditions.Ready; is != ready {
				continue
			}
			for _, addr := range e.Addresses {
				endpoint := Endpoint{Address: net.JoinHostPort(addr, strconv.Itoa(int(*port.Port)))}
				if e.Zone != nil {
					endpoint.Zone = *e.Zone
				}
				if e.TargetRef != nil {
					endpoint.Pod = e.TargetRef.Name
				}
				found = append(found, endpoint)
			}
		}
	}
	return found
}

// ErrNone says that there is no replica, or that the API server has not answered yet.
var ErrNone = errors.New("no endpoint is known")

// Addresses returns the replicas as host:port in an order to try them: those in the own zone first, otherwise by
// chance, so that many nodes spread evenly. Where none is ready they are those that are not: if all of them have lost
// the API server, they serve what they know.
func (w *Watcher) Addresses() ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	endpoints := w.endpoints
	if len(endpoints) == 0 {
		endpoints = w.unready
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("Service %s/%s: %w", w.opts.Namespace, w.opts.Service, ErrNone)
	}
	var near, far []string
	for _, i := range rand.Perm(len(endpoints)) {
		if e := endpoints[i]; w.zone != "" && e.Zone == w.zone {
			near = append(near, e.Address)
		} else {
			far = append(far, e.Address)
		}
	}
	return append(near, far...), nil
}

// Endpoints returns the replicas that are ready by address, and whether the API server has said so.
func (w *Watcher) Endpoints() (endpoints []Endpoint, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.endpoints), w.known
}

// Changed returns a channel that is closed when the replicas are others than at the call.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Replicas returns the names of the pods that are ready, and whether the API server has said so.
func (w *Watcher) Replicas() (pods []string, known bool) {
	endpoints, known := w.Endpoints()
	for _, e := range endpoints {
		pods = append(pods, cmp.Or(e.Pod, e.Address)) // a pod may have an address of each family
	}
	slices.Sort(pods)
	return slices.Compact(pods), known
}
