package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/wire"
)

// ClientOptions configure a Client.
type ClientOptions struct {
	// Node is the name under which to ask; the token or the certificate has to name it.
	Node string
	// Replicas are asked before each attempt.
	Replicas balance.Replicas
	TLS      auth.TLS
	// TokenFile holds the node's projected service-account token with the audience auth.Audience. It is read for each
	// attempt, and again for as long as a stream lasts. Empty presents none.
	TokenFile string
	// Held and Versions are what the consumer has from an earlier run; they may be nil. They are read by NewClient
	// only.
	Held      map[wire.ID]wire.Object
	Versions  map[string]string
	Datastore string // of the Versions; see wire.Commit
	// Features are what is announced; 0 is wire.AllFeatures.
	Features wire.Features
	// ReadTimeout is how long a silent connection is trusted; 0 is 30 s, Felix's TyphaReadTimeout.
	ReadTimeout time.Duration
	Logger      *slog.Logger // nil discards
	// Syncing is called when the state of the stream changes, by Run; nil is nobody.
	Syncing func(SyncState)

	dial func(ctx context.Context, address string) (net.Conn, error) // for tests; nil is TCP
}

// Client is a Source that reads from a Typha. Run keeps it connected; Next goes on across
// connections, and what the consumer already holds is not delivered again.
type Client struct {
	opts     ClientOptions
	caller   caller
	log      *slog.Logger
	chooser  *balance.Chooser
	commits  chan wire.Commit // unbuffered: a slow consumer makes the server merge. Written by Run
	reported chan struct{}    // capacity 1: report was set. Written by Report, read by Run
	answered chan struct{}    // the same of answer
	done     chan struct{}    // closed when Run ends

	// What was handed to the consumer; owned by Run.
	held      map[wire.ID]wire.Hash // but of sets
	sets      map[string]*wire.PackedSet
	versions  map[string]string
	datastore string // of the versions
	number    uint64

	mu     sync.Mutex
	report wire.Report // latest
	answer wire.StatusAnswer

	cluster atomic.Pointer[wire.Cluster] // nil until Typha said it
}

// SyncState is how far a node is with what its source knows. The numbers are those of Calico's felix_resync_state.
type SyncState int

// The states. Before the first, it is 0.
const (
	Waiting   SyncState = iota + 1 // there is no source
	Resyncing                      // the source is there, and has not delivered everything
	InSync                         // it has delivered everything
)

// NewClient makes a Client. It fails if the TLS files cannot be used.
func NewClient(opts ClientOptions) (*Client, error) {
	c := &Client{
		opts: opts, log: opts.Logger, caller: caller{tls: opts.TLS, tokenFile: opts.TokenFile, readTimeout: opts.ReadTimeout, dial: opts.dial},
		chooser: balance.NewChooser(opts.Replicas), commits: make(chan wire.Commit),
		reported: make(chan struct{}, 1), answered: make(chan struct{}, 1), done: make(chan struct{}),
		held: map[wire.ID]wire.Hash{}, sets: map[string]*wire.PackedSet{}, versions: maps.Clone(opts.Versions), datastore: opts.Datastore,
	}
	if err := c.caller.validate(); err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	if c.opts.Features == 0 {
		c.opts.Features = wire.AllFeatures
	}
	for id, object := range opts.Held {
		if set, ok := object.(*wire.IPSet); ok {
			c.sets[id.Name] = wire.Pack(set)
			continue
		}
		hash, err := wire.ContentHash(object)
		if err != nil {
			return nil, fmt.Errorf("new client: %w", err)
		}
		c.held[id] = hash
	}
	c.opts.Held = nil
	if c.versions == nil {
		c.versions = map[string]string{}
	}
	if c.opts.Syncing == nil {
		c.opts.Syncing = func(SyncState) {}
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Run connects, and connects again whenever the stream breaks, until ctx ends. Call it once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.done)
	for {
		c.opts.Syncing(Waiting)
		address, err := c.chooser.Next()
		if err == nil {
			before, began := c.number, time.Now()
			err = c.connectOnce(ctx, address)
			c.chooser.Ended(address, time.Since(began), c.number > before)
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

// Next implements Source.
func (c *Client) Next(ctx context.Context) (wire.Commit, error) {
	select {
	case commit := <-c.commits:
		return commit, nil
	case <-c.done:
		return wire.Commit{}, ErrClosed
	case <-ctx.Done():
		return wire.Commit{}, ctx.Err()
	}
}

// Report implements Source.
func (c *Client) Report(r wire.Report) {
	c.mu.Lock()
	c.report = r
	c.mu.Unlock()
	select {
	case c.reported <- struct{}{}:
	default: // one is due already and will take this value
	}
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

// stream calls served when the replica, which may have to read the datastore first, begins to serve.
func (c *Client) stream(ctx context.Context, address string, served func()) error {
	up, err := c.caller.call(ctx, address, &streamDesc)
	if err != nil {
		return err
	}
	defer up.close()
	hello := c.hello()
	if err := up.send(frameHello, hello); err != nil && !errors.Is(err, io.EOF) {
		return err
	} // after io.EOF, reading sees how the stream ended
	c.log.Info("connected to typha", "address", address, "held", len(hello.Held))

	sending, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	base := c.number
	wait.Go(func() { c.sendReports(sending, up, base) })
	wait.Go(func() { c.sendAnswers(up, sending.Done()) })
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

func (c *Client) hello() Hello {
	hello := Hello{Node: c.opts.Node, Version: ProtocolVersion, Features: c.opts.Features.Names(), Applied: c.versions, Datastore: c.datastore,
		Held: make([]HeldObject, 0, len(c.held)+len(c.sets))}
	for id, hash := range c.held {
		hello.Held = append(hello.Held, HeldObject{ID: id, Hash: hash})
	}
	for _, set := range c.sets {
		hello.Held = append(hello.Held, HeldObject{ID: set.ID(), Hash: set.Hash(), Pieces: set.PieceHashes()})
	}
	return hello
}

// sendReports sends the latest report whenever there is a new one. base is the number of the last
// commit before this connection: the server counts its own from 1.
func (c *Client) sendReports(ctx context.Context, up *call, base uint64) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.reported:
		}
		c.mu.Lock()
		r := c.report
		c.mu.Unlock()
		switch {
		case r.Applied > base:
			r.Applied -= base
		case r.Applied > 0:
			continue // it speaks of what another connection delivered
		} // 0: what the kernel enforces is no commit, and the errors say why
		if err := up.send(frameReport, shortened(r)); err != nil {
			return // reading sees how the stream ended
		}
	}
}
