package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// api plays the part of the API server: list answers lists, and what is written to events is what a watch sends; a
// watch ends when it is sent an empty string.
type api struct {
	*httptest.Server
	list   string
	down   atomic.Bool
	events chan string
}

func newAPI(t *testing.T, list string) *api {
	a := &api{list: list, events: make(chan string)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case a.down.Load():
			http.Error(w, "down", http.StatusServiceUnavailable)
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
			a.watch(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) watch(w http.ResponseWriter, r *http.Request) {
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

// send has a watch, once there is one, send an event.
func (a *api) send(t *testing.T, event string) {
	t.Helper()
	select {
	case a.events <- event:
	case <-time.After(time.Minute):
		t.Fatal("nobody watches")
	}
}

// start runs a Watcher until it has replicas; change may spoil its options.
func start(t *testing.T, a *api, change func(*Options)) *Watcher {
	t.Helper()
	opts := Options{API: &rest.Config{Host: a.URL}, Namespace: "kube-system", Service: "calico-typha",
		Port: "calico-typha"}
	if change != nil {
		change(&opts)
	}
	w, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
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
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
	}
}

func expect(t *testing.T, w *Watcher, want ...string) {
	t.Helper()
	got, err := w.Addresses()
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("addresses %q, %v, want %q", got, err, want)
	}
}

// become waits until the addresses are others.
func become(t *testing.T, w *Watcher, want ...string) {
	t.Helper()
	for {
		changed := w.Changed()
		got, _ := w.Addresses()
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		await(t, changed)
	}
}

const two = `{"metadata":{"resourceVersion":"7"},"items":[
	{"metadata":{"name":"a"},"ports":[{"name":"metrics","port":9093},{"name":"calico-typha","port":5473}],
	 "endpoints":[{"addresses":["172.30.0.12"],"zone":"west","conditions":{"ready":true},"targetRef":{"name":"p"}},
	 	{"addresses":["172.30.0.13"],"conditions":{"ready":false}}]},
	{"metadata":{"name":"b"},"ports":[{"name":"","port":5473}],"endpoints":[{"addresses":["fd00::1"],"zone":"east","conditions":{},"targetRef":{"name":"q"}}]}]}`

func TestReplicasAreFollowed(t *testing.T) {
	a := newAPI(t, two)
	w := start(t, a, nil)
	expect(t, w, "172.30.0.12:5473", "[fd00::1]:5473")
	for _, step := range []struct {
		event string
		want  []string
		pods  []string
	}{
		{`{"type":"DELETED","object":{"metadata":{"name":"b"}}}`, []string{"172.30.0.12:5473"}, []string{"p"}},
		{`{"type":"MODIFIED","object":{"metadata":{"name":"a"},"ports":[{"port":5473}],"endpoints":[{"addresses":["172.30.0.13"]}]}}`,
			[]string{"172.30.0.13:5473"}, []string{"172.30.0.13:5473"}},
		{`{"type":"ADDED","object":{"metadata":{"name":"c"},"ports":[{"port":5473}],"endpoints":[{"addresses":["172.30.0.14"],"targetRef":{"name":"r"}}]}}`,
			[]string{"172.30.0.13:5473", "172.30.0.14:5473"}, []string{"172.30.0.13:5473", "r"}},
		{"", []string{"172.30.0.12:5473", "[fd00::1]:5473"}, []string{"p", "q"}}, // it lists again
		{`{"type":"ADDED","object":{"metadata":{"name":"v6"},"ports":[{"port":5473}],"endpoints":[{"addresses":["fd00::2"],"targetRef":{"name":"p"}}]}}`,
			[]string{"172.30.0.12:5473", "[fd00::1]:5473", "[fd00::2]:5473"}, []string{"p", "q"}},
		{`{"type":"ERROR","object":{"kind":"Status","code":410}}`, []string{"172.30.0.12:5473", "[fd00::1]:5473"},
			[]string{"p", "q"}},
	} {
		changed := w.Changed()
		a.send(t, step.event)
		await(t, changed)
		expect(t, w, step.want...)
		if pods, known := w.Replicas(); !known || !slices.Equal(pods, step.pods) {
			t.Errorf("replicas %q, known %v, want %q", pods, known, step.pods)
		}
	}
}

// TestReplicasThatAreNotReadyAreTheLastResort of who connects; nobody counts them.
func TestReplicasThatAreNotReadyAreTheLastResort(t *testing.T) {
	a := newAPI(t, two)
	w := start(t, a, nil)
	for _, step := range []struct {
		ready string
		want  []string
	}{
		{"false", []string{"172.30.0.12:5473", "172.30.0.13:5473"}},
		{"true", []string{"172.30.0.12:5473"}},
	} {
		a.send(t, `{"type":"DELETED","object":{"metadata":{"name":"b"}}}`)
		a.send(t, `{"type":"MODIFIED","object":{"metadata":{"name":"a"},"ports":[{"port":5473}],"endpoints":[
			{"addresses":["172.30.0.12"],"conditions":{"ready":`+step.ready+
			`}},{"addresses":["172.30.0.13"],"conditions":{"ready":false}}]}}`)
		become(t, w, step.want...)
		if ready, _ := w.Endpoints(); len(ready) != len(step.want)%2 {
			t.Errorf("%v count as ready", ready)
		}
	}
}

// TestReplicasStayKnown without the API server, also to the next process.
func TestReplicasStayKnown(t *testing.T) {
	a := newAPI(t, two)
	file := filepath.Join(t.TempDir(), "replicas")
	remember := func(o *Options) { o.File = file }
	w := start(t, a, remember)
	a.send(t, `{"type":"ADDED","object":{"metadata":{"name":"empty"}}}`)
	a.down.Store(true)
	a.send(t, "")
	expect(t, w, "172.30.0.12:5473", "[fd00::1]:5473")

	next := start(t, a, remember)
	expect(t, next, "172.30.0.12:5473", "[fd00::1]:5473")
	if _, known := next.Replicas(); known {
		t.Error("what an earlier process knew counts as the API server's answer")
	}
	changed := next.Changed()
	a.list = `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"},"ports":[{"port":5473}],"endpoints":[{"addresses":["172.30.0.19"]}]}]}`
	a.down.Store(false)
	await(t, changed)
	expect(t, next, "172.30.0.19:5473")
}

func TestOwnZoneComesFirst(t *testing.T) {
	w := start(t, newAPI(t, two), func(o *Options) { o.Node = "n1" })
	for range 20 {
		got, err := w.Addresses()
		if want := []string{"[fd00::1]:5473", "172.30.0.12:5473"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("addresses %q, %v, want %q", got, err, want)
		}
	}
}

// TestReplicasAreSpreadByChance: fewer than 400 of 1000 are as likely as a coin that falls on one side 9 times in a
// billion.
func TestReplicasAreSpreadByChance(t *testing.T) {
	w, first := start(t, newAPI(t, two), nil), map[string]int{}
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

// TestRefusedWatchIsAskedForLessAndLess: every node has a Watcher, and an API server that lists but lets nobody watch
// is asked by all.
func TestRefusedWatchIsAskedForLessAndLess(t *testing.T) {
	lists := make(chan time.Time, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		lists <- time.Now()
		_, _ = w.Write([]byte(two))
	}))
	t.Cleanup(server.Close)
	start(t, &api{Server: server}, nil)
	var at []time.Time
	for range 4 {
		select {
		case now := <-lists:
			at = append(at, now)
		case <-time.After(time.Minute):
			t.Fatal("waited in vain")
		}
	}
	if wait := at[3].Sub(at[2]); wait < 2*firstBackoff {
		t.Errorf("the third wait is %s, want at least %s", wait, 2*firstBackoff)
	}
}
