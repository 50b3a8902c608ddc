package daemon

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestServiceAddresses(t *testing.T) {
	const body = `{"items":[
		{"ports":[{"name":"metrics","port":9093},{"name":"calico-typha","port":5473}],
		 "endpoints":[{"addresses":["172.30.0.12"],"conditions":{"ready":true}},{"addresses":["172.30.0.13"],"conditions":{"ready":false}}]},
		{"ports":[{"name":"","port":5473}],"endpoints":[{"addresses":["fd00::1"],"conditions":{}}]}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices" {
			http.NotFound(w, r)
			return
		}
		if r.URL.Query().Get("labelSelector") == "kubernetes.io/service-name=calico-typha" {
			_, _ = w.Write([]byte(body))
			return
		}
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	defer server.Close()
	addresses := func(namespace, name string) (*service, []string, error) {
		s := &service{client: server.Client(), host: server.URL, namespace: namespace, name: name}
		found, err := s.addresses(t.Context())
		return s, found, err
	}
	known, got, err := addresses("kube-system", "calico-typha")
	if want := []string{"172.30.0.12:5473", "[fd00::1]:5473"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("addresses %q, %v, want %q", got, err, want)
	}
	if _, _, err := addresses("kube-system", "other"); !errors.Is(err, errNoEndpoint) {
		t.Errorf("a Service without endpoints: %v", err)
	}
	if _, _, err := addresses("missing", "calico-typha"); err == nil {
		t.Error("an answer 404 is no error")
	}
	server.Close()
	if again, err := known.addresses(t.Context()); err != nil || !slices.Equal(again, got) {
		t.Errorf("addresses %q, %v without the API server, want those known, %q", again, err, got)
	}
	known.last = nil
	if _, err := known.addresses(t.Context()); err == nil {
		t.Error("no error without the API server and without an earlier answer")
	}
}
