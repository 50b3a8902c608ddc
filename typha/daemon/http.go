package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/inbound"
	"github.com/maneki-net/maneki/typha/sync"
)

// aliveWithin is how long the hub may take to answer or to make progress before the process counts as hung.
const aliveWithin = 8 * time.Second

// health serves four paths. /liveness reports whether the hub answers or makes progress, /readiness whether nodes can
// be given the present state. /nodes shows what the nodes report, /datastore how old the state may be.
func health(h *hub.Hub, view *sync.View, draining func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /liveness", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), aliveWithin)
		defer cancel()
		if err := h.Alive(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /readiness", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-h.InSync():
			switch silence := view.Silence(); {
			case draining():
				http.Error(w, "handing nodes over to other replicas", http.StatusServiceUnavailable)
			case silence > sync.StaleAfter:
				http.Error(w, fmt.Sprintf("the datastore has not been heard of for %s", silence.Round(time.Second)),
					http.StatusServiceUnavailable)
			}
		default:
			http.Error(w, "not in sync with the datastore yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /nodes", func(w http.ResponseWriter, r *http.Request) {
		nodes, err := h.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, nodes)
	})
	mux.HandleFunc("GET /datastore", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, datastoreStatusOf(view))
	})
	return mux
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // the reader went away
}

func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve http: %w", err)
	}
	return inbound.ServeHTTP(ctx, listener, handler)
}
