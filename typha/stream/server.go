package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/inbound"
)

const serviceName = "maneki.typha.v1.Typha"

// The methods, the nodes' and the observers'. Both sides use these descriptions.
var (
	streamDesc  = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}
	observeDesc = grpc.StreamDesc{StreamName: "Observe", ServerStreams: true, ClientStreams: true}
)

// ServerOptions configure a Server.
type ServerOptions struct {
	Hub *Hub
	TLS auth.TLS
	// Tokens verifies the tokens of nodes and observers. If it is nil, the client certificate has to name the peer:
	// common name "node:<name>" or "observer:<name>".
	Tokens *auth.Tokens
	// HandshakeTimeout bounds the time until a client has sent its token, and then the time until it has sent its hello.
	// PingInterval is the time between two pings. 0 is 10 s each.
	HandshakeTimeout, PingInterval time.Duration
	// Strangers limits the connections without a stream of an authenticated peer; see auth.StrangerLimits.
	Strangers inbound.Limits
	// ObserveInterval is the least time between two messages to an observer; 0 is 1 s.
	ObserveInterval time.Duration
	// Balance says when streams are ended for the sake of other replicas. Its Returned and Logger are ignored.
	Balance balance.Options
	Logger  *slog.Logger // nil discards
	Metrics *Metrics     // nil is a set of its own that nobody reads
}

func (o *ServerOptions) setDefaults() {
	for d, value := range map[*time.Duration]time.Duration{&o.HandshakeTimeout: 10 * time.Second, &o.PingInterval: 10 * time.Second,
		&o.ObserveInterval: time.Second} {
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
	o.Balance.Logger, o.Balance.Returned = o.Logger, o.Metrics.returned.Inc
}

// Server hands the sessions of a Hub to nodes over gRPC.
type Server struct {
	opts       ServerOptions
	handshaker *auth.Handshaker
	grpc       *grpc.Server
	cache      *compressed
	door       *auth.Door
	streams    *balance.Streams
}

// NewServer makes a Server. It fails if the TLS files cannot be used, or if neither a peer
// name nor a certificate would identify the clients.
func NewServer(opts ServerOptions) (*Server, error) {
	opts.setDefaults()
	if opts.Tokens != nil && opts.TLS.PeerCN == "" && opts.TLS.PeerURISAN == "" {
		return nil, errors.New("new server: set the common name or the URI that client certificates must have")
	}
	if opts.Tokens != nil {
		if err := opts.Tokens.Validate(); err != nil {
			return nil, fmt.Errorf("new server: %w", err)
		}
	}
	handshaker, err := opts.TLS.Open()
	if err != nil {
		return nil, fmt.Errorf("new server: %w", err)
	}
	s := &Server{opts: opts, handshaker: handshaker, cache: newCompressed(), door: auth.NewDoor(maxSessions),
		streams: balance.New(opts.Balance)}
	s.grpc = grpc.NewServer(
		grpc.Creds(handshaker.ServerCredentials()),
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
	streams.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream, auth.Node, s.serve) }
	observations.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream, auth.Observer, s.observing) }
	s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{streams, observations}}, s)
	return s, nil
}

// Serve accepts nodes until ctx ends, then ends their streams, one after the other, and returns nil, or fails when the
// listener does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	serving, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		s.streams.Run(serving)
		if ctx.Err() != nil {
			s.streams.Drain()
		}
		s.grpc.Stop()
	})
	wait.Go(func() { s.handshaker.Watch(serving, s.opts.Logger) })
	if s.opts.Tokens != nil {
		wait.Go(func() { s.opts.Tokens.Keep(serving, s.opts.Logger) })
	}
	limits := auth.StrangerLimits(s.opts.Strangers, s.opts.HandshakeTimeout)
	err := s.grpc.Serve(inbound.Limit(listener, limits, s.opts.Metrics.turnedAway.Inc))
	stop()
	wait.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve nodes on %s: %w", listener.Addr(), err)
	}
	return nil
}

// handle serves one stream of a peer in a role, and counts and logs its fate.
func (s *Server) handle(stream grpc.ServerStream, r auth.Role, serve func(grpc.ServerStream, auth.Identity) error) error {
	metrics, log := s.opts.Metrics, s.opts.Logger
	peer, err := auth.Identify(stream.Context(), r, s.opts.Tokens)
	if err == nil {
		log = log.With(r.String(), peer.Name)
		dismiss := auth.Admit(stream.Context())
		err = serve(stream, peer)
		dismiss()
	}
	switch {
	case err == nil || stream.Context().Err() != nil:
		log.Info("stream closed by the " + r.String())
	case errors.Is(err, balance.ErrElsewhere):
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
	case errors.Is(err, ErrClosed), errors.Is(err, ErrSlow), errors.Is(err, ErrReplaced), errors.Is(err, balance.ErrElsewhere):
		return status.Error(codes.Unavailable, err.Error())
	}
	return err // gRPC passes its own status errors on, and makes others Unknown
}

// hello receives what a node says first.
func (s *Server) hello(stream grpc.ServerStream, peer auth.Identity) (Hello, error) {
	var hello Hello
	if err := s.greet(stream, frameHello, &hello); err != nil {
		return Hello{}, err
	}
	if hello.Node != peer.Name {
		return Hello{}, status.Errorf(codes.PermissionDenied, "the peer is node %s and asks for the stream of node %s", peer.Name, hello.Node)
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

// lease begins the lease of a stream.
func (s *Server) lease(ctx context.Context, r auth.Role, holder auth.Identity, end context.CancelCauseFunc) *auth.Lease {
	return auth.NewLease(ctx, auth.LeaseOptions{Role: r, Holder: holder, Tokens: s.opts.Tokens, End: end, Logger: s.opts.Logger})
}

// Streams returns the number of streams of nodes that are open.
func (s *Server) Streams() int { return s.streams.Count() }

// SetMaxStreams sets how many streams are this replica's share; see balance.Streams.SetMax.
func (s *Server) SetMaxStreams(n int) { s.streams.SetMax(n) }

// Draining reports whether the server ends its streams and accepts no more.
func (s *Server) Draining() bool { return s.streams.Draining() }

// serve serves a node's stream.
func (s *Server) serve(stream grpc.ServerStream, peer auth.Identity) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	lease := s.lease(ctx, auth.Node, peer, cancel)
	defer lease.Release()
	defer cancel(nil)
	// What a node holds is not read before there is an answer.
	if err := s.opts.Hub.whenInSync(ctx); err != nil {
		return first(ended(ctx), err)
	}
	leave, err := s.door.Enter(ctx, peer.Name)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer leave()
	hello, err := s.hello(stream, peer)
	if err != nil {
		return err
	}
	remove, err := s.streams.Add(peer.Name, cancel)
	if err != nil {
		return err
	}
	defer remove()
	session, err := s.opts.Hub.connect(ctx, hello, true)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer session.Close()
	session.settled = leave
	s.opts.Metrics.accepted.Inc()
	s.opts.Metrics.active.Inc()
	defer s.opts.Metrics.active.Dec()
	s.opts.Logger.Info("node connected", "node", peer.Name, "held", len(hello.Held), "lacks", session.lacks.Names())

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
