package calicoctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
)

func settingsFile(t *testing.T, spec string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calicoctl.cfg")
	text := "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n" + spec
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConnection(t *testing.T) {
	kubernetes := settingsFile(t, "  datastoreType: kubernetes\n  kubeconfig: /from/file\n  usePodCIDR: false\n")
	inEtcd := settingsFile(t, "  datastoreType: etcdv3\n  etcdEndpoints: https://file:2379\n  etcdCACert: PEM\n  "+
		"etcdUsername: file\n")
	untyped := settingsFile(t, "  etcdEndpoints: https://file:2379\n")
	for _, test := range []struct {
		name, flags string
		env         map[string]string
		want        Connection
	}{
		{"nothing", "-c " + settingsFile(t, "  {}\n"), nil, Connection{Type: connect.Kubernetes}},
		{"file", "-c " + kubernetes, nil, Connection{Type: connect.Kubernetes, Kubeconfig: "/from/file"}},
		{"environment before file", "-c " + kubernetes, map[string]string{"KUBECONFIG": "/a:/b"},
			Connection{Type: connect.Kubernetes, Kubeconfig: "/a:/b"}},
		{"Calico's variable before the common one", "-c " + kubernetes,
			map[string]string{"KUBECONFIG": "/a", "CALICO_KUBECONFIG": "/b"},
			Connection{Type: connect.Kubernetes, Kubeconfig: "/b"}},
		{"flag before all", "--kubeconfig /from/flag -c " + kubernetes,
			map[string]string{"KUBECONFIG": "/a", "CALICO_KUBECONFIG": "/b"},
			Connection{Type: connect.Kubernetes, Kubeconfig: "/from/flag"}},
		{"etcd from everywhere", "--etcd-username flag -c " + inEtcd,
			map[string]string{"ETCD_PASSWORD": "env", "ETCD_USERNAME": "env", "KUBECONFIG": "/a"},
			Connection{Type: connect.Etcd, Kubeconfig: "/a",
				Etcd: etcd.Config{Endpoints: "https://file:2379", CA: "PEM", Username: "flag", Password: "env"}}},
		{"type from a variable", "-c " + inEtcd, map[string]string{"CALICO_DATASTORE_TYPE": "kubernetes",
			"DATASTORE_TYPE": "etcdv3"},
			Connection{Type: connect.Kubernetes, Etcd: etcd.Config{Endpoints: "https://file:2379", CA: "PEM",
				Username: "file"}}},
		{"type from endpoints", "", map[string]string{"ETCD_ENDPOINTS": "https://e:2379"},
			Connection{Type: connect.Etcd, Etcd: etcd.Config{Endpoints: "https://e:2379"}}},
		{"the nearest implies the type", "--kubeconfig /from/flag -c " + untyped, nil,
			Connection{Type: connect.Kubernetes, Kubeconfig: "/from/flag",
				Etcd: etcd.Config{Endpoints: "https://file:2379"}}},
		{"the nearest way to find etcd", "-c " + untyped, map[string]string{"ETCD_DISCOVERY_SRV": "example.org"},
			Connection{Type: connect.Etcd, Etcd: etcd.Config{DiscoverySRV: "example.org"}}},
		{"the nearest way to Kubernetes", "-c " + settingsFile(t, "  kubeconfigInline: x\n  k8sAPIEndpoint: y\n"),
			map[string]string{"KUBECONFIG": "/a"},
			Connection{Type: connect.Kubernetes, Kubeconfig: "/a"}},
		{"the nearest certificate",
			"-c " + settingsFile(t, "  etcdEndpoints: https://e:1\n  etcdCert: x\n  etcdKey: y\n"),
			map[string]string{"ETCD_CERT_FILE": "/cert", "ETCD_KEY_FILE": "/key"},
			Connection{Type: connect.Etcd, Etcd: etcd.Config{Endpoints: "https://e:1", CertFile: "/cert",
				KeyFile: "/key"}}},
		{"context", "--context other -c " + kubernetes, map[string]string{"K8S_CURRENT_CONTEXT": "env"},
			Connection{Type: connect.Kubernetes, Kubeconfig: "/from/file", Context: "other"}},
		{"an endpoint of Kubernetes", "--k8s-ca-file /ca", map[string]string{"K8S_API_ENDPOINT": "https://k",
			"K8S_API_TOKEN": "t"},
			Connection{Type: connect.Kubernetes, K8sEndpoint: "https://k", K8sToken: "t", K8sCAFile: "/ca"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.env = test.env
			b.want("get ippools -o name "+test.flags, "", "")
			if diff := cmp.Diff(test.want, b.connection, cmpopts.IgnoreUnexported(Connection{}),
				cmpopts.IgnoreFields(Connection{}, "Warnings")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadConnectionSettings(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("kind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ flags, want string }{
		{"--datastore-type consul",
			`--datastore-type, or spec.datastoreType in /etc/calico/calicoctl.cfg: datastore type "consul" is not known (DATASTORE_TYPE): use kubernetes or etcdv3`},
		{"-c /nonexistent", "read connection settings: open /nonexistent"},
		{"-c " + settingsFile(t, "  etcdEndpoint: a\n"),
			"spec.etcdEndpoint: unknown field; did you mean etcdEndpoints?"},
		{"-c " + other, "must be apiVersion: projectcalico.org/v3, kind: CalicoAPIConfig"},
		{"-c " + settingsFile(t, "  datastoreType: kubernetes\n  datastoreType: etcdv3\n"), "datastoreType"},
		{"--etcd-password x", "unknown flag: --etcd-password"},
	} {
		newBench(t).refused("get ippools "+test.flags, "", test.want)
	}
}

func TestRESTSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- {name: a, cluster: {server: " +
		"https://a}}\n- {name: b, cluster: {server: https://b}}\n" +
		"contexts:\n- {name: a, context: {cluster: a}}\n- {name: b, context: {cluster: b}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		connection Connection
		want       string
	}{
		{Connection{Kubeconfig: file}, "https://a"},
		{Connection{Kubeconfig: file, Context: "b"}, "https://b"},
		{Connection{Kubeconfig: "/nonexistent:" + file}, "https://a"},
		{Connection{KubeconfigInline: text, Context: "b"}, "https://b"},
		{Connection{K8sEndpoint: "https://k"}, "https://k"},
	} {
		config, err := test.connection.REST()
		if err != nil || config.Host != test.want {
			t.Errorf("%+v: %+v, %v", test.connection, config, err)
		}
	}
	if _, err := (Connection{Kubeconfig: "/nonexistent"}).REST(); err == nil ||
		!strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("a kubeconfig that is not there: %v", err)
	}
}
