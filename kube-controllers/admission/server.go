// Package admission refuses projectcalico.org/v3 resources that cannot be used, with a message that says what to write
// instead, and completes policies. It refuses no policy of Kubernetes' own kinds, but warns about those that are too
// large for Typha.
//
// It owns the server of three kinds of webhooks, and the caBundles of the ValidatingWebhookConfiguration and the
// MutatingWebhookConfiguration. The rest of these belongs to the installation. Its certificate comes from
// kube-controllers/certificates. Package api/validate decides what is valid, and api/defaults completes what is
// missing. This package only calls them, with the present state of the other pools and of a tier's policies from the
// API server.
//
// Server runs on every replica, without leader election. It validates on the HTTP server's goroutines. Anybody may
// reach the port, so connections, concurrent requests and reads of the API are limited. API servers do not send objects
// that they can validate themselves (the chart's webhook.yaml).
package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/maneki-net/maneki/kube-controllers/certificates"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/inbound"
)

// Options configure the webhook.
type Options struct {
	// Client reads and writes the API directly, without a cache.
	Client client.Client
	// Cache has the tiers; it may lack new ones.
	Cache client.Reader
	// Scheme knows the types of projectcalico.org/v3, NetworkPolicy and ClusterNetworkPolicy.
	Scheme *runtime.Scheme
	// Configuration is the name of the ValidatingWebhookConfiguration and of the MutatingWebhookConfiguration. Both
	// exist; the Server writes their caBundles.
	Configuration string
	// Port is where the server listens, on all addresses.
	Port int
	// Budget is Typha's budget for policies. Larger ones cause a warning.
	Budget compile.Budget
	Log    *slog.Logger
}

// Server serves the webhook. Make it with New, and give it to a manager, which calls Start.
type Server struct {
	options   Options
	serving   atomic.Pointer[tls.Certificate]
	published atomic.Bool
}

// New makes a Server. It does no I/O.
func New(options Options) *Server { return &Server{options: options} }

// NeedLeaderElection is false: every replica answers.
func (s *Server) NeedLeaderElection() bool { return false }

// Ready is a readiness check: API servers call the webhook, and it has its certificate.
func (s *Server) Ready(*http.Request) error {
	if !s.published.Load() {
		return errors.New("the webhook is not published yet")
	}
	return nil
}

// Limits for requests of API servers and of strangers. A review has an object twice, of 3 MiB at most.
const (
	maxReview  = 7 << 20
	maxJudged  = 16 // at a time, in all
	maxOfOne   = 6  // of one address
	reviewTime = 4 * time.Second
)

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	server, err := s.server()
	if err != nil {
		return err
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", fmt.Sprint(":", s.options.Port))
	if err != nil {
		return fmt.Errorf("serve the webhooks: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err = server.ServeTLS(inbound.Limit(listener, inbound.OfHTTP, nil), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the webhooks: %w", err)
}

// server returns the server of the webhooks, with its limits.
func (s *Server) server() (*http.Server, error) {
	handler := newHandler(s.options.Client, s.options.Cache, s.options.Scheme)
	handler.budget = s.options.Budget
	mux := http.NewServeMux()
	for path, hook := range map[string]admission.Handler{
		validatingPath: handler, mutatingPath: defaulter{handler}, warningPath: warner{handler}} {
		served, err := admission.StandaloneWebhook(
			&admission.Webhook{Handler: hook}, admission.StandaloneOptions{MetricsPath: path})
		if err != nil {
			return nil, fmt.Errorf("serve %s: %w", path, err)
		}
		mux.Handle(path, served)
	}
	server := inbound.HTTP(inbound.Concurrently(mux, maxJudged, maxOfOne, reviewTime), maxReview)
	server.ReadTimeout = reviewTime // a slow sender keeps others waiting
	server.ErrorLog = slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug)
	server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, GetCertificate: s.certificate}
	return server, nil
}

func (s *Server) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := s.serving.Load(); cert != nil {
		return cert, nil
	}
	return nil, errors.New("there is no certificate yet")
}

// Use makes API servers trust the authorities of a certificate, and serves with it. One goroutine may call it.
func (s *Server) Use(ctx context.Context, issued certificates.Issued) error {
	serving, err := tls.X509KeyPair(issued.Cert, issued.Key)
	if err != nil {
		return fmt.Errorf("use the webhook's certificate: %w", err)
	}
	s.serving.CompareAndSwap(nil, &serving)
	if err := s.publish(ctx, issued.Trusted); err != nil {
		return err
	}
	s.serving.Store(&serving)
	s.published.Store(true)
	return nil
}
