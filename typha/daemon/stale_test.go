package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
)

// silenced is a store that stops answering, with its watches open.
type silenced struct {
	*memory.Store
	silent chan struct{}
}

func (s silenced) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	select {
	case <-s.silent:
		<-ctx.Done()
		return datastore.List{}, ctx.Err()
	default:
		return s.Store.List(ctx, kind, opts)
	}
}

// TestReplicaThatLostItsDatastoreIsNotReady after two minutes, alive all the time, and says so.
func TestReplicaThatLostItsDatastoreIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := silenced{memory.New(), make(chan struct{})}
		view := sync.NewView([]datastore.Kind{datastore.Tiers, datastore.Pods})
		h := hub.New(hub.Options{Kinds: sync.Names(view.Kinds())})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- h.Run(ctx) }()
		go func() { ended <- view.Run(ctx, store, h, slog.New(slog.DiscardHandler)) }()
		get := func(path string) (int, string) {
			w := httptest.NewRecorder()
			health(h, view, func() bool { return false }).ServeHTTP(w,
				httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w.Code, w.Body.String()
		}
		told := func() string {
			_, body := get("/datastore")
			var s datastoreStatus
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatal(err)
			}
			return s.complaint()
		}
		<-h.InSync()
		time.Sleep(time.Hour)
		if ready, text := get("/readiness"); ready != http.StatusOK || told() != "" {
			t.Errorf("after an hour in which nothing happened: %d %s; %s", ready, text, told())
		}
		close(store.silent)
		time.Sleep(90 * time.Second)
		if ready, text := get("/readiness"); ready != http.StatusOK {
			t.Errorf("after 90 s without the datastore: %d %s", ready, text)
		}
		time.Sleep(time.Minute)
		ready, text := get("/readiness")
		if live, _ := get("/liveness"); live != http.StatusOK || ready != http.StatusServiceUnavailable ||
			!strings.Contains(text, "not been heard of for 2m") {
			t.Errorf("after 150 s without the datastore: %d, %d %s", live, ready, text)
		}
		if got := told(); !strings.Contains(got, "last heard of 2m") ||
			!strings.Contains(got, "Pod, Tier.projectcalico.org") {
			t.Errorf("typha status says %q", got)
		}
		cancel()
		<-ended
		<-ended
	})
}

// TestStatusTellsOfOldData, with an exit status that says so.
func TestStatusTellsOfOldData(t *testing.T) {
	for seconds, want := range map[int]int{110: 0, 150: 3} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/nodes" {
				_, _ = w.Write([]byte("[]"))
				return
			}
			_, _ = fmt.Fprintf(w, `{"silentSeconds":%d,"behindSeconds":{"Pod":%d,"Node":1}}`, seconds, seconds)
		}))
		host, port, err := net.SplitHostPort(server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := Main(t.Context(), []string{"TYPHA_HEALTHHOST=" + host, "TYPHA_HEALTHPORT=" + port}, []string{"status"},
			&out, &errs)
		server.Close()
		if told := strings.Contains(errs.String(), "may be 2m30s old: Pod\n"); code != want || told != (want == 3) {
			t.Errorf("%d s: exit status %d, %s", seconds, code, errs.String())
		}
	}
}
