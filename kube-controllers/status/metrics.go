package status

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	nodesByState = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kube_controllers_nodes",
		Help: "Nodes that Felix runs on, by the reason that their condition has, or is about to have."},
		[]string{"state"})
	unusableByKind = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kube_controllers_unusable_resources",
		Help: "Resources that cannot be used, in whole or in part."}, []string{"kind"})
)

func init() { metrics.Registry.MustRegister(nodesByState, unusableByKind) }

// measure sets the gauge of resources.
func measure(p *picture) {
	unusableByKind.Reset()
	for kind, n := range p.unusable() {
		unusableByKind.WithLabelValues(kind).Set(float64(n))
	}
}
