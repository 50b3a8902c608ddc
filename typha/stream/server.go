package stream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/wire"
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
	Tokens  *Tokens
	Logger  *slog.Logger // nil discards
	Metrics *Metrics     // nil counts for nobody
}

// Server hands the sessions of a Hub to nodes over gRPC.
type Server struct {
	opts  ServerOptions
	grpc  *grpc.Server
	cache *compressed
}

// NewServer makes a Server. It fails if the TLS files cannot be used, or if neither a peer
// name nor a certificate would identify the clients.
func NewServer(opts ServerOptions) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(nil)
	}
	if opts.Tokens != nil && opts.TLS.PeerCN == "" && opts.TLS.PeerURISAN == "" {
		return nil, errors.New("new server: set the common name or the URI that client certificates must have")
	}
	if err := opts.TLS.validate(); err != nil {
		return nil, fmt.Errorf("new server: %w", err)
	}
	s := &Server{opts: opts, cache: newCompressed()}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(opts.TLS.server())),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(maxUpMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	desc := streamDesc
	desc.Handler = func(_ any, stream grpc.ServerStream) error { return s.handle(stream) }
	s.grpc.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc}}, s)
	return s, nil
}

// Serve accepts nodes until ctx ends, then closes their streams and returns nil, or fails when the listener does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	if err := s.grpc.Serve(listener); err != nil && ctx.Err() == nil {
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
	if err != nil && stream.Context().Err() == nil {
		metrics.dropped.Inc()
		log.Warn("stream ended", "error", err)
	} else {
		log.Info("stream closed by the node")
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrBehind):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, ErrClosed):
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
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	hello, err := receiveHello(stream)
	if err != nil {
		return err
	}
	switch {
	case hello.Node != node:
		return status.Errorf(codes.PermissionDenied, "the peer is node %s and asks for the stream of node %s", node, hello.Node)
	case hello.Version < ProtocolVersion-1 || hello.Version > ProtocolVersion+1:
		return status.Errorf(codes.FailedPrecondition, "protocol version %d is not understood, only %d and its neighbours", hello.Version, ProtocolVersion)
	}
	session, err := s.opts.Hub.Connect(ctx, hello)
	if err != nil {
		return err
	}
	defer session.Close()
	s.opts.Metrics.accepted.Inc()
	s.opts.Metrics.active.Inc()
	defer s.opts.Metrics.active.Dec()
	s.opts.Logger.Info("node connected", "node", node, "held", len(hello.Held))

	upward := make(chan error, 1)
	go func() {
		defer cancel() // the node closed its side or the stream broke
		upward <- receiveReports(stream, session)
	}()
	err = s.send(ctx, stream, session)
	select {
	case received := <-upward:
		if received != nil {
			return received
		}
	default:
	}
	return err
}

func receiveHello(stream grpc.ServerStream) (Hello, error) {
	var message []byte
	var hello Hello
	if err := stream.RecvMsg(&message); err != nil {
		return hello, err
	}
	found := false
	err := decodeFrames(message, func(kind int, body []byte) error {
		if kind == frameHello {
			found = true
			return decodeBody(body, &hello)
		}
		return nil
	})
	if err != nil || !found {
		return hello, status.Errorf(codes.InvalidArgument, "the first message has to be a hello: %v", err)
	}
	return hello, nil
}

// receiveReports passes the node's reports on until the stream ends.
func receiveReports(stream grpc.ServerStream, session *Session) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return nil // the sending side sees how the stream ended
		}
		err := decodeFrames(message, func(kind int, body []byte) error {
			if kind != frameReport {
				return nil
			}
			var r wire.Report
			if err := decodeBody(body, &r); err != nil {
				return err
			}
			session.Report(r)
			return nil
		})
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "report: %v", err)
		}
	}
}

// send streams the session's batches.
func (s *Server) send(ctx context.Context, stream grpc.ServerStream, session *Session) error {
	w := messageWriter{stream: stream, metrics: s.opts.Metrics, cache: s.cache, lacks: session.lacks}
	if err := w.addFrame(frameWelcome, welcome{Version: ProtocolVersion, Features: wire.AllFeatures.Names()}); err != nil {
		return err
	}
	for first := true; ; first = false {
		b, err := session.next(ctx)
		if err != nil {
			if stream.Context().Err() != nil {
				return nil
			}
			return err
		}
		start := time.Now()
		if err := w.batch(b); err != nil {
			return err
		}
		if first {
			s.opts.Metrics.snapshotSend.Observe(time.Since(start).Seconds())
			s.opts.Metrics.rawSize.Set(float64(w.raw))
			s.opts.Metrics.compressedSize.Set(float64(w.total))
			s.opts.Metrics.streaming.Inc()
			defer s.opts.Metrics.streaming.Dec()
		}
	}
}
