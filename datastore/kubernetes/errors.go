package kubernetes

import (
	"context"
	"errors"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
)

// opError gives an error of the API server or of the way to it the store's form, with the
// server's own message as its cause.
func opError(ctx context.Context, operation string, kind datastore.Kind, key datastore.Key, err error) error {
	if ended := ctx.Err(); ended != nil {
		return datastore.OpError(operation, kind, key, ended, err)
	}
	return datastore.OpError(operation, kind, key, sentinel(err), err)
}

// sentinel says which of the store's errors an error is, or nil.
func sentinel(err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var transport *url.Error
		if errors.As(err, &transport) {
			return datastore.ErrUnavailable
		}
		return nil
	}
	switch {
	case apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err):
		return datastore.ErrNoKind // its CRD is not there, or not yet
	case apierrors.IsNotFound(err):
		return datastore.ErrNotFound
	case apierrors.IsAlreadyExists(err):
		return datastore.ErrExists
	case apierrors.IsConflict(err):
		return datastore.ErrConflict
	case apierrors.IsGone(err), apierrors.IsResourceExpired(err),
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge):
		return datastore.ErrExpired
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return datastore.ErrInvalid
	case apierrors.IsForbidden(err) && strings.HasPrefix(status.Status().Message, "admission webhook "):
		return datastore.ErrInvalid
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err),
		apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err):
		return datastore.ErrUnavailable
	}
	return nil
}
