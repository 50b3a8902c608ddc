package inbound

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Concurrently returns a handler that limits the requests that another handler answers at a time: all of them, and
// those from one address. A request waits for its turn for patience at most. After that the answer is 503 (Service
// Unavailable).
func Concurrently(handler http.Handler, all, perAddress int, patience time.Duration) http.Handler {
	return &concurrent{handler: handler, turns: make(chan struct{}, all), perAddress: perAddress, patience: patience,
		addresses: map[netip.Addr]*queue{}}
}

type concurrent struct {
	handler    http.Handler
	turns      chan struct{} // one element for each request that is being answered
	perAddress int
	patience   time.Duration

	mu        sync.Mutex
	addresses map[netip.Addr]*queue
}

// queue holds the requests from one address.
type queue struct {
	turns chan struct{} // one element for each request that is being answered or waits in concurrent.turns
	users int           // number of requests; guarded by concurrent.mu
}

// ServeHTTP implements http.Handler.
func (c *concurrent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // clients without an IP address count as one address
	own := c.come(from.Addr().Unmap())
	defer c.gone(from.Addr().Unmap(), own)
	patience := time.NewTimer(c.patience)
	defer patience.Stop()
	for _, turns := range []chan struct{}{own.turns, c.turns} {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-patience.C:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests wait", http.StatusServiceUnavailable)
			return
		case <-r.Context().Done():
			return
		}
	}
	c.handler.ServeHTTP(w, r)
}

func (c *concurrent) come(from netip.Addr) *queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.addresses[from]
	if q == nil {
		q = &queue{turns: make(chan struct{}, c.perAddress)}
		c.addresses[from] = q
	}
	q.users++
	return q
}

func (c *concurrent) gone(from netip.Addr, q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q.users--
	if q.users == 0 {
		delete(c.addresses, from)
	}
}
