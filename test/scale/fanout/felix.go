package main

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"

	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/typha/wire"
)

// The protocol as docs/protocol.md has it.
const (
	method        = "/maneki.typha.v1.Typha/Stream"
	frameHello    = 1
	frameReport   = 2
	frameObject   = 4
	frameCommit   = 6
	frameSetDelta = 7
	frameDeflate  = 8
)

// patience bounds a wait for what has been sent.
const patience = 5 * time.Minute

// fleet is the simulated Felixes of this process.
type fleet struct {
	dir       string
	authority *pki.Authority
	stop      context.CancelFunc
	wait      func() error

	mu              sync.Mutex
	changed         chan struct{} // closed and made anew when a counter below changed
	snapshots       []time.Duration
	endpoints, sets []time.Duration
	bytes, commits  int64
	failed          error
}

// simulate follows orders until there are no more.
func simulate(ctx context.Context, dir string) error {
	authority, err := pki.New("fanout", 24*time.Hour)
	if err != nil {
		return err
	}
	pair, err := authority.Issue("typha", 24*time.Hour)
	if err != nil {
		return err
	}
	if err := authority.Write(dir, pair); err != nil {
		return err
	}
	f := &fleet{dir: dir, authority: authority, changed: make(chan struct{})}
	orders, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return f.disconnect()
		} else if err != nil {
			return err
		}
		a, err := f.follow(ctx, o)
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (f *fleet) follow(ctx context.Context, o order) (answer, error) {
	if o.Connect == 0 {
		return answer{}, f.disconnect()
	}
	if o.Address != "" {
		if err := f.connect(ctx, o.Connect, o.Address); err != nil {
			return answer{}, err
		}
	}
	enough := func() bool { return len(f.snapshots) == o.Connect && len(f.endpoints) >= o.Endpoints }
	if err := f.until(ctx, enough); err != nil {
		return answer{}, fmt.Errorf("%w: %d snapshots, %d of %d endpoints came", err, len(f.snapshots),
			len(f.endpoints), o.Endpoints)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a := answer{Snapshot: summary(f.snapshots), Endpoint: summary(f.endpoints), Set: summary(f.sets), Bytes: f.bytes,
		Commits: f.commits}
	f.bytes, f.commits, f.endpoints, f.sets = 0, 0, nil, nil
	return a, nil
}

func (f *fleet) until(ctx context.Context, enough func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f.mu.Lock()
		done, failed, changed := enough(), f.failed, f.changed
		f.mu.Unlock()
		if done || failed != nil {
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func summary(d []time.Duration) latencies {
	if len(d) == 0 {
		return latencies{}
	}
	slices.Sort(d)
	return latencies{Count: len(d), Median: d[len(d)/2], P99: d[len(d)*99/100], Max: d[len(d)-1]}
}

func (f *fleet) disconnect() error {
	if f.stop == nil {
		return nil
	}
	f.stop()
	err := f.wait()
	f.stop, f.snapshots, f.endpoints, f.sets, f.bytes, f.commits = nil, nil, nil, nil, 0, 0
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// connect opens a stream for each of the first n nodes, all at once.
func (f *fleet) connect(ctx context.Context, n int, address string) error {
	ctx, f.stop = context.WithCancel(ctx)
	configs := make([]*tls.Config, n)
	for i := range configs {
		var err error
		configs[i], err = f.tls(scale.NodeName(i))
		if err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	f.wait = g.Wait
	for i, config := range configs {
		g.Go(func() error {
			err := f.read(ctx, scale.NodeName(i), address, config)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.note(func() { f.failed = fmt.Errorf("node %d: %w", i, err) })
			return err
		})
	}
	return nil
}

// tls issues the certificate that names a node.
func (f *fleet) tls(node string) (*tls.Config, error) {
	pair, err := f.authority.Issue("node:"+node, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(f.dir, "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := f.authority.Write(dir, pair); err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, pki.CertFile), filepath.Join(dir, pki.KeyFile))
	// Who the server is matters to nobody here.
	return &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}, err
}

// note changes the counters.
func (f *fleet) note(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// read is one Felix: it reads until the stream ends.
func (f *fleet) read(ctx context.Context, node, address string, config *tls.Config) error {
	start := time.Now()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithReadBufferSize(16<<10),
		grpc.WithWriteBufferSize(1<<10), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(octets{}),
			grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
		grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := send(s, frameHello, map[int]any{1: node, 2: 1, 3: []string{"set-delta", "deflate"}}); err != nil {
		return err
	}
	r := reader{fleet: f, stream: s, start: start}
	for {
		var message []byte
		if err := s.RecvMsg(&message); err != nil {
			return err
		}
		f.mu.Lock()
		f.bytes += int64(len(message))
		f.mu.Unlock()
		if err := r.frames(message); err != nil {
			return err
		}
	}
}

func send(s grpc.ClientStream, kind int, body map[int]any) error {
	message, err := wire.Encode([]any{kind, body})
	if err != nil {
		return err
	}
	return s.SendMsg(message)
}

// reader takes the frames of one stream.
type reader struct {
	*fleet
	stream grpc.ClientStream
	start  time.Time
	inSync bool
}

func (r *reader) frames(data []byte) error {
	for len(data) > 0 {
		var frame struct {
			_    struct{} `cbor:",toarray"`
			Type int
			Body cbor.RawMessage
		}
		rest, err := cbor.UnmarshalFirst(data, &frame)
		if err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if err := r.frame(frame.Type, frame.Body); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

func (r *reader) frame(kind int, body []byte) error {
	switch kind {
	case frameDeflate:
		var packed []byte
		if err := wire.Decode(body, &packed); err != nil {
			return err
		}
		inflated, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
		if err != nil {
			return fmt.Errorf("inflate: %w", err)
		}
		return r.frames(inflated)
	case frameObject:
		return r.object(body)
	case frameSetDelta:
		return r.setDelta(body)
	case frameCommit:
		return r.commit(body)
	}
	return nil
}

func (r *reader) object(body []byte) error {
	if !r.inSync {
		return nil
	}
	var object struct {
		Kind wire.Kind `cbor:"1,keyasint"`
		Data []byte    `cbor:"2,keyasint"`
	}
	if err := wire.Decode(body, &object); err != nil || object.Kind != wire.KindEndpoint {
		return err
	}
	var endpoint wire.Endpoint
	if err := wire.Decode(object.Data, &endpoint); err != nil {
		return err
	}
	text, timed := strings.CutPrefix(endpoint.Pod, timedName)
	if !timed {
		return nil
	}
	made, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return err
	}
	took := time.Since(time.Unix(0, made))
	r.note(func() { r.endpoints = append(r.endpoints, took) })
	return nil
}

func (r *reader) setDelta(body []byte) error {
	var delta wire.SetDelta
	if err := wire.Decode(body, &delta); err != nil {
		return err
	}
	for _, n := range delta.AddedNets {
		if made, ok := timeOf(n.Addr()); ok {
			took := time.Since(made)
			r.note(func() { r.sets = append(r.sets, took) })
		}
	}
	return nil
}

func timeOf(a netip.Addr) (time.Time, bool) {
	octets := a.As16()
	return time.Unix(0, int64(binary.BigEndian.Uint64(octets[8:]))), timed.Contains(a)
}

// commit acknowledges what came, as Felix does when the kernel has it.
func (r *reader) commit(body []byte) error {
	var mark struct {
		Number uint64 `cbor:"1,keyasint"`
		InSync bool   `cbor:"2,keyasint"`
	}
	if err := wire.Decode(body, &mark); err != nil {
		return err
	}
	took := time.Since(r.start)
	r.note(func() {
		r.commits++
		if mark.InSync && !r.inSync {
			r.snapshots = append(r.snapshots, took)
		}
	})
	r.inSync = r.inSync || mark.InSync
	return send(r.stream, frameReport, map[int]any{1: mark.Number})
}

// octets passes messages through gRPC.
type octets struct{}

func (octets) Name() string { return "maneki-cbor-seq" }

func (octets) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (octets) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
