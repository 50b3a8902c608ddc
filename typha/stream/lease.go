package stream

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lease ends a stream when what the peer presented last, its token or its certificate, has expired.
type lease struct {
	server *Server
	role   role
	holder identity
	end    context.CancelCauseFunc

	mu       sync.Mutex
	timer    *time.Timer // nil: what was presented never expires
	until    time.Time
	released bool
}

// What ends a stream whose peer has not presented something that is still good.
var (
	errExpired  = status.Error(codes.Unauthenticated, "the service-account token that the stream was opened with has expired, and no later one was presented")
	errOutdated = status.Error(codes.Unauthenticated, "the certificate that the stream was opened with has expired")
)

// expirySpread is over how long streams are ended that expire at the same time: their peers then connect again. Those of
// this release present their new tokens before.
const expirySpread = time.Minute

// Kubelets cannot renew tokens while the API server is away. Once it is back they are given renewalTime for it: until then no
// stream is ended, and whether it is to be is looked at every renewalCheck.
const (
	renewalTime  = 10 * time.Minute
	renewalCheck = time.Minute
)

// lease begins the lease of the peer that end ends. Release it after use. ctx is the stream's.
func (s *Server) lease(ctx context.Context, r role, holder identity, end context.CancelCauseFunc) *lease {
	l := &lease{server: s, role: r, holder: holder, end: end}
	if holder.expires.IsZero() {
		return l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = l.term(holder)
	l.timer = time.AfterFunc(time.Until(l.until), func() { l.expire(ctx) })
	return l
}

// term is until when what a peer presented counts. A stream could be opened with a token until jwt.DefaultLeeway after its end.
func (l *lease) term(i identity) time.Time {
	now := time.Now()
	if tokens := l.server.opts.Tokens; tokens != nil {
		now = tokens.now()
	}
	return time.Now().Add(i.expires.Sub(now) + jwt.DefaultLeeway + rand.N(expirySpread))
}

// expire ends the stream, unless the peer can have had no way to renew its token.
func (l *lease) expire(ctx context.Context) {
	renewable, why := true, errOutdated
	if tokens := l.server.opts.Tokens; tokens != nil {
		renewable, why = tokens.reached(ctx) >= renewalTime, errExpired
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.released || time.Until(l.until) > 0: // which changed while the API server was asked
	case renewable:
		l.end(why)
	default:
		l.timer.Reset(renewalCheck)
	}
}

// renew takes a later token of the same peer. One that cannot be verified, perhaps because the API server's new key cannot be
// had, does not count. ctx is the stream's.
func (l *lease) renew(ctx context.Context, body []byte) error {
	tokens := l.server.opts.Tokens
	if tokens == nil || l.timer == nil {
		return nil
	}
	var b tokenBody
	if err := decodeBody(body, &b); err != nil {
		return err
	}
	i, err := l.role.token(tokens, ctx, b.Token)
	if err != nil {
		l.server.opts.Logger.Warn("the token that a peer presents anew does not count", "peer", l.holder.name, "error", err)
		return nil
	}
	if i.name != l.holder.name {
		return status.Errorf(codes.PermissionDenied, "the stream is that of %s, and the token presented anew that of %s", l.holder.name, i.name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released { // what receives may outlive the stream
		l.until = l.term(i)
		l.timer.Reset(time.Until(l.until))
	}
	return nil
}

func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
