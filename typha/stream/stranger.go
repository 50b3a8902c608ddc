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

// maxHandshake is how many octets a client may send before it has proved to have a certificate: some kilobytes for a
// chain. TLS itself would keep a quarter of a megabyte for each that begins a handshake.
const maxHandshake = 64 << 10

// strangers are the bounds of the connections on which nobody has proved who he is; see ServerOptions.Strangers.
func strangers(o *ServerOptions) inbound.Limits {
	limits := o.Strangers
	if limits.All == 0 {
		limits.All = 1024
	}
	if limits.PerAddress == 0 {
		limits.PerAddress = 64
	}
	limits.Patience = 2 * o.HandshakeTimeout // for TLS, and for the stream that says who it is
	return limits
}

// admitting is the server's TLS. It remembers of each connection how to admit it.
type admitting struct {
	credentials.TransportCredentials
}

// admittable is what TLS knows of a peer, and its connection.
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

// briefly is a connection that reads so many octets at most until it is done. Handshakes read on one goroutine, which
// is the one that sets done.
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

// peerOf gives what TLS proved of a stream's peer.
func peerOf(ctx context.Context) (admittable, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(admittable); ok && len(info.State.PeerCertificates) > 0 {
			return info, nil
		}
	}
	return admittable{}, errors.New("the peer presented no certificate")
}

// admit has the connection of a stream whose peer is known count no longer as a stranger's, until the stream ends.
func admit(ctx context.Context) (dismiss func()) {
	info, err := peerOf(ctx)
	if err != nil || info.conn == nil {
		return func() {}
	}
	info.conn.Admit()
	return info.conn.Dismiss
}
