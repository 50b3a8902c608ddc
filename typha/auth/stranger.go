package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/maneki-net/maneki/typha/inbound"
)

// maxHandshake is how many octets a client may send before it has presented a certificate. A chain has a few kilobytes.
// TLS alone would buffer up to 256 KiB for each client that begins a handshake.
const maxHandshake = 64 << 10

// StrangerLimits completes the limits for connections of clients that have not proved who they are: 1024 in all and 64
// of one address where a limit is 0. Such a client has the handshake timeout twice: for TLS, and for its first request,
// which carries the token. The limits' own Patience is ignored.
func StrangerLimits(limits inbound.Limits, handshakeTimeout time.Duration) inbound.Limits {
	if limits.All == 0 {
		limits.All = 1024
	}
	if limits.PerAddress == 0 {
		limits.PerAddress = 64
	}
	limits.Patience = 2 * handshakeTimeout
	return limits
}

// Credentials are a server's TLS credentials. They remember the connection of each peer, so that Admit can find it.
type Credentials struct {
	credentials.TransportCredentials
}

// ServerCredentials returns the credentials of a gRPC server whose listener is an inbound.Listener.
func (h *Handshaker) ServerCredentials() Credentials {
	return Credentials{credentials.NewTLS(h.serverConfig())}
}

// ClientCredentials returns the credentials of a gRPC client.
func (h *Handshaker) ClientCredentials() credentials.TransportCredentials {
	return credentials.NewTLS(h.clientConfig())
}

// connectionInfo is the TLS information on a peer, and its connection.
type connectionInfo struct {
	credentials.TLSInfo
	conn *inbound.Conn // nil if the listener is not an inbound.Listener
}

// ServerHandshake implements credentials.TransportCredentials.
func (c Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	limited := &limitedConn{Conn: raw, left: maxHandshake}
	secure, info, err := c.TransportCredentials.ServerHandshake(limited)
	if err != nil {
		return nil, nil, err
	}
	limited.done = true
	known, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, fmt.Errorf("TLS gives a %T", info)
	}
	conn, _ := raw.(*inbound.Conn)
	return secure, connectionInfo{known, conn}, nil
}

// Clone implements credentials.TransportCredentials.
func (c Credentials) Clone() credentials.TransportCredentials {
	return Credentials{c.TransportCredentials.Clone()}
}

// limitedConn is a connection from which a limited number of octets can be read until done is set. The goroutine of the
// handshake reads from it and sets done.
type limitedConn struct {
	net.Conn
	left int
	done bool
}

var errLongHandshake = fmt.Errorf("the client sent more than %d octets before it proved who it is", maxHandshake)

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.done {
		return c.Conn.Read(p)
	}
	if c.left <= 0 {
		return 0, errLongHandshake
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// peerOf returns what TLS has proved about the peer of a stream.
func peerOf(ctx context.Context) (connectionInfo, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(connectionInfo); ok && len(info.State.PeerCertificates) > 0 {
			return info, nil
		}
	}
	return connectionInfo{}, errors.New("the peer presented no certificate")
}

// Admit exempts the connection of a stream from the limits for strangers, until dismiss is called. Call it for a peer
// that Identify accepts.
func Admit(ctx context.Context) (dismiss func()) {
	info, err := peerOf(ctx)
	if err != nil || info.conn == nil {
		return func() {}
	}
	info.conn.Admit()
	return info.conn.Dismiss
}
