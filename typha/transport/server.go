package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/inbound"
	"github.com/maneki-net/maneki/typha/wire"
)

const serviceName = "maneki.typha.v1.Typha"

// The methods: of nodes, and of observers. Both sides use these descriptions.
var (
	streamDesc  = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}
	observeDesc = grpc.StreamDesc{StreamName: "Observe", ServerStreams: true, ClientStreams: true}
)

// ServerOptions configure a Server.
type ServerOptions struct {
	Hub *hub.Hub
	TLS auth.TLS
	// Tokens verifies the tokens of nodes and observers. If it is nil, the client certificate has to name the peer:
	// common name "node:<name>" or "observer:<name>".
	Tokens *auth.Tokens
	// HandshakeTimeout bounds the time until a client has sent its token, and then the time until it has sent its
	// hello. PingInterval is the time between two pings. 0 is 10 s each.
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
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 10*time.Second)
	o.PingInterval = cmp.Or(o.PingInterval, 10*time.Second)
	o.ObserveInterval = cmp.Or(o.ObserveInterval, time.Second)
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
	cache      *partCache
	door       *auth.Door
	streams    *balance.Streams
}

// NewServer returns a Server. It fails if the TLS files cannot be used, or if the options would not identify clients.
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
	s := &Server{opts: opts, handshaker: handshaker, cache: newPartCache(), door: auth.NewDoor(hub.MaxSessions),
		streams: balance.New(opts.Balance)}
	s.grpc = grpc.NewServer(
		grpc.Creds(handshaker.ServerCredentials()),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(maxUpMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 30 * time.Second, Timeout: 20 * time.Second, MaxConnectionIdle: time.Minute}),
		grpc.ConnectionTimeout(opts.HandshakeTimeout),
		grpc.MaxConcurrentStreams(4), // a client opens one
		grpc.MaxHeaderListSize(maxHeaders),
		// Most of thousands of connections are idle, so their buffers are small or shared.
		grpc.ReadBufferSize(4<<10), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	streams, observations := streamDesc, observeDesc
	streams.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream, auth.Node, s.serve) }
	observations.Handler = func(_ any, stream grpc.ServerStream) error {
		return s.handle(stream, auth.Observer, s.observing)
	}
	s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{streams, observations}}, s)
	return s, nil
}

// Serve accepts connections until ctx ends. Then it ends the streams as the Balance options say, and returns nil. It
// fails if the listener does.
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

// handle identifies the peer of a stream, calls serve, and counts and logs how the stream ends.
func (s *Server) handle(
	stream grpc.ServerStream, r auth.Role, serve func(grpc.ServerStream, auth.Identity) error,
) error {
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
	return statusOf(err)
}

// statusOf returns the gRPC status of an error. It returns other errors as they are: gRPC makes them Unknown, unless
// they are a status.
func statusOf(err error) error {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case is(hub.ErrBehind):
		return status.Error(codes.FailedPrecondition, err.Error())
	case is(hub.ErrClosed, hub.ErrSlow, hub.ErrReplaced, balance.ErrElsewhere):
		return status.Error(codes.Unavailable, err.Error())
	case is(hub.ErrManyObservers):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return err
}

// hello receives a node's hello.
func (s *Server) hello(stream grpc.ServerStream, peer auth.Identity) (hub.Hello, error) {
	var hello nodeHello
	if err := s.greet(stream, frameHello, &hello); err != nil {
		return hub.Hello{}, err
	}
	if hello.Node != peer.Name {
		return hub.Hello{}, status.Errorf(codes.PermissionDenied,
			"the peer is node %s and asks for the stream of node %s", peer.Name, hello.Node)
	}
	return hello.Hello, understood(hello.Version)
}

// understood fails unless a peer's protocol version differs by one at most.
func understood(version int) error {
	if version < ProtocolVersion-1 || version > ProtocolVersion+1 {
		return status.Errorf(codes.FailedPrecondition,
			"protocol version %d is not understood, only %d and its neighbours", version, ProtocolVersion)
	}
	return nil
}

// expiry starts the timer that calls end when what the peer presented has expired.
func (s *Server) expiry(
	ctx context.Context, r auth.Role, peer auth.Identity, end context.CancelCauseFunc,
) *auth.ExpiryTimer {
	return auth.NewExpiryTimer(ctx, auth.ExpiryOptions{
		Role: r, Holder: peer, Tokens: s.opts.Tokens, End: end, Logger: s.opts.Logger})
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
	expiry := s.expiry(ctx, auth.Node, peer, cancel)
	defer expiry.Release()
	defer cancel(nil)
	// The hello, which may be large, is not read before the node can be served.
	if err := s.opts.Hub.WaitInSync(ctx); err != nil {
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
	session, err := s.opts.Hub.ConnectRemote(ctx, hello)
	if err != nil {
		return first(ended(ctx), err)
	}
	defer session.Close()
	s.opts.Metrics.accepted.Inc()
	s.opts.Metrics.active.Inc()
	defer s.opts.Metrics.active.Dec()
	s.opts.Logger.Info("node connected", "node", peer.Name, "held", len(hello.Held), "lacks", session.Lacks().Names())

	pings := &pings{metrics: s.opts.Metrics}
	go func() { cancel(receive(stream, fromNode(ctx, session, pings, expiry))) }() // ends with the stream
	w := s.writer(stream, session.Lacks())
	w.compared = leave
	return s.exchange(ctx, session, func() error { return s.send(ctx, w, session, pings) })
}

// writer returns a writer to a node that lacks features.
func (s *Server) writer(stream grpc.ServerStream, lacks wire.Features) *messageWriter {
	return &messageWriter{stream: stream, metrics: s.opts.Metrics, cache: s.cache, lacks: lacks}
}

// exchange sends until the stream ends or something ends it, and returns why. A send that is blocked then goes on until
// gRPC has closed the stream.
func (s *Server) exchange(ctx context.Context, session *hub.Session, send func() error) error {
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	select {
	case err := <-sent:
		return first(ended(ctx), err)
	case <-session.Ended():
		return session.Err()
	case <-ctx.Done():
		if err := ended(ctx); err != nil {
			return err
		}
		return <-sent
	}
}
