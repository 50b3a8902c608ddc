package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/datastore"
)

// opError gives an error of etcd or of the way to it the store's form: it names the endpoints, and what they answered.
func (s *Store) opError(ctx context.Context, operation string, kind datastore.Kind, key datastore.Key, err error) error {
	if ended := ctx.Err(); ended != nil {
		return datastore.OpError(operation, kind, key, ended, err)
	}
	cause := err
	if answer := (interface{ GRPCStatus() *status.Status })(nil); errors.As(err, &answer) {
		cause = errors.New(answer.GRPCStatus().Message())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		cause = fmt.Errorf("no answer within %s", answerWithin)
	}
	return datastore.OpError(operation, kind, key, sentinel(err), fmt.Errorf("etcd at %s: %w", s.where(), cause))
}

// temporary marks errors that time may mend.
type temporary struct{ error }

func (t temporary) Unwrap() error { return t.error }

// sentinel says which of the store's errors an error of etcd is, or nil.
func sentinel(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return datastore.ErrExpired
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return datastore.ErrInvalid
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, new(temporary)):
		return datastore.ErrUnavailable
	}
	code := status.Code(err)
	var answer rpctypes.EtcdError
	if errors.As(err, &answer) {
		code = answer.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Canceled:
		return datastore.ErrUnavailable
	}
	return nil
}
