// Package certificates makes the certificates by which the parts of an installation know each other, renews them, and
// replaces their authority.
//
// It owns the data of Secrets, which the installation makes empty, so that the program need not create any: that of
// the authority with its keys, which no pod mounts, and one for each certificate, which the pods of one component
// mount. It makes no object and changes nothing else of one. How a certificate is presented and judged is up to
// typha/stream and to API servers.
//
// # Replacing the authority
//
// A Secret reaches the pods that mount it a minute or two after it was written, and a node that is cut off later. So
// nothing is presented before everybody trusts it, and nothing is distrusted while somebody may present it:
//
//  1. The next authority is made. Everybody gets it as one to trust, besides the present one.
//  2. After the overlap it signs: every certificate is made anew.
//  3. After the overlap again the former one is not trusted any more.
//
// This happens when the authority would not outlive what it signs, and when its Secret has the annotation
// AnnotationRotate. The step follows from the Secret alone, so that any replica can go on, and a crash loses nothing.
// An authority whose data is deleted is replaced at once, and no longer trusted: that is for a key that was stolen.
//
// A Keeper runs on every replica, without leader election, in one goroutine: writes that collide are repeated. It
// calls the uses of certificates from there. They are made with crypto/x509 alone: no library that we link replaces an
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

// AnnotationRotate on the authority's Secret, with any value, asks for another authority. It is removed when that is
// made.
const AnnotationRotate = "maneki.net/rotate"

// How often everything is looked at, and how soon again after a failure.
const (
	period      = 30 * time.Second
	retryPeriod = 2 * time.Second
)

// MinOverlap is the shortest overlap: what kubelets need to bring a Secret to the pods, and what is between two looks.
const MinOverlap = 3 * time.Minute

// Certificate is one to keep.
type Certificate struct {
	Name
	// Secret is where it is, for the pods that mount it. Empty: it lives in memory, and each Keeper has another one.
	Secret string
	// Use is told of it at each look, also of one that is the same. May be nil.
	Use func(context.Context, Issued) error
}

// Options configure a Keeper.
type Options struct {
	// Client reads and writes the API directly, without a cache.
	Client client.Client
	// Namespace is where the Secrets are.
	Namespace string
	// Authority is the name of its Secret.
	Authority string
	// Overlap is how long an authority is trusted before and after it signs; MinOverlap at least.
	Overlap time.Duration
	// Certificates are kept. Those in memory have a common name each.
	Certificates []Certificate
	Log          *slog.Logger
}

// Keeper keeps the certificates. Make it with New, and give it to a manager, which calls Start.
type Keeper struct {
	Options
	now     func() time.Time
	own     map[string]Issued // those in memory, by common name
	settled bool              // every certificate was good at the last look
}

// New makes a Keeper. It does no I/O.
func New(options Options) *Keeper {
	return &Keeper{Options: options, now: time.Now, own: map[string]Issued{}}
}

// NeedLeaderElection is false: an installation must not wait for a lease, and every replica presents certificates.
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

// look brings the authority and every certificate to what they should be.
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

// authority reads it from its Secret, and takes it a step on.
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
		if a.next != nil && asked {
			delete(secret.Annotations, AnnotationRotate)
		}
		if !changed {
			return false, nil
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

// keep renews a certificate if that is due, and hands it to its use.
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

// stored brings a certificate's Secret up to date, and gives what is in it.
func (k *Keeper) stored(ctx context.Context, c Certificate, a *authority) (issued Issued, err error) {
	err = k.change(ctx, c.Secret, func(secret *corev1.Secret) (bool, error) {
		have := Issued{Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey],
			Trusted: secret.Data[keyTrusted]}
		if issued, err = have.renewed(c.Name, a, k.now()); err != nil {
			return false, err
		}
		secret.Data = map[string][]byte{
			corev1.TLSCertKey: issued.Cert, corev1.TLSPrivateKeyKey: issued.Key, keyTrusted: issued.Trusted}
		return !bytes.Equal(issued.Cert, have.Cert) || !bytes.Equal(issued.Trusted, have.Trusted), nil
	})
	return issued, err
}

// change reads a Secret and writes it if the function has changed it. The function is called again if somebody else
// was faster.
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
