package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/datastore"
)

// opError gives an error of etcd or of the way to it the store's form: it names the endpoints, and what they answered.
func (s *Store) opError(ctx context.Context, operation string, kind datastore.Kind, key datastore.Key,
	err error) error {
	if ended := ctx.Err(); ended != nil {
		return datastore.OpError(operation, kind, key, ended, err)
	}
	cause, found := err, sentinel(err)
	if answer := (interface{ GRPCStatus() *status.Status })(nil); errors.As(err, &answer) {
		cause = errors.New(answer.GRPCStatus().Message())
		if found == datastore.ErrUnavailable && !strings.Contains(cause.Error(), "tls: ") {
			cause = cmp.Or(s.alert(ctx), cause)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		cause = fmt.Errorf("no answer within %s", answerWithin)
	}
	return datastore.OpError(operation, kind, key, found, fmt.Errorf("etcd at %s: %w", s.where(), cause))
}

// alertWithin bounds the waiting for an alert.
const alertWithin = time.Second

// alert asks why etcd ends connections; nil if it does not say. With TLS 1.3 a server judges the client's certificate
// when the client takes the connection for made, and a write that fails hides the alert from gRPC.
func (s *Store) alert(ctx context.Context) error {
	endpoints, err := s.config.resolve(ctx)
	if err != nil {
		return nil
	}
	address, secure := strings.CutPrefix(endpoints[0], "https://")
	settings, err := s.config.tls()
	if err != nil || !secure {
		return nil
	}
	settings.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, alertWithin)
	defer cancel()
	connection, err := (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	_, err = connection.Read(make([]byte, 1))
	if failed := (*net.OpError)(nil); errors.As(err, &failed) && failed.Op == "remote error" {
		return err
	}
	return nil
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
