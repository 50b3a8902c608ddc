package auth

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/certfile"
)

// expiry is the metric of when the certificates of a TLS expire. Any goroutine may collect it.
type expiry struct {
	desc        *prometheus.Desc
	tls         TLS
	pair        *certfile.Pair
	authorities *certfile.Authorities
}

// NewExpiry returns the metric <program>_certificate_expiration_timestamp_seconds for the files of a TLS. A file that
// was never usable has no sample.
func NewExpiry(program string, t TLS) prometheus.Collector {
	return &expiry{
		desc: prometheus.NewDesc(program+"_certificate_expiration_timestamp_seconds",
			"When the certificate in a file ends, as a Unix time; of several, when the last of them does.",
			[]string{"file"}, nil),
		tls:         t,
		pair:        certfile.NewPair(t.CertFile, t.KeyFile),
		authorities: certfile.NewAuthorities(t.CAFile),
	}
}

// Describe implements prometheus.Collector.
func (e *expiry) Describe(descs chan<- *prometheus.Desc) { descs <- e.desc }

// Collect implements prometheus.Collector.
func (e *expiry) Collect(metrics chan<- prometheus.Metric) {
	send := func(file string, end time.Time) {
		metrics <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(end.Unix()), file)
	}
	if own, err := e.pair.Certificate(); err == nil {
		send(e.tls.CertFile, own.Leaf.NotAfter)
	}
	trusted, err := e.authorities.Certificates()
	if err != nil {
		return
	}
	var last time.Time
	for _, cert := range trusted {
		if cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	send(e.tls.CAFile, last)
}
