// Package etcd is a Store over an etcd cluster, for networks without Kubernetes: the kinds of projectcalico.org/v3 as
// JSON, under the keys that Calico uses.
//
// It owns the connection, made at the first use, and the goroutines of etcd's client; each watch has one more, which
// asks how far it is. It judges no content: who writes calls package validate first. It never caches, and refuses
// Kubernetes' own kinds. Any number of goroutines may use a Store.
package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/lifecycle"
)

// answerWithin bounds each question to etcd, and the connecting. It is longer than etcd itself waits for a majority, 7
// s, so that its answer is seen.
const answerWithin = 10 * time.Second

// A silent connection is probed and given up after these.
const (
	keepAliveAfter  = 10 * time.Second
	keepAliveWithin = 5 * time.Second
)

// defaultPageSize keeps the answers of etcd small.
const defaultPageSize = 1000

// Store implements datastore.Store. Make one by New.
type Store struct {
	config Config
	// turn holds a token while nobody looks at client.
	turn   chan struct{}
	client *clientv3.Client // nil before the first use and after Close
	closed bool

	progressEvery time.Duration // the constant, but in tests
}

var _ datastore.Store = (*Store)(nil)

// New makes a Store. It does not connect: an unreachable etcd shows as ErrUnavailable at the first use. The error is
// one of the configuration, whose files are read.
func New(config Config) (*Store, error) {
	err := config.check()
	if err == nil {
		_, err = config.tls()
	}
	if err != nil {
		return nil, fmt.Errorf("datastore etcd: %w", err)
	}
	s := &Store{config: config, turn: make(chan struct{}, 1), progressEvery: progressEvery}
	s.turn <- struct{}{}
	return s, nil
}

// Close ends the connection, and with it all watches.
func (s *Store) Close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	s.closed = true
	if s.client == nil {
		return nil
	}
	client := s.client
	s.client = nil
	if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the connection to etcd at %s: %w", s.where(), err)
	}
	return nil
}

// where names the endpoints in messages.
func (s *Store) where() string { return cmp.Or(s.config.Endpoints, s.config.DiscoverySRV) }

// connect returns the client. The first one to ask makes it, which with a password takes an answer of etcd's.
func (s *Store) connect(ctx context.Context) (*clientv3.Client, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.client != nil {
		return s.client, nil
	}
	if s.closed {
		return nil, errors.New("the store is closed")
	}
	endpoints, err := s.config.resolve(ctx)
	if err != nil {
		return nil, temporary{err}
	}
	settings := clientv3.Config{
		Endpoints: endpoints, Username: s.config.Username, Password: s.config.Password,
		DialTimeout: answerWithin, DialKeepAliveTime: keepAliveAfter, DialKeepAliveTimeout: keepAliveWithin,
		Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast)},
	}
	if strings.HasPrefix(endpoints[0], "https:") {
		settings.TLS, err = s.config.tls()
		if err != nil {
			return nil, err
		}
	}
	s.client, err = clientv3.New(settings)
	return s.client, err
}

// failFast has a question fail with the cause as soon as no endpoint can be connected to. Otherwise etcd's client waits
// for one, and keeps the cause for itself.
func failFast(ctx context.Context, method string, question, answer any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(ctx, method, question, answer, connection, append(slices.Clip(options), grpc.WaitForReady(false))...)
}

// do asks etcd one question in bounded time.
func (s *Store) do(ctx context.Context, ask func(context.Context, clientv3.KV) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	return ask(ctx, client)
}

// read returns what is stored under a key; nil if nothing is.
func (s *Store) read(ctx context.Context, path string) (kv *mvccpb.KeyValue, err error) {
	err = s.do(ctx, func(ctx context.Context, etcd clientv3.KV) error {
		answer, err := etcd.Get(ctx, path)
		if err == nil && len(answer.Kvs) > 0 {
			kv = answer.Kvs[0]
		}
		return err
	})
	return kv, err
}

// swap does a write if a key is still at a revision, 0 for not there. It gives the revision of the write, 0 if the
// key was not.
func (s *Store) swap(ctx context.Context, path string, at int64, write clientv3.Op) (revision int64, err error) {
	err = s.do(ctx, func(ctx context.Context, etcd clientv3.KV) error {
		answer, err := etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(path), "=", at)).Then(write).Commit()
		if err == nil && answer.Succeeded {
			revision = answer.Header.Revision
		}
		return err
	})
	return revision, err
}

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	const operation = "get"
	if err := stored(kind); err != nil {
		return nil, datastore.OpError(operation, kind, key, datastore.ErrInvalid, err)
	}
	path, ok := pathOf(kind, key)
	if !ok {
		return nil, datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
	}
	kv, err := s.read(ctx, path)
	switch {
	case err != nil:
		return nil, s.opError(ctx, operation, kind, key, err)
	case kv == nil:
		return nil, datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
	}
	object, err := decode(kind, kv)
	if err != nil {
		return nil, datastore.OpError(operation, kind, key, nil, err)
	}
	return object, nil
}

// List implements datastore.Store. Items are sorted by their keys in etcd.
func (s *Store) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	const operation = "list"
	selects, err := filter(kind, opts)
	if err != nil {
		return datastore.List{}, datastore.OpError(operation, kind, datastore.Key{}, datastore.ErrInvalid, err)
	}
	limit := opts.PageSize
	if limit <= 0 {
		limit = defaultPageSize
	}
	kvs, revision, err := s.pages(ctx, folder(kind, opts.Namespace), limit)
	if errors.Is(err, rpctypes.ErrCompacted) {
		// The revision that the pages are cut from is gone: all at once, then.
		kvs, revision, err = s.pages(ctx, folder(kind, opts.Namespace), 0)
	}
	if err != nil {
		return datastore.List{}, s.opError(ctx, operation, kind, datastore.Key{}, err)
	}
	list := datastore.List{Revision: format(revision)}
	for _, kv := range kvs {
		object, err := decode(kind, kv)
		switch {
		case !selects(object):
		case err != nil:
			list.Unusable = append(list.Unusable, datastore.Unusable{Key: datastore.KeyOf(object), Err: err})
		default:
			list.Items = append(list.Items, object)
		}
	}
	return list, nil
}

// pages reads everything in a folder at one revision, with at most so many keys at a time; 0 is all.
func (s *Store) pages(ctx context.Context, folder string, limit int64) (kvs []*mvccpb.KeyValue, revision int64,
	err error) {
	for from, more := folder, true; more; {
		err = s.do(ctx, func(ctx context.Context, etcd clientv3.KV) error {
			answer, err := etcd.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(folder)),
				clientv3.WithLimit(limit), clientv3.WithRev(revision))
			if err != nil {
				return err
			}
			if revision == 0 {
				revision = answer.Header.Revision
			}
			kvs = append(kvs, answer.Kvs...)
			more = answer.More && len(answer.Kvs) > 0
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
		if more {
			from = string(kvs[len(kvs)-1].Key) + "\x00"
		}
	}
	return kvs, revision, nil
}

func filter(kind datastore.Kind, opts datastore.ListOptions) (func(datastore.Object) bool, error) {
	if err := stored(kind); err != nil {
		return nil, err
	}
	if strings.Contains(opts.Namespace, "/") {
		return nil, fmt.Errorf("%q is not a namespace", opts.Namespace)
	}
	return lifecycle.Filter(kind, opts)
}
