package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// ClientOptions configure a Client.
type ClientOptions struct {
	// Node is the node's name; the token or the certificate has to name it.
	Node string
	// Replicas are read before each attempt to connect.
	Replicas balance.Replicas
	TLS      auth.TLS
	// TokenFile holds the node's projected service-account token with the audience auth.Audience. It is read before
	// each attempt, and regularly while a stream lasts. Empty presents none.
	TokenFile string
	// Held and Versions are what the consumer has from an earlier run; they may be nil. Only NewClient reads them.
	Held      map[wire.ID]wire.Object
	Versions  map[string]string
	Datastore string // of the Versions; see wire.Commit
	// Features are those that the node announces; 0 is wire.AllFeatures.
	Features wire.Features
	// ReadTimeout is how long a connection may be silent; 0 is 30 s, Felix's TyphaReadTimeout.
	ReadTimeout time.Duration
	Logger      *slog.Logger // nil discards
	// Syncing is called by Run when the state of the stream changes; nil is nobody.
	Syncing func(SyncState)

	dial func(ctx context.Context, address string) (net.Conn, error) // for tests; nil is TCP
}

// Client is a hub.Source that reads from a Typha. Run keeps it connected. Next goes on across connections: what the
// consumer already has is not delivered again.
type Client struct {
	opts    ClientOptions
	caller  caller
	log     *slog.Logger
	chooser *balance.Chooser
	commits chan wire.Commit // unbuffered, so that the server merges for a slow consumer; written by Run, never closed
	done    chan struct{}    // closed by Run when it ends
	holding holding          // owned by Run
	reports upward[wire.Report]
	answers upward[wire.StatusAnswer]
	cluster atomic.Pointer[wire.Cluster] // nil until Typha sent it
}

// SyncState is how much of its source's state a node has. The numbers are those of Calico's felix_resync_state.
type SyncState int

// The states; 0 is before the first one.
const (
	Waiting   SyncState = iota + 1 // there is no source
	Resyncing                      // there is a source, which has not delivered everything
	InSync                         // the source has delivered everything
)

// NewClient returns a Client. It fails if the TLS files cannot be used.
func NewClient(opts ClientOptions) (*Client, error) {
	if opts.Features == 0 {
		opts.Features = wire.AllFeatures
	}
	if opts.Syncing == nil {
		opts.Syncing = func(SyncState) {}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		opts: opts, log: opts.Logger, chooser: balance.NewChooser(opts.Replicas),
		caller:  caller{tls: opts.TLS, tokenFile: opts.TokenFile, readTimeout: opts.ReadTimeout, dial: opts.dial},
		commits: make(chan wire.Commit), done: make(chan struct{}),
		reports: newUpward[wire.Report](), answers: newUpward[wire.StatusAnswer](),
	}
	if err := c.caller.validate(); err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	var err error
	c.holding, err = newHolding(opts)
	if err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	c.opts.Held, c.opts.Versions = nil, nil
	return c, nil
}

// Run connects, and connects again whenever the stream breaks, until ctx ends. Call it once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.done)
	for {
		c.opts.Syncing(Waiting)
		address, err := c.chooser.Next()
		if err == nil {
			before, began := c.holding.number, time.Now()
			err = c.connectOnce(ctx, address)
			c.chooser.Ended(address, time.Since(began), c.holding.number > before)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := c.chooser.Pause(address)
		c.log.Warn("no stream from typha", "error", err, "retry", pause.For)
		c.caller.handshaker.Log(c.log)
		c.chooser.Wait(ctx, pause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Next implements hub.Source.
func (c *Client) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case commit := <-c.commits:
		return commit, nil
	case <-c.done:
		return wire.Commit{}, hub.ErrClosed
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

// Report implements hub.Source.
func (c *Client) Report(r wire.Report) { c.reports.set(r) }

// Answer implements hub.Source.
func (c *Client) Answer(a wire.StatusAnswer) { c.answers.set(a) }

// Cluster returns the counts of the cluster that Typha sent last, and whether it has sent any. Any goroutine may call
// it.
func (c *Client) Cluster() (wire.Cluster, bool) {
	cluster := c.cluster.Load()
	if cluster == nil {
		return wire.Cluster{}, false
	}
	return *cluster, true
}

// connectOnce opens one stream and reads it to its end.
func (c *Client) connectOnce(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served := make(chan struct{})
	go c.chooser.Watch(ctx, address, served, cancel)
	if err := c.stream(ctx, address, func() { close(served) }); err != nil {
		return fmt.Errorf("stream from typha %s: %w", address, first(ended(ctx), err))
	}
	return nil
}

// stream opens one stream and reads it to its end. It calls served when the replica begins to serve the node, which may
// have to read the datastore first.
func (c *Client) stream(ctx context.Context, address string, served func()) error {
	up, err := c.caller.call(ctx, address, &streamDesc)
	if err != nil {
		return err
	}
	defer up.close()
	hello := nodeHello{Hello: c.holding.hello(c.opts), Version: ProtocolVersion}
	if err := up.send(frameHello, hello); err != nil && !errors.Is(err, io.EOF) {
		return err
	} // after io.EOF, RecvMsg returns why the stream ended
	c.log.Info("connected to typha", "address", address, "held", len(hello.Held))

	sending, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	base := c.holding.number
	wait.Go(func() { c.sendReports(sending, up, base) })
	wait.Go(func() { c.sendAnswers(sending, up) })
	defer wait.Wait()
	defer stop()
	r := newReader(c, up)
	r.served = served
	r.renew = func() { wait.Go(func() { up.renew(sending) }) }
	for {
		var message []byte
		if err := up.stream.RecvMsg(&message); err != nil {
			return err
		}
		if err := r.frames(ctx, message); err != nil {
			return err
		}
	}
}
