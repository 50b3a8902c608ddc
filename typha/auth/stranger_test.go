package auth

import (
	"errors"
	"io"
	"net"
	"testing"
)

// TestLongHandshake sends a certificate that is none of a sensible size.
func TestLongHandshake(t *testing.T) {
	for size, works := range map[int]bool{1 << 10: true, 100 << 10: false} {
		client, server := net.Pipe()
		limited := &limitedConn{Conn: server, left: maxHandshake}
		go func() { _, _ = client.Write(make([]byte, size)); client.Close() }()
		n, err := io.Copy(io.Discard, limited)
		if (err == nil) != works || n > maxHandshake || err != nil && !errors.Is(err, errLongHandshake) {
			t.Errorf("%d octets: %d were read, %v", size, n, err)
		}
		server.Close()
	}
}
