package auth

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ExpiryTimer ends a stream when the token or the certificate that its peer presented last has expired.
type ExpiryTimer struct {
	ExpiryOptions

	mu       sync.Mutex
	timer    *time.Timer // nil if what was presented never expires
	until    time.Time
	released bool
}

// ExpiryOptions describe the stream of an ExpiryTimer.
type ExpiryOptions struct {
	Role   Role
	Holder Identity
	// Tokens verifies the tokens that the peer presents anew; nil where certificates identify peers.
	Tokens *Tokens
	// End ends the stream. It is called once at most, on a goroutine of the runtime.
	End    context.CancelCauseFunc
	Logger *slog.Logger
}

var (
	errExpired = status.Error(codes.Unauthenticated,
		"the service-account token that the stream was opened with has expired, and no later one was presented")
	errOutdated = status.Error(codes.Unauthenticated, "the certificate that the stream was opened with has expired")
)

// expirySpread is the time over which streams are ended that expire at the same time, because their peers then connect
// again.
const expirySpread = time.Minute

// A kubelet cannot renew tokens while the API server is down. After an outage it has renewalTime to do so, and until
// then no stream is ended. A timer that has fired meanwhile checks every renewalCheck whether that time is over.
const (
	renewalTime  = 10 * time.Minute
	renewalCheck = time.Minute
)

// NewExpiryTimer starts a timer. Release it when the stream has ended. ctx is the stream's.
func NewExpiryTimer(ctx context.Context, opts ExpiryOptions) *ExpiryTimer {
	l := &ExpiryTimer{ExpiryOptions: opts}
	if opts.Holder.Expires.IsZero() {
		return l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = l.endOf(opts.Holder)
	l.timer = time.AfterFunc(time.Until(l.until), func() { l.expire(ctx) })
	return l
}

// endOf returns when the stream of an identity ends. Since Tokens accepts a token until jwt.DefaultLeeway after its
// expiry, the stream lasts as long.
func (l *ExpiryTimer) endOf(i Identity) time.Time {
	now := time.Now()
	if l.Tokens != nil {
		now = l.Tokens.now()
	}
	return time.Now().Add(i.Expires.Sub(now) + jwt.DefaultLeeway + rand.N(expirySpread))
}

// expire ends the stream, unless the peer cannot have renewed its token.
func (l *ExpiryTimer) expire(ctx context.Context) {
	renewable, why := true, errOutdated
	if l.Tokens != nil {
		renewable, why = l.Tokens.reached(ctx) >= renewalTime, errExpired
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.released || time.Until(l.until) > 0: // this changed while the API server was asked
	case renewable:
		l.End(why)
	default:
		l.timer.Reset(renewalCheck)
	}
}

// Renew resets the timer with a later token of the same peer. It ignores a token that cannot be verified, since the
// reason may be that the API server's new key is out of reach. It fails for a token of another peer. ctx is the
// stream's.
func (l *ExpiryTimer) Renew(ctx context.Context, token string) error {
	if l.Tokens == nil || l.timer == nil {
		return nil
	}
	i, err := l.Role.token(l.Tokens, ctx, token)
	if err != nil {
		l.Logger.Warn("renewed token not accepted", "peer", l.Holder.Name, "error", err)
		return nil
	}
	if i.Name != l.Holder.Name {
		return status.Errorf(codes.PermissionDenied,
			"the stream is that of %s, and the token presented anew that of %s", l.Holder.Name, i.Name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released { // the goroutine that receives may outlive the stream
		l.until = l.endOf(i)
		l.timer.Reset(time.Until(l.until))
	}
	return nil
}

// Release stops the timer.
func (l *ExpiryTimer) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
