package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/maneki-net/maneki/typha/auth"
)

// caller opens streams to a Typha, and proves who the client is.
type caller struct {
	tls         auth.TLS
	handshaker  *auth.Handshaker // of tls; set by validate
	tokenFile   string           // empty presents no token
	readTimeout time.Duration
	dial        func(ctx context.Context, address string) (net.Conn, error) // nil is TCP
}

// connectTimeout bounds an attempt to connect, including the TLS handshake.
const connectTimeout = 10 * time.Second

// receiveWindow is how much a server may send before the client has read it, in octets.
const receiveWindow = 1 << 20

// validate completes the caller, and fails if its TLS files cannot be used.
func (c *caller) validate() (err error) {
	if c.tls.PeerCN == "" && c.tls.PeerURISAN == "" {
		return errors.New("set the common name or the URI that Typha's certificate must have")
	}
	if c.readTimeout == 0 {
		c.readTimeout = 30 * time.Second
	}
	c.handshaker, err = c.tls.Open()
	return err
}

// call opens a stream of a method. It lasts until ctx ends; close it then.
func (c *caller) call(ctx context.Context, address string, desc *grpc.StreamDesc) (*call, error) {
	dialing := []grpc.DialOption{
		grpc.WithTransportCredentials(c.handshaker.ClientCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxDownMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: c.readTimeout / 2, Timeout: c.readTimeout / 2}),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		// The windows have a fixed size. What a slow consumer has not read then waits in the server's Session, where it
		// is merged, and not in buffers.
		grpc.WithInitialWindowSize(receiveWindow), grpc.WithInitialConnWindowSize(receiveWindow),
	}
	if c.dial != nil {
		dialing = append(dialing, grpc.WithContextDialer(c.dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+address, dialing...)
	if err != nil {
		return nil, err
	}
	open := &call{conn: conn, tokenFile: c.tokenFile}
	var opts []grpc.CallOption
	if c.tokenFile != "" {
		open.token, err = auth.ReadToken(c.tokenFile)
		if err == nil {
			opts = append(opts, grpc.PerRPCCredentials(open.token))
		}
	}
	if err == nil {
		open.stream, err = conn.NewStream(ctx, desc, "/"+serviceName+"/"+desc.StreamName, opts...)
	}
	if err != nil {
		open.close()
		return nil, err
	}
	return open, nil
}

// call is the client's side of a stream. Its owner closes it.
type call struct {
	conn      *grpc.ClientConn
	stream    grpc.ClientStream
	tokenFile string
	token     auth.Bearer // the last one presented; owned by the caller of renew

	mu sync.Mutex // held while a message is sent
}

func (c *call) close() { _ = c.conn.Close() }

// send sends a frame as a message. Any goroutine may call it.
func (c *call) send(kind int, body any) error {
	encoded, err := encodeFrame(kind, body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream.SendMsg([][]byte{encoded})
}

// renewInterval is the time between two reads of the token file while a stream is open. The kubelet writes a new token
// when the old one has a fifth of its time left, which is at least two minutes.
const renewInterval = 30 * time.Second

// renew presents the token of the file whenever it has changed, until ctx ends.
func (c *call) renew(ctx context.Context) {
	if c.tokenFile == "" {
		return
	}
	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		token, err := auth.ReadToken(c.tokenFile)
		if err != nil || token == c.token { // if the file stays unreadable, the next call fails
			continue
		}
		if err := c.send(frameToken, tokenBody{Token: string(token)}); err != nil {
			return // reading sees how the stream ended
		}
		c.token = token
	}
}
