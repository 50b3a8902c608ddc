package stream

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/maneki-net/maneki/typha/inbound"
)

// maxHandshake is how many octets a client may send before it has presented a certificate. A chain takes some
// kilobytes. TLS itself would keep a quarter of a megabyte for each client that begins a handshake.
const maxHandshake = 64 << 10

// strangers returns the limits for connections of unauthenticated clients; see ServerOptions.Strangers.
func strangers(o *ServerOptions) inbound.Limits {
	limits := o.Strangers
	if limits.All == 0 {
		limits.All = 1024
	}
	if limits.PerAddress == 0 {
		limits.PerAddress = 64
	}
	limits.Patience = 2 * o.HandshakeTimeout // for TLS, and for the first request, which has the token
	return limits
}

// admitting is the server's TLS. It keeps with each connection what it takes to admit it.
type admitting struct {
	credentials.TransportCredentials
}

// admittable is the TLS information on a peer, and its connection.
type admittable struct {
	credentials.TLSInfo
	conn *inbound.Conn
}

// ServerHandshake implements credentials.TransportCredentials.
func (a admitting) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	brief := &briefly{Conn: raw, left: maxHandshake}
	secure, info, err := a.TransportCredentials.ServerHandshake(brief)
	if err != nil {
		return nil, nil, err
	}
	brief.done = true
	known, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, fmt.Errorf("TLS gives a %T", info)
	}
	conn, _ := raw.(*inbound.Conn)
	return secure, admittable{known, conn}, nil
}

// Clone implements credentials.TransportCredentials.
func (a admitting) Clone() credentials.TransportCredentials {
	return admitting{a.TransportCredentials.Clone()}
}

// briefly is a connection that reads a limited number of octets until done is set. A handshake reads on one goroutine,
// which also sets done.
type briefly struct {
	net.Conn
	left int
	done bool
}

var errLongHandshake = fmt.Errorf("the client sent more than %d octets before it proved who it is", maxHandshake)

func (b *briefly) Read(p []byte) (int, error) {
	if b.done {
		return b.Conn.Read(p)
	}
	if b.left <= 0 {
		return 0, errLongHandshake
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// peerOf returns what TLS has proved about a stream's peer.
func peerOf(ctx context.Context) (admittable, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(admittable); ok && len(info.State.PeerCertificates) > 0 {
			return info, nil
		}
	}
	return admittable{}, errors.New("the peer presented no certificate")
}

// admit admits the connection of a stream whose peer is authenticated, until dismiss is called.
func admit(ctx context.Context) (dismiss func()) {
	info, err := peerOf(ctx)
	if err != nil || info.conn == nil {
		return func() {}
	}
	info.conn.Admit()
	return info.conn.Dismiss
}
