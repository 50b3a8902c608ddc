package stream

import (
	"context"
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
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/inbound"
)

const serviceName = "maneki.typha.v1.Typha"

// The methods, the nodes' and the observers'. Both sides use these descriptions.
var (
	streamDesc  = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}
	observeDesc = grpc.StreamDesc{StreamName: "Observe", ServerStreams: true, ClientStreams: true}
)

// role is what a peer may be, and how it proves that.
type role struct {
	// what begins the common name of a certificate that identifies the peer.
	what  string
	token func(*Tokens, context.Context, string) (identity, error)
}

var (
	asNode     = role{"node", (*Tokens).node}
	asObserver = role{"observer", (*Tokens).observer}
)

// ServerOptions configure a Server.
type ServerOptions struct {
	Hub *Hub
	TLS TLS
	// Tokens verifies the token of a node or an observer that connects. Where it is nil, the client certificate
	// has to name the peer: common name "node:<name>" or "observer:<name>".
	Tokens *Tokens
	// HandshakeTimeout is how long a client may take to say who it is and what it wants, PingInterval how often it is
	// asked for a sign of life; 0 is 10 s each.
	HandshakeTimeout, PingInterval time.Duration
	// Strangers limits the connections of unauthenticated clients, and those without a stream: the number in all, 0
	// means 1024, and of one address, 0 means 64. Such a connection is closed after twice the HandshakeTimeout,
	// whatever Patience says.
	Strangers inbound.Limits
	// DropInterval is the time between two streams that are ended because there are more than SetMaxStreams allows; 0
	// is 1 s.
	DropInterval time.Duration
	// ObserveInterval is the least time between two messages to an observer; 0 is 1 s.
	ObserveInterval time.Duration
	// ShutdownTimeout is over how long the streams are ended when Serve's context ends, each no later than
	// ShutdownInterval, 0 is 1 s, after the one before. 0 ends them at once, as does it that Alone says that there is
	// no replica for the nodes to go to.
	ShutdownTimeout, ShutdownInterval time.Duration
	Alone                             func() bool
	Logger                            *slog.Logger // nil discards
	Metrics                           *Metrics     // nil counts for nobody
}

func (o *ServerOptions) setDefaults() {
	for d, value := range map[*time.Duration]time.Duration{&o.HandshakeTimeout: 10 * time.Second, &o.PingInterval: 10 * time.Second,
		&o.DropInterval: time.Second, &o.ObserveInterval: time.Second, &o.ShutdownInterval: time.Second} {
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
	opts       ServerOptions
	handshaker *handshaker
	grpc       *grpc.Server
	cache      *compressed
	door       *door

	mu        sync.Mutex
	streams   map[*openStream]struct{}
	most      int // streams, if not 0
	handovers *handovers
	closing   bool
}

// NewServer makes a Server. It fails if the TLS files cannot be used, or if neither a peer
// name nor a certificate would identify the clients.
func NewServer(opts ServerOptions) (*Server, error) {
	opts.setDefaults()
	if opts.Tokens != nil && opts.TLS.PeerCN == "" && opts.TLS.PeerURISAN == "" {
		return nil, errors.New("new server: set the common name or the URI that client certificates must have")
	}
	if opts.Tokens != nil {
		if err := opts.Tokens.validate(); err != nil {
			return nil, fmt.Errorf("new server: %w", err)
		}
	}
	handshaker, err := opts.TLS.open()
	if err != nil {
		return nil, fmt.Errorf("new server: %w", err)
	}
	s := &Server{opts: opts, handshaker: handshaker, cache: newCompressed(), door: newDoor(),
		streams: map[*openStream]struct{}{}, handovers: newHandovers(opts.DropInterval)}
	s.grpc = grpc.NewServer(
		grpc.Creds(admitting{credentials.NewTLS(handshaker.server())}),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(maxUpMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second, MaxConnectionIdle: time.Minute}),
		grpc.ConnectionTimeout(opts.HandshakeTimeout),
		grpc.MaxConcurrentStreams(4), // a client opens one
		grpc.MaxHeaderListSize(maxHeaders),
		// Thousands of connections are quiet most of the time: their buffers are small or shared.
		grpc.ReadBufferSize(4<<10), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	streams, observations := streamDesc, observeDesc
	streams.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream, asNode, s.serve) }
	observations.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream, asObserver, s.observing) }
	s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{streams, observations}}, s)
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
	wait.Go(func() { s.handshaker.watch(serving, s.opts.Logger) })
	if s.opts.Tokens != nil {
		wait.Go(func() { s.opts.Tokens.keep(serving, s.opts.Logger) })
	}
	err := s.grpc.Serve(inbound.Limit(listener, strangers(&s.opts), s.opts.Metrics.turnedAway.Inc))
	stop()
	wait.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve nodes on %s: %w", listener.Addr(), err)
	}
	return nil
}

// handle serves one stream of a peer in a role, and counts and logs its fate.
func (s *Server) handle(stream grpc.ServerStream, r role, serve func(grpc.ServerStream, identity) error) error {
	metrics, log := s.opts.Metrics, s.opts.Logger
	peer, err := s.identify(stream.Context(), r)
	if err == nil {
		log = log.With(r.what, peer.name)
		dismiss := admit(stream.Context())
		err = serve(stream, peer)
		dismiss()
	}
	switch {
	case err == nil || stream.Context().Err() != nil:
		log.Info("stream closed by the " + r.what)
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

// identify returns who the peer has proved to be.
func (s *Server) identify(ctx context.Context, r role) (identity, error) {
	if s.opts.Tokens == nil {
		proved, err := peerOf(ctx)
		if err != nil {
			return identity{}, status.Error(codes.Unauthenticated, err.Error())
		}
		cert := proved.State.PeerCertificates[0]
		name, err := namedBy(cert, r.what)
		if err != nil {
			return identity{}, status.Error(codes.PermissionDenied, err.Error())
		}
		return identity{name, cert.NotAfter}, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return identity{}, status.Error(codes.Unauthenticated, "no service-account token presented")
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return identity{}, status.Error(codes.Unauthenticated, "the authorization is not a bearer token")
	}
	i, err := r.token(s.opts.Tokens, ctx, token)
	if err != nil {
		return identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	return i, nil
}

// hello receives what a node says first.
func (s *Server) hello(stream grpc.ServerStream, peer identity) (Hello, error) {
	var hello Hello
	if err := s.greet(stream, frameHello, &hello); err != nil {
		return Hello{}, err
	}
	if hello.Node != peer.name {
		return Hello{}, status.Errorf(codes.PermissionDenied, "the peer is node %s and asks for the stream of node %s", peer.name, hello.Node)
	}
	return hello, understood(hello.Version)
}

// understood fails unless a peer's protocol version is ours or a neighbour of it.
func understood(version int) error {
	if version < ProtocolVersion-1 || version > ProtocolVersion+1 {
		return status.Errorf(codes.FailedPrecondition, "protocol version %d is not understood, only %d and its neighbours", version, ProtocolVersion)
	}
	return nil
}

// serve serves a node's stream.
func (s *Server) serve(stream grpc.ServerStream, peer identity) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	lease := s.lease(ctx, asNode, peer, cancel)
	defer lease.release()
	defer cancel(nil)
	// What a node holds is not read before there is an answer.
	if err := s.opts.Hub.whenInSync(ctx); err != nil {
		return first(ended(ctx), err)
	}
	leave, err := s.door.enter(ctx, peer.name)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer leave()
	hello, err := s.hello(stream, peer)
	if err != nil {
		return err
	}
	open := &openStream{node: peer.name, end: cancel}
	if err := s.opened(open); err != nil {
		return err
	}
	defer s.closed(open)
	session, err := s.opts.Hub.connect(ctx, hello, true)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer session.Close()
	session.settled = leave
	s.opts.Metrics.accepted.Inc()
	s.opts.Metrics.active.Inc()
	defer s.opts.Metrics.active.Dec()
	s.opts.Logger.Info("node connected", "node", peer.name, "held", len(hello.Held), "lacks", session.lacks.Names())

	pings := &pings{metrics: s.opts.Metrics}
	go func() { cancel(receive(stream, fromNode(ctx, session, pings, lease))) }() // it ends with the stream
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
