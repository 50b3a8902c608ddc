package inbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Limits of HTTP servers.
const (
	headerTime = 5 * time.Second
	readTime   = 20 * time.Second
	writeTime  = time.Minute
	idleTime   = time.Minute
	headerSize = 16 << 10
	streams    = 64 // concurrent requests on one HTTP/2 connection
)

// OfHTTP are the limits of HTTP servers with few clients: probes, Prometheus, API servers.
var OfHTTP = Limits{All: 256, PerAddress: 64}

// HTTP returns a server that limits its requests: the size of their headers, their duration, and their bodies to the
// given number of octets. The listener limits the connections.
func HTTP(handler http.Handler, body int64) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(handler, body),
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerSize,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: streams},
	}
}

// ServeHTTP answers requests without bodies on a listener. It returns nil when ctx ends.
func ServeHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := HTTP(handler, 0)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(Limit(listener, OfHTTP, nil)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	}
	return nil
}
