package daemon

import (
	"crypto/x509"
	"fmt"
	"log/slog"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/maneki-net/maneki/kube-controllers/admission"
	"github.com/maneki-net/maneki/kube-controllers/certificates"
)

// The common names of the certificates of Typha and its clients.
const (
	typhaName  = "typha-server"
	clientName = "typha-client"
)

// addCertificates adds the Keeper of the installation's certificates. hook is nil if this program serves no webhook.
func addCertificates(mgr ctrl.Manager, config Config, hook *admission.Server, log *slog.Logger) error {
	kept := config.certificates()
	if hook != nil {
		service := config.WebhookService + "." + config.PodNamespace
		kept = append(kept, certificates.Certificate{Secret: config.WebhookSecret, Use: hook.Use,
			Name: certificates.Name{
				Common: service + ".svc",
				DNS:    []string{service + ".svc", service, service + ".svc.cluster.local"},
				Usage:  x509.ExtKeyUsageServerAuth,
			}})
	}
	if len(kept) == 0 {
		return nil
	}
	direct, err := uncached(mgr)
	if err != nil {
		return err
	}
	keeper := certificates.New(certificates.Options{
		Client:       direct,
		Namespace:    config.PodNamespace,
		Authority:    config.Authority,
		Overlap:      config.AuthorityOverlap,
		Certificates: kept,
		Log:          log,
	})
	if err := mgr.Add(keeper); err != nil {
		return fmt.Errorf("set up the keeper of certificates: %w", err)
	}
	return nil
}

// certificates returns the certificates of Typha and its clients.
func (c *Config) certificates() (kept []certificates.Certificate) {
	client := certificates.Name{Common: clientName, Usage: x509.ExtKeyUsageClientAuth}
	if c.TyphaSecret != "" {
		kept = append(kept, certificates.Certificate{Secret: c.TyphaSecret,
			Name: certificates.Name{Common: typhaName, Usage: x509.ExtKeyUsageServerAuth}})
	}
	if c.NodeSecret != "" {
		kept = append(kept, certificates.Certificate{Secret: c.NodeSecret, Name: client})
	}
	if c.OwnCertificateDir != "" {
		kept = append(kept, certificates.Certificate{Name: client, Use: certificates.Files(c.OwnCertificateDir)})
	}
	return kept
}
