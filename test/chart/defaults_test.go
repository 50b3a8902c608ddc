package chart

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestDefaultConfigurations: the chart makes the FelixConfiguration and the BGPConfiguration default. It leaves one
// alone that a user had made before, and what users write into the others stays, whatever becomes of Helm's
// annotations.
func TestDefaultConfigurations(t *testing.T) {
	in := install(t, nil)
	release := in.helm(t)
	as := uint32(64999)
	in.create(t, &v3.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v3.BGPConfigurationSpec{ASNumber: &as}})
	felix := func() *v3.FelixConfiguration { return fetch(t, in, &v3.FelixConfiguration{}) }
	bgp := func() *v3.BGPConfiguration { return fetch(t, in, &v3.BGPConfiguration{}) }

	release("install")
	if spec := felix().Spec; spec.LogSeverityScreen != nil {
		t.Errorf("the FelixConfiguration asks for logSeverityScreen %s", *spec.LogSeverityScreen)
	}
	if got := bgp(); *got.Spec.ASNumber != as || got.Labels != nil {
		t.Errorf("the user's BGPConfiguration is %+v", got)
	}
	debug, changed := "Debug", felix()
	changed.Spec.LogSeverityScreen, changed.Annotations, changed.Labels = &debug, nil, nil // as kubectl replace does
	if err := in.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	release("upgrade", "typha.replicas=2")
	release("upgrade", "felixConfiguration.prometheusMetricsPort=9095")
	if spec := felix().Spec; *spec.LogSeverityScreen != debug || spec.PrometheusMetricsPort == nil ||
		*spec.PrometheusMetricsPort != 9095 {
		t.Errorf("after two upgrades: logSeverityScreen %v, prometheusMetricsPort %v", *spec.LogSeverityScreen,
			spec.PrometheusMetricsPort)
	}
	release("upgrade", "typha.replicas=2")
	if spec := felix().Spec; *spec.LogSeverityScreen != debug || spec.PrometheusMetricsPort != nil {
		t.Errorf("after the value went: logSeverityScreen %v, prometheusMetricsPort %v", *spec.LogSeverityScreen,
			spec.PrometheusMetricsPort)
	}
	if got := bgp(); *got.Spec.ASNumber != as {
		t.Errorf("after three upgrades the user's BGPConfiguration is %+v", got)
	}
	if err := in.Delete(t.Context(), bgp()); err != nil {
		t.Fatal(err)
	}
	release("upgrade", "typha.replicas=3")
	if got := bgp(); got.Spec.ASNumber != nil || got.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("the chart's BGPConfiguration is %+v", got)
	}
}

// fetch reads the object of a type that is named default.
func fetch[T client.Object](t *testing.T, in *installed, into T) T {
	t.Helper()
	if err := in.Get(t.Context(), client.ObjectKey{Name: "default"}, into); err != nil {
		t.Fatal(err)
	}
	return into
}
