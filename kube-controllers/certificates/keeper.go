// Package certificates makes and renews the certificates with which the components of an installation authenticate each
// other, and replaces their certificate authority.
//
// It owns the data of Secrets. The installation creates the Secrets empty, so that this program needs no right to
// create any. One Secret has the authority with its keys; no pod mounts it. There is one Secret for each certificate;
// the pods of one component mount it. The package creates no object, and changes only the data of the Secrets and its
// own annotation. Package typha/auth and the API servers present and verify the certificates.
//
// # Replacing the authority
//
// A Secret reaches the pods that mount it a minute or two after it was written, and later on a node that is cut off. So
// no certificate is presented before everybody trusts its authority, and no authority loses trust while somebody may
// present its certificates:
//
//  1. The next authority is made. Everybody trusts it besides the current one.
//  2. After the overlap the next authority becomes the current one. Every certificate is made again.
//  3. After another overlap the former authority is no longer trusted.
//
// The authority is replaced when it would not outlive the certificates that it signs, and when its Secret has the
// annotation AnnotationRotate. The step follows from the Secret alone, so any replica can continue, and a crash loses
// nothing. If the Secret's data is deleted, the authority is replaced at once and no longer trusted: this is for a
// stolen key.
//
// A Keeper runs on every replica, without leader election, in one goroutine. It repeats writes that conflict. It calls
// Certificate.Use on that goroutine. Certificates are made with crypto/x509 alone: no library that we link replaces an
// authority in steps.
package certificates

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AnnotationRotate on the authority's Secret, with any value, requests another authority. A request that comes during a
// replacement is met by another one after it. The annotation is removed when the next authority is made.
const AnnotationRotate = "maneki.net/rotate"

// The intervals between two checks: in general, and after a failure.
const (
	period      = 30 * time.Second
	retryPeriod = 2 * time.Second
)

// MinOverlap is the shortest overlap: the time that a kubelet needs to bring a Secret to its pods, and one period.
const MinOverlap = 3 * time.Minute

// Certificate is a certificate to keep.
type Certificate struct {
	Name
	// Secret is the name of its Secret, for the pods that mount it. If it is empty, the certificate is kept in memory,
	// and each Keeper has its own.
	Secret string
	// Use is called with the certificate at each check, whether it has changed or not. May be nil.
	Use func(context.Context, Issued) error
}

// Options configure a Keeper.
type Options struct {
	// Client reads and writes the API directly, without a cache.
	Client client.Client
	// Namespace is where the Secrets are.
	Namespace string
	// Authority is the name of the authority's Secret.
	Authority string
	// Overlap is how long an authority is trusted before and after it signs; at least MinOverlap.
	Overlap time.Duration
	// Certificates are the certificates to keep. Each of those in memory has its own common name.
	Certificates []Certificate
	Log          *slog.Logger
}

// Keeper keeps the certificates. Make it with New, and add it to a manager, which calls Start.
type Keeper struct {
	Options
	now     func() time.Time
	own     map[string]Issued // certificates in memory, by common name
	settled bool              // every certificate was good at the last check
}

// New returns a Keeper. It does no I/O.
func New(options Options) *Keeper {
	return &Keeper{Options: options, now: time.Now, own: map[string]Issued{}}
}

// NeedLeaderElection returns false: an installation must not wait for a lease, and every replica needs certificates.
func (k *Keeper) NeedLeaderElection() bool { return false }

// Start keeps the certificates until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	for {
		wait := period
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("certificates are not up to date", "error", err)
			wait = retryPeriod
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// look brings the authority and every certificate up to date.
func (k *Keeper) look(ctx context.Context) error {
	a, err := k.authority(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range k.Certificates {
		errs = append(errs, k.keep(ctx, c, a))
	}
	err = errors.Join(errs...)
	k.settled = err == nil
	return err
}

// authority reads the authority from its Secret, and does the next step of its replacement if that is due.
func (k *Keeper) authority(ctx context.Context) (a *authority, err error) {
	err = k.change(ctx, k.Authority, func(secret *corev1.Secret) (changed bool, err error) {
		a = readAuthority(secret.Data)
		_, asked := secret.Annotations[AnnotationRotate]
		changed, err = a.advance(k.now(), k.Overlap, asked)
		if err != nil {
			return false, err
		}
		if k.settled && a.retire(k.now(), k.Overlap) {
			changed = true
		}
		if !changed {
			return false, nil
		}
		if a.next != nil && asked {
			delete(secret.Annotations, AnnotationRotate)
		}
		k.Log.Info("authority changes", "secret", k.Authority, "next", a.next != nil, "former", len(a.former))
		secret.Data, err = a.data()
		return true, err
	})
	if err != nil {
		return nil, err
	}
	tellExpiry(k.Authority, a.current.cert.NotAfter)
	return a, nil
}

// keep renews a certificate if that is due, and calls its Use.
func (k *Keeper) keep(ctx context.Context, c Certificate, a *authority) error {
	renew := k.stored
	if c.Secret == "" {
		renew = k.unstored
	}
	issued, err := renew(ctx, c, a)
	if err != nil {
		return err
	}
	tellExpiry(cmp.Or(c.Secret, "own"), issued.expiry())
	if c.Use == nil {
		return nil
	}
	return c.Use(ctx, issued)
}

// unstored renews a certificate that is in no Secret.
func (k *Keeper) unstored(_ context.Context, c Certificate, a *authority) (Issued, error) {
	issued, err := k.own[c.Common].renewed(c.Name, a, k.now())
	if err != nil {
		return Issued{}, err
	}
	k.own[c.Common] = issued
	return issued, nil
}

// stored brings a certificate's Secret up to date, and returns the certificate.
func (k *Keeper) stored(ctx context.Context, c Certificate, a *authority) (issued Issued, err error) {
	err = k.change(ctx, c.Secret, func(secret *corev1.Secret) (bool, error) {
		have := Issued{Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey],
			Trusted: secret.Data[keyTrusted]}
		issued, err = have.renewed(c.Name, a, k.now())
		if err != nil {
			return false, err
		}
		secret.Data = map[string][]byte{
			corev1.TLSCertKey: issued.Cert, corev1.TLSPrivateKeyKey: issued.Key, keyTrusted: issued.Trusted}
		return !bytes.Equal(issued.Cert, have.Cert) || !bytes.Equal(issued.Trusted, have.Trusted), nil
	})
	return issued, err
}

// change reads a Secret, and writes it if the function has changed it. The function is called again after a conflict
// with another writer.
func (k *Keeper) change(ctx context.Context, name string, change func(*corev1.Secret) (bool, error)) error {
	key := types.NamespacedName{Namespace: k.Namespace, Name: name}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret := &corev1.Secret{}
		if err := k.Client.Get(ctx, key, secret); err != nil {
			return fmt.Errorf("read Secret %s, which the chart makes: %w", key, err)
		}
		changed, err := change(secret)
		if err != nil {
			return fmt.Errorf("renew Secret %s: %w", key, err)
		}
		if !changed {
			return nil
		}
		if err := k.Client.Update(ctx, secret); err != nil {
			return fmt.Errorf("write Secret %s: %w", key, err)
		}
		k.Log.Info("renewed certificates", "secret", name)
		return nil
	})
}
