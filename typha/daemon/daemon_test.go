package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
)

var required = []string{"TYPHA_CAFILE=/certs/ca.crt", "TYPHA_SERVERCERTFILE=/certs/tls.crt",
	"TYPHA_SERVERKEYFILE=/certs/tls.key"}

func TestConfigComesFromDefaultsEnvironmentAndFlags(t *testing.T) {
	environ := append([]string{"TYPHA_HEALTHPORT=1", "TYPHA_CONNECTIONREBALANCINGMODE=Kubernetes",
		"TYPHA_CONNECTIONDROPINTERVALSECS=0.5", "TYPHA_CLIENTCN=felix", "typha_healthenabled=true",
		"TYPHA_SOMETHINGELSE=x", "PATH=/bin"}, required...)
	got, err := ParseConfig(environ, []string{"-healthport", "2"})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Unknown:       []string{"TYPHA_SOMETHINGELSE"},
		DatastoreType: "kubernetes", ServerPort: 5473, ClientIdentity: "Token", ClientCN: "felix",
		CAFile: "/certs/ca.crt", ServerCertFile: "/certs/tls.crt", ServerKeyFile: "/certs/tls.key",
		HealthEnabled: true, HealthHost: "localhost", HealthPort: 2, PrometheusMetricsPort: 9093,
		LogSeverityScreen:      "Info",
		ServerHandshakeTimeout: 10 * time.Second, ServerPingInterval: 10 * time.Second,
		ServerMaxFallBehind: 300 * time.Second, ServerNewClientFallBehindGracePeriod: 300 * time.Second,
		ConnectionRebalancingMode: "kubernetes", ConnectionDropInterval: 500 * time.Millisecond,
		MaxConnectionsUpperLimit: 10000, MaxConnectionsLowerLimit: 400, K8sServicePollInterval: 30 * time.Second,
		K8sNamespace: "kube-system", K8sServiceName: "calico-typha", K8sPortName: "calico-typha",
		ShutdownTimeout: 300 * time.Second, ShutdownConnectionDropIntervalMax: time.Second,
		Budget: compile.DefaultBudget(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEtcdComesFromCalicosVariables(t *testing.T) {
	environ := append([]string{"DATASTORE_TYPE=etcdv3", "ETCD_ENDPOINTS=https://a:2379", "ETCD_PASSWORD=secret",
		"ETCD_USERNAME=u",
		"ETCD_CA_CERT_FILE=/etcd/ca.crt", "TYPHA_ETCDCAFILE=/typha/ca.crt"}, required...)
	got, err := ParseConfig(environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := etcd.Config{Endpoints: "https://a:2379", Username: "u", Password: "secret", CAFile: "/typha/ca.crt"}
	if got.DatastoreType != "etcdv3" || got.ClientIdentity != IdentityCertificate || got.Etcd != want {
		t.Errorf("got %+v", got)
	}
	_, err = ParseConfig(append(environ, "TYPHA_CLIENTIDENTITY=Token"), nil)
	if err == nil || !strings.Contains(err.Error(), "ClientIdentity") {
		t.Errorf("tokens without Kubernetes give %v", err)
	}
	if err := Run(t.Context(), Config{DatastoreType: "etcdv3"}, nil); err == nil ||
		!strings.Contains(err.Error(), "ETCD_ENDPOINTS") {
		t.Errorf("no endpoint gives %v", err)
	}
}

func TestBadConfigIsNamed(t *testing.T) {
	for environ, want := range map[string]string{
		"TYPHA_HEALTHPORT=x":                   "TYPHA_HEALTHPORT",
		"TYPHA_HEALTHPORT=70000":               "HealthPort: 70000",
		"TYPHA_DATASTORETYPE=consul":           "DatastoreType",
		"TYPHA_CLIENTIDENTITY=None":            "ClientIdentity",
		"TYPHA_LOGSEVERITYSCREEN=Loud":         "LogSeverityScreen",
		"TYPHA_CONNECTIONREBALANCINGMODE=even": "ConnectionRebalancingMode",
		"TYPHA_MAXCONNECTIONSLOWERLIMIT=0":     "MaxConnectionsLowerLimit",
		"TYPHA_SHUTDOWNTIMEOUTSECS=5m":         "TYPHA_SHUTDOWNTIMEOUTSECS",
		"TYPHA_CAFILE=":                        "CAFile",
		"TYPHA_PROMETHEUSMETRICSENABLED=maybe": "TYPHA_PROMETHEUSMETRICSENABLED",
	} {
		if _, err := ParseConfig(append(required, environ), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want an error that names %s", environ, err, want)
		}
	}
}

func TestSubjects(t *testing.T) {
	node, observer := "system:serviceaccount:kube-system:calico-node",
		"system:serviceaccount:kube-system:calico-kube-controllers"
	listed := []string{"system:serviceaccount:a:b", "system:serviceaccount:c:d"}
	for _, c := range []struct {
		nodes, observers, own string
		want                  [2][]string
	}{
		{"", "", "", [2][]string{}},
		{"", "", "kube-system", [2][]string{{node}, {observer}}},
		{"a:b, c:d", "", "kube-system", [2][]string{listed, {observer}}},
		{"", "a:b, c:d", "kube-system", [2][]string{{node}, listed}},
	} {
		nodes, observers, err := (&Config{ClientServiceAccounts: c.nodes,
			ObserverServiceAccounts: c.observers}).subjects(c.own)
		if got := [2][]string{nodes, observers}; err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%q and %q in %q give %v, %v", c.nodes, c.observers, c.own, got, err)
		}
	}
	for name, bad := range map[string]Config{"ClientServiceAccounts": {ClientServiceAccounts: "calico-node"},
		"ObserverServiceAccounts": {ObserverServiceAccounts: ":calico-kube-controllers"}} {
		if _, _, err := bad.subjects("ns"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("an account without namespace gives %v, want an error that names %s", err, name)
		}
	}
}

func TestKeysAreFetchedFromTheAPIServer(t *testing.T) {
	status := http.StatusForbidden
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/openid/v1/jwks" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{}})
	}))
	defer server.Close()
	tokens, err := tokens(Config{}, &rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a refused request gives %v", err)
	}
	status = http.StatusOK
	if body, err := tokens.Fetch(t.Context()); err != nil || !strings.Contains(string(body), "keys") {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestHealth(t *testing.T) {
	h := hub.New(hub.Options{Kinds: []string{"Pod"}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	draining := false
	get := func(path string) int {
		w := httptest.NewRecorder()
		health(h, sync.NewView(nil), func() bool { return draining }).ServeHTTP(w,
			httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w.Code
	}
	if live, ready := get("/liveness"), get("/readiness"); live != http.StatusOK ||
		ready != http.StatusServiceUnavailable {
		t.Errorf("before the lists: %d, %d", live, ready)
	}
	if err := h.Update(t.Context(), hub.Update{Kind: "Pod", Listed: true}); err != nil {
		t.Fatal(err)
	}
	<-h.InSync()
	if ready := get("/readiness"); ready != http.StatusOK {
		t.Errorf("in sync: %d", ready)
	}
	draining = true
	if live, ready := get("/liveness"), get("/readiness"); live != http.StatusOK ||
		ready != http.StatusServiceUnavailable {
		t.Errorf("while nodes are handed over: %d, %d", live, ready)
	}
	cancel()
	<-ended
	if live := get("/liveness"); live != http.StatusServiceUnavailable {
		t.Errorf("after the hub ended: %d", live)
	}
}

func TestMissingFilesAreNamedAtStart(t *testing.T) {
	cfg := Config{ClientIdentity: IdentityCertificate, Kubeconfig: filepath.Join(t.TempDir(), "missing")}
	if err := Run(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), cfg.Kubeconfig) {
		t.Errorf("got %v, want an error that names the kubeconfig", err)
	}
}
