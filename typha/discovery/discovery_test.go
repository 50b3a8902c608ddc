package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// api plays the part of the API server: list answers lists, and what is written to events is what a watch sends; a watch
// ends when it is sent an empty string.
type api struct {
	*httptest.Server
	list   string
	events chan string
}

func newAPI(t *testing.T, list string) *api {
	a := &api{list: list, events: make(chan string)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v1/nodes/n1":
			_, _ = w.Write([]byte(`{"metadata":{"labels":{"topology.kubernetes.io/zone":"east"}}}`))
		case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices" ||
			r.URL.Query().Get("labelSelector") != "kubernetes.io/service-name=calico-typha":
			http.NotFound(w, r)
		case r.URL.Query().Get("watch") == "":
			_, _ = w.Write([]byte(a.list))
		default:
			if r.URL.Query().Get("resourceVersion") != "7" {
				t.Errorf("the watch is %s", r.URL)
			}
			_ = http.NewResponseController(w).Flush()
			for {
				select {
				case event := <-a.events:
					if event == "" {
						return
					}
					_, _ = fmt.Fprintln(w, event)
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					return
				}
			}
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func start(t *testing.T, a *api, node string) *Watcher {
	w := New(Options{Client: a.Client(), Host: a.URL, Namespace: "kube-system", Service: "calico-typha", Port: "calico-typha", Node: node,
		Log: slog.New(slog.DiscardHandler)})
	if _, err := w.Addresses(); !errors.Is(err, ErrNone) {
		t.Errorf("before anything is known: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	first := w.Changed()
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	await(t, first)
	return w
}

func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
	}
}

func sorted(t *testing.T, w *Watcher) []string {
	t.Helper()
	got, err := w.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

const two = `{"metadata":{"resourceVersion":"7"},"items":[
	{"metadata":{"name":"a"},"ports":[{"name":"metrics","port":9093},{"name":"calico-typha","port":5473}],
	 "endpoints":[{"addresses":["172.30.0.12"],"zone":"west","conditions":{"ready":true}},{"addresses":["172.30.0.13"],"conditions":{"ready":false}}]},
	{"metadata":{"name":"b"},"ports":[{"name":"","port":5473}],"endpoints":[{"addresses":["fd00::1"],"zone":"east","conditions":{}}]}]}`

func TestReplicasAreFollowed(t *testing.T) {
	a := newAPI(t, two)
	w := start(t, a, "")
	if got, want := sorted(t, w), []string{"172.30.0.12:5473", "[fd00::1]:5473"}; !slices.Equal(got, want) {
		t.Errorf("listed: %q, want %q", got, want)
	}
	changed := w.Changed()
	a.events <- `{"type":"DELETED","object":{"metadata":{"name":"b"}}}`
	await(t, changed)
	changed = w.Changed()
	a.events <- `{"type":"MODIFIED","object":{"metadata":{"name":"a"},"ports":[{"port":5473}],"endpoints":[{"addresses":["172.30.0.13"]}]}}`
	await(t, changed)
	if got, want := sorted(t, w), []string{"172.30.0.13:5473"}; !slices.Equal(got, want) {
		t.Errorf("after the events: %q, want %q", got, want)
	}
	changed = w.Changed()
	a.events <- "" // it lists again
	await(t, changed)
	if n, known := w.Count(); n != 2 || !known {
		t.Errorf("%d replicas, known %v", n, known)
	}
}

func TestReplicasStayKnownWithoutTheAPIServer(t *testing.T) {
	a := newAPI(t, two)
	w := start(t, a, "")
	a.CloseClientConnections()
	a.Close()
	if got := sorted(t, w); len(got) != 2 {
		t.Errorf("addresses %q", got)
	}
}

func TestOwnZoneComesFirst(t *testing.T) {
	w := start(t, newAPI(t, two), "n1")
	for range 20 {
		got, err := w.Addresses()
		if want := []string{"[fd00::1]:5473", "172.30.0.12:5473"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("addresses %q, %v, want %q", got, err, want)
		}
	}
}

func TestReplicasAreSpreadByChance(t *testing.T) {
	w, first := start(t, newAPI(t, two), ""), map[string]int{}
	for range 1000 {
		got, err := w.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		first[got[0]]++
	}
	for address, n := range first {
		if n < 400 || n > 600 {
			t.Errorf("%s came first %d times of 1000", address, n)
		}
	}
}
