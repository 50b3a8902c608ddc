package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
)

// ObserverOptions configure Observe.
type ObserverOptions struct {
	// Address is the replica, host:port.
	Address string
	TLS     auth.TLS
	// TokenFile holds the observer's projected service-account token with the audience auth.Audience. It is read when
	// the stream is opened, and regularly while it lasts. Empty presents none.
	TokenFile string
	// ReadTimeout is how long a connection may be silent; pings keep it alive. 0 is 30 s.
	ReadTimeout time.Duration
	Logger      *slog.Logger // nil discards

	dial func(ctx context.Context, address string) (net.Conn, error) // for tests; nil is TCP
}

// Observe follows one replica until ctx or the connection ends, and returns why. It calls each with all that the
// replica knows, once the replica is in sync with the datastore, and then at most once a second with what has changed.
// While each runs, nothing is read, and the replica merges changes.
func Observe(ctx context.Context, opts ObserverOptions, each func(hub.Observed)) error {
	c := caller{tls: opts.TLS, tokenFile: opts.TokenFile, readTimeout: opts.ReadTimeout, dial: opts.dial}
	if err := c.validate(); err != nil {
		return fmt.Errorf("observe typha: %w", err)
	}
	if err := observe(ctx, c, opts, each); err != nil {
		return fmt.Errorf("observe typha %s: %w", opts.Address, first(ctx.Err(), err))
	}
	return nil
}

func observe(ctx context.Context, c caller, opts ObserverOptions, each func(hub.Observed)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	up, err := c.call(ctx, opts.Address, &observeDesc)
	if err != nil {
		return err
	}
	defer up.close()
	if err := up.send(frameObserve, observeHello{Version: ProtocolVersion}); err != nil && !errors.Is(err, io.EOF) {
		return err
	} // after io.EOF, RecvMsg returns why the stream ended
	if opts.Logger != nil {
		opts.Logger.Info("observing typha", "address", opts.Address)
	}
	r := observedReader{each: each, renew: sync.OnceFunc(func() { wait.Go(func() { up.renew(ctx) }) })}
	for {
		var message []byte
		if err := up.stream.RecvMsg(&message); err != nil {
			return err
		}
		if err := decodeFrames(message, r.frame); err != nil {
			return err
		}
	}
}

// observedReader collects the frames of one Observed.
type observedReader struct {
	each  func(hub.Observed)
	renew func() // starts to present renewed tokens
	seen  hub.Observed
}

func (r *observedReader) frame(kind int, body []byte) error {
	switch kind {
	case frameWelcome:
		w, err := greeted(body)
		if err != nil {
			return err
		}
		if slices.Contains(w.Features, featureToken) {
			r.renew()
		}
	case frameNode:
		var n hub.NodeStatus
		if err := decodeBody(body, &n); err != nil {
			return fmt.Errorf("decode the status of a node: %w", err)
		}
		r.seen.Nodes = append(r.seen.Nodes, n)
	case frameGone:
		var name string
		if err := decodeBody(body, &name); err != nil {
			return fmt.Errorf("decode the name of a node that is gone: %w", err)
		}
		r.seen.Gone = append(r.seen.Gone, name)
	case frameProblem:
		var v problem
		if err := decodeBody(body, &v); err != nil {
			return fmt.Errorf("decode a problem: %w", err)
		}
		r.seen.Problems = append(r.seen.Problems, calc.Problem(v))
	case frameAnswered:
		var a nodeAnswer
		if err := decodeBody(body, &a); err != nil {
			return fmt.Errorf("decode the answer of a node: %w", err)
		}
		said := time.Now().Add(-time.Duration(a.AgeSeconds * float64(time.Second)))
		r.seen.Answers = append(r.seen.Answers, hub.NodeAnswer{Node: a.Node, StatusAnswer: a.Answer, Said: said})
	case frameObserved:
		var mark observedMark
		if err := decodeBody(body, &mark); err != nil {
			return fmt.Errorf("decode the mark that ends a message: %w", err)
		}
		r.seen.Whole = mark.Whole
		r.each(r.seen)
		r.seen = hub.Observed{}
	}
	return nil
}
