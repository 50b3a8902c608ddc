// Package apiserver runs a kube-apiserver with an etcd on loopback, our CRDs installed,
// for tests of what only the real server can judge: stored objects, watches, validation.
//
// There is no node, controller or scheduler: test/cluster has those. It owns the processes
// it starts and a temporary folder; both go when the test ends, also when it is killed. The programs are built by
// test/build. A Server may be used by any number of goroutines, but Restart by one at a time.
package apiserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/etcdserver"
	"github.com/maneki-net/maneki/test/process"
)

// token is the bearer token of the only user. The server listens on loopback alone.
const token = "test"

// Server is a running API server.
type Server struct {
	// Config is the client configuration of an administrator.
	Config *rest.Config
	// Kubeconfig is a file with the same.
	Kubeconfig string
	// Kubectl is the path of the kubectl of the server's version.
	Kubectl string

	dir       string
	apiserver string
	port      int
	database  *etcdserver.Cluster
	api       *process.Process
}

// Start builds what is needed, starts the servers and installs the CRDs; it fails the
// test if it cannot. All of it is gone when the test has ended.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start(t)
	if err != nil {
		t.Fatalf("start an API server: %v", err)
	}
	return s
}

func start(t testing.TB) (*Server, error) {
	builder, err := build.Here(os.Stderr)
	if err != nil {
		return nil, err
	}
	kubernetes, err := builder.Module(t.Context(), "kubernetes")
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kubectl:   filepath.Join(kubernetes, "kubectl"),
		dir:       t.TempDir(),
		apiserver: filepath.Join(kubernetes, "kube-apiserver"),
		port:      ports[0],
		database:  etcdserver.Start(t, etcdserver.Options{}),
	}
	if err := s.writeFiles(); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if s.api != nil {
			s.api.Kill()
		}
	})
	if err := s.run(t.Context()); err != nil {
		return nil, err
	}
	if err := s.installCRDs(t.Context()); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart ends the API server at once and starts it again: connections break, and it
// remembers no revision before now, so that older watches and lists are expired.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.api.Kill()
	if err := s.run(t.Context()); err != nil {
		t.Fatalf("restart the API server: %v", err)
	}
}

// Overwrite replaces what is stored of a cluster-scoped custom resource by any JSON, behind the API server's back.
func (s *Server) Overwrite(t testing.TB, group, plural, name, value string) {
	t.Helper()
	if _, err := s.database.Admin().Put(t.Context(), "/registry/"+group+"/"+plural+"/"+name, value); err != nil {
		t.Fatalf("overwrite %s %s: %v", plural, name, err)
	}
}

// Create creates an object, whose kind follows from the path of its collection, as JSON, and gives what deletes it.
func (s *Server) Create(t testing.TB, collection, object string) (remove func()) {
	t.Helper()
	var named struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(object), &named); err != nil {
		t.Fatalf("read an object of %s: %v", collection, err)
	}
	do := func(method, path, body string) {
		t.Helper()
		if err := s.request(t.Context(), method, path, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	do(http.MethodPost, collection, object)
	return func() { t.Helper(); do(http.MethodDelete, collection+"/"+named.Metadata.Name, "") }
}

// OfferClusterNetworkPolicies installs a CRD that takes any ClusterNetworkPolicy in some versions, v1alpha2 unless
// others are given, and gives what removes it.
func (s *Server) OfferClusterNetworkPolicies(t testing.TB, names ...string) (remove func()) {
	t.Helper()
	if len(names) == 0 {
		names = []string{"v1alpha2"}
	}
	var versions []string
	for i, name := range names {
		versions = append(versions, fmt.Sprintf(`{"name": %q, "served": true, "storage": %t,
			"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}`, name,
			i == 0))
	}
	return s.Create(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", fmt.Sprintf(`{
		"metadata": {"name": "clusternetworkpolicies.policy.networking.k8s.io",
			"annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
		"spec": {"group": "policy.networking.k8s.io", "scope": "Cluster",
			"names": {"plural": "clusternetworkpolicies", "singular": "clusternetworkpolicy",
				"kind": "ClusterNetworkPolicy", "listKind": "ClusterNetworkPolicyList"},
			"versions": [%s]}}`, strings.Join(versions, ", ")))
}

// run starts the API server and waits until it is ready.
func (s *Server) run(ctx context.Context) error {
	key := filepath.Join(s.dir, "service-accounts.key")
	var err error
	s.api, err = process.Launch(filepath.Join(s.dir, "kube-apiserver.log"), s.apiserver,
		"--etcd-servers="+s.database.Endpoint(0),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port),
		"--endpoint-reconciler-type=none",
		"--cert-dir="+s.dir,
		"--token-auth-file="+filepath.Join(s.dir, "tokens.csv"),
		"--authorization-mode=RBAC", "--allow-privileged",
		// Without controllers there are no service accounts that pods could be given.
		"--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key,
		"--service-cluster-ip-range=10.96.0.0/16")
	if err != nil {
		return err
	}
	return s.api.Until(ctx, "ready", func(ctx context.Context) error {
		return s.request(ctx, http.MethodGet, "/readyz", nil)
	})
}

func (s *Server) installCRDs(ctx context.Context) error {
	for _, m := range crds.All() {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(m.YAML, &crd); err != nil {
			return fmt.Errorf("read %s: %w", m.File, err)
		}
		body, err := yaml.YAMLToJSON(m.YAML)
		if err != nil {
			return fmt.Errorf("read %s: %w", m.File, err)
		}
		if err := s.request(ctx, http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
			body); err != nil {
			return fmt.Errorf("install %s: %w", m.File, err)
		}
		served := fmt.Sprintf("/apis/%s/%s/%s", crd.Spec.Group, crd.Spec.Versions[0].Name, crd.Spec.Names.Plural)
		if err := s.api.Until(ctx, crd.Name+" served", func(ctx context.Context) error {
			return s.request(ctx, http.MethodGet, served, nil)
		}); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles makes what the API server and its clients read.
func (s *Server) writeFiles() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key of service accounts: %w", err)
	}
	files := map[string][]byte{
		"service-accounts.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		"tokens.csv":           []byte(token + ",admin,admin,system:masters\n"),
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), body, 0o600); err != nil {
			return err
		}
	}
	s.Config = &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", s.port),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(s.dir, "apiserver.crt")},
		QPS:             -1,
	}
	s.Kubeconfig = filepath.Join(s.dir, "kubeconfig")
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"test": {Server: s.Config.Host,
			CertificateAuthority: s.Config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"admin": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "admin"}},
		CurrentContext: "test",
	}, s.Kubeconfig)
}

// request asks the API server for something whose answer does not matter, but for being one.
func (s *Server) request(ctx context.Context, method, path string, body []byte) error {
	// Made anew each time: the server writes its certificate when it starts first.
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, s.Config.Host+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return nil
}
