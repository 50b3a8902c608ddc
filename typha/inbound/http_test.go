package inbound

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// exchange sends a request as it is, and returns the first line of the answer.
func exchange(t *testing.T, far net.Conn, request string) string {
	t.Helper()
	go func() { _, _ = io.WriteString(far, request) }() // the server need not read all of it
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, _ := io.ReadAll(far)
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return line
}

func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeListener{conns: make(chan net.Conn)}
		server := HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			}
		}), 100)
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(Limit(fake, OfHTTP, nil)) }()
		connect := func() net.Conn {
			far, inside := net.Pipe()
			fake.conns <- fakeConn{inside, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}}
			return far
		}
		const head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
		for what, c := range map[string]struct{ request, want string }{
			"small": {head + "Content-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK"},
			"large header": {head + "X: " + strings.Repeat("x", 2*headerSize) + "\r\n\r\n",
				"HTTP/1.1 431 Request Header Fields Too Large"},
			"large body": {head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 200, strings.Repeat("x", 200)),
				"HTTP/1.1 413 Request Entity Too Large"},
			"header without an end": {head, ""},
		} {
			began := time.Now()
			if got := exchange(t, connect(), c.request); got != c.want {
				t.Errorf("%s: %q, want %q", what, got, c.want)
			}
			if took := time.Since(began); took > headerTime+time.Second {
				t.Errorf("%s: the connection lasted %s", what, took)
			}
		}
		server.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}
