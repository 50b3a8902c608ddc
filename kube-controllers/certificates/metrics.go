package certificates

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var expiration = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "kube_controllers_certificate_expiration_timestamp_seconds",
	Help: "When a certificate ends, as a Unix time, by its Secret; own is that of the program itself.",
}, []string{"certificate"})

func init() { metrics.Registry.MustRegister(expiration) }

func tellExpiry(certificate string, end time.Time) {
	expiration.WithLabelValues(certificate).Set(float64(end.Unix()))
}
