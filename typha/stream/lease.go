package stream

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lease ends a stream when the token that the peer presented last has expired.
type lease struct {
	server *Server
	role   role
	holder identity
	timer  *time.Timer // nil: a certificate identifies the peer
}

// errExpired ends a stream whose peer has not presented a token that is still good.
var errExpired = status.Error(codes.Unauthenticated, "the service-account token that the stream was opened with has expired, and no later one was presented")

// expirySpread is over how long streams are ended whose tokens expire at the same time: their peers then connect again. Those of
// this release present their new tokens before.
const expirySpread = time.Minute

// lease begins the lease of the peer that end ends. Release it after use.
func (s *Server) lease(r role, holder identity, end context.CancelCauseFunc) *lease {
	l := &lease{server: s, role: r, holder: holder}
	if !holder.expires.IsZero() {
		l.timer = time.AfterFunc(l.term(holder), func() { end(errExpired) })
	}
	return l
}

// term is for how long a token counts. Until jwt.DefaultLeeway after its end a stream could be opened with it.
func (l *lease) term(i identity) time.Duration {
	return i.expires.Sub(l.server.opts.Tokens.now()) + jwt.DefaultLeeway + rand.N(expirySpread)
}

// renew takes a later token of the same peer. One that cannot be verified, perhaps because the API server's new key cannot be
// had, does not count. ctx is the stream's.
func (l *lease) renew(ctx context.Context, body []byte) error {
	if l.timer == nil {
		return nil
	}
	var b tokenBody
	if err := decodeBody(body, &b); err != nil {
		return err
	}
	i, err := l.role.token(l.server.opts.Tokens, ctx, b.Token)
	switch {
	case err != nil:
		l.server.opts.Logger.Warn("the token that a peer presents anew does not count", "peer", l.holder.name, "error", err)
	case i.name != l.holder.name:
		return status.Errorf(codes.PermissionDenied, "the stream is that of %s, and the token presented anew that of %s", l.holder.name, i.name)
	default:
		l.timer.Reset(l.term(i))
		if ctx.Err() != nil {
			l.timer.Stop() // it may have been released already, which is done after ctx has ended
		}
	}
	return nil
}

func (l *lease) release() {
	if l.timer != nil {
		l.timer.Stop()
	}
}
