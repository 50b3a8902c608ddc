package stream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	serviceName = "maneki.typha.v1.Typha"
	methodName  = "Stream"
)

// streamDesc describes the one bidirectional method; both sides use it.
var streamDesc = grpc.StreamDesc{StreamName: methodName, ServerStreams: true, ClientStreams: true}

// ServerOptions configure a Server.
type ServerOptions struct {
	Hub *Hub
	TLS TLS
	// Tokens verifies the token of a node that connects. Where it is nil, the client
	// certificate has to name the node: common name "node:<name>".
	Tokens *Tokens
	// HandshakeTimeout is how long a client may take to say who it is and what it wants, PingInterval how often it is asked
	// for a sign of life; 0 is 10 s each.
	HandshakeTimeout, PingInterval time.Duration
	// DropInterval is the time between two streams that are ended because there are more than SetMaxStreams allows; 0 is 1 s.
	DropInterval time.Duration
	// ShutdownTimeout is over how long the streams are ended when Serve's context ends, each no later than
	// ShutdownInterval, 0 is 1 s, after the one before. 0 ends them at once, as does it that Alone says that there is no
	// replica for the nodes to go to.
	ShutdownTimeout, ShutdownInterval time.Duration
	Alone                             func() bool
	Logger                            *slog.Logger // nil discards
	Metrics                           *Metrics     // nil counts for nobody
}

func (o *ServerOptions) setDefaults() {
	for d, value := range map[*time.Duration]time.Duration{&o.HandshakeTimeout: 10 * time.Second, &o.PingInterval: 10 * time.Second,
		&o.DropInterval: time.Second, &o.ShutdownInterval: time.Second} {
		if *d == 0 {
			*d = value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Alone == nil {
		o.Alone = func() bool { return false }
	}
}

// Server hands the sessions of a Hub to nodes over gRPC.
type Server struct {
	opts  ServerOptions
	grpc  *grpc.Server
	cache *compressed

	mu      sync.Mutex
	streams map[*openStream]struct{}
	most    int // streams, if not 0
	closing bool
}

// NewServer makes a Server. It fails if the TLS files cannot be used, or if neither a peer
// name nor a certificate would identify the clients.
func NewServer(opts ServerOptions) (*Server, error) {
	opts.setDefaults()
	if opts.Tokens != nil && opts.TLS.PeerCN == "" && opts.TLS.PeerURISAN == "" {
		return nil, errors.New("new server: set the common name or the URI that client certificates must have")
	}
	if err := opts.TLS.validate(); err != nil {
		return nil, fmt.Errorf("new server: %w", err)
	}
	s := &Server{opts: opts, cache: newCompressed(), streams: map[*openStream]struct{}{}}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(opts.TLS.server())),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(maxUpMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second, MaxConnectionIdle: time.Minute}),
		grpc.ConnectionTimeout(opts.HandshakeTimeout),
		grpc.MaxConcurrentStreams(4), // a client opens one
		// Thousands of connections are quiet most of the time: their buffers are small or shared.
		grpc.ReadBufferSize(4<<10), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	desc := streamDesc
	desc.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream) }
	s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc}}, s)
	return s, nil
}

// Serve accepts nodes until ctx ends, then ends their streams, one after the other, and returns nil, or fails when the
// listener does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	serving, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		s.balance(serving)
		if ctx.Err() != nil {
			s.drain()
		}
		s.grpc.Stop()
	})
	if s.opts.Tokens != nil {
		wait.Go(func() { s.opts.Tokens.keep(serving, s.opts.Logger) })
	}
	err := s.grpc.Serve(listener)
	stop()
	wait.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve nodes on %s: %w", listener.Addr(), err)
	}
	return nil
}

// handle serves one stream, and counts and logs its fate.
func (s *Server) handle(stream grpc.ServerStream) error {
	metrics, log := s.opts.Metrics, s.opts.Logger
	node, err := s.identify(stream.Context())
	if err == nil {
		log = log.With("node", node)
		err = s.serve(stream, node)
	}
	switch {
	case err == nil || stream.Context().Err() != nil:
		log.Info("stream closed by the node")
	case errors.Is(err, errElsewhere):
		metrics.dropped.Inc()
		log.Info("node handed over to another replica")
	default:
		metrics.dropped.Inc()
		log.Warn("stream ended", "error", err)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrBehind):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, ErrClosed), errors.Is(err, ErrSlow), errors.Is(err, ErrReplaced), errors.Is(err, errElsewhere):
		return status.Error(codes.Unavailable, err.Error())
	}
	return err // gRPC passes its own status errors on, and makes others Unknown
}

// identify gives the node that the peer has proved to be.
func (s *Server) identify(ctx context.Context) (string, error) {
	if s.opts.Tokens == nil {
		cert, err := peerCertificate(ctx)
		if err != nil {
			return "", status.Error(codes.Unauthenticated, err.Error())
		}
		node, err := nodeFromCertificate(cert)
		if err != nil {
			return "", status.Error(codes.PermissionDenied, err.Error())
		}
		return node, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", status.Error(codes.Unauthenticated, "no service-account token presented")
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the authorization is not a bearer token")
	}
	node, err := s.opts.Tokens.Node(ctx, token)
	if err != nil {
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	return node, nil
}

func peerCertificate(ctx context.Context) (*x509.Certificate, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			return info.State.PeerCertificates[0], nil
		}
	}
	return nil, errors.New("the peer presented no certificate")
}

func (s *Server) serve(stream grpc.ServerStream, node string) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	hello, err := s.greet(stream)
	if err != nil {
		return err
	}
	switch {
	case hello.Node != node:
		return status.Errorf(codes.PermissionDenied, "the peer is node %s and asks for the stream of node %s", node, hello.Node)
	case hello.Version < ProtocolVersion-1 || hello.Version > ProtocolVersion+1:
		return status.Errorf(codes.FailedPrecondition, "protocol version %d is not understood, only %d and its neighbours", hello.Version, ProtocolVersion)
	}
	open := &openStream{end: cancel}
	if err := s.opened(open); err != nil {
		return err
	}
	defer s.closed(open)
	session, err := s.opts.Hub.connect(ctx, hello, true)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer session.Close()
	s.opts.Metrics.accepted.Inc()
	s.opts.Metrics.active.Inc()
	defer s.opts.Metrics.active.Dec()
	s.opts.Logger.Info("node connected", "node", node, "held", len(hello.Held), "lacks", session.lacks.Names())

	pings := &pings{metrics: s.opts.Metrics}
	go func() { cancel(receiveReports(stream, session, pings)) }() // it ends with the stream
	sent := make(chan error, 1)
	go func() { sent <- s.send(ctx, stream, session, pings) }()
	select {
	case err := <-sent:
		return first(ended(ctx), err)
	case <-session.ended: // what is being sent may not go out; it ends with the stream
		return session.why
	case <-ctx.Done():
		if err := ended(ctx); err != nil {
			return err
		}
		return <-sent
	}
}
