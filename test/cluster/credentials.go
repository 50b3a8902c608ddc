package cluster

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// apiPort is where the API server listens on the first node.
const apiPort = 6443

// apiEndpoint is the URL of the API server, by the first node's first address.
func (p Plan) apiEndpoint() string {
	return "https://" + netip.AddrPortFrom(p.Nodes[0].Addrs[0].Addr(), apiPort).String()
}

// issueCredentials makes every component's certificate and kubeconfig. Those of
// the control plane land in the first node's /etc/kubernetes, those of a node in its own; the
// administrator's kubeconfig in the state directory.
func issueCredentials(r record, p Plan) error {
	pki := filepath.Join(r.State, "pki")
	ca, err := openAuthority(pki, "ca")
	if err != nil {
		return err
	}
	frontProxy, err := openAuthority(filepath.Join(pki, "front-proxy"), "ca")
	if err != nil {
		return err
	}
	etcd, err := openAuthority(filepath.Join(pki, "etcd"), "ca")
	if err != nil {
		return err
	}
	if err := openKeyPair(pki, "service-accounts"); err != nil {
		return err
	}
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	apiAddrs := slices.Concat(addrsOf(p.Nodes[0].Addrs), p.API, loopback)
	apiNames := []string{"localhost", p.Nodes[0].Name, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"}
	issues := []struct {
		by *authority
		id identity
	}{
		{ca, identity{File: "admin", User: "admin", Groups: []string{"system:masters"}}},
		{ca, identity{File: "apiserver", User: "kube-apiserver", Names: apiNames, Addrs: apiAddrs}},
		{ca, identity{File: "apiserver-kubelet-client", User: "kube-apiserver-kubelet-client"}},
		{ca, identity{File: "controller-manager", User: "system:kube-controller-manager", Names: []string{"localhost"},
			Addrs: loopback}},
		{ca, identity{File: "scheduler", User: "system:kube-scheduler", Names: []string{"localhost"}, Addrs: loopback}},
		{ca, identity{File: "kube-proxy", User: "system:kube-proxy"}},
		{frontProxy, identity{File: "client", User: "front-proxy-client"}},
		{etcd, identity{File: "server", User: "etcd", Names: []string{"localhost"}, Addrs: loopback}},
		{etcd, identity{File: "client", User: "kube-apiserver-etcd-client"}},
	}
	for _, n := range p.Nodes {
		issues = append(issues, struct {
			by *authority
			id identity
		}{ca, identity{
			File:   "kubelet-" + n.Name,
			User:   "system:node:" + n.Name,
			Groups: []string{"system:nodes"},
			Names:  []string{n.Name},
			Addrs:  addrsOf(n.Addrs),
		}})
	}
	for _, i := range issues {
		if err := i.by.issue(i.id); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(r.State, "kubeconfig"), kubeconfig(p.apiEndpoint(), pki, "admin"), 0o600)
}

// kubeconfig renders access by the certificate FILE in the directory pki.
func kubeconfig(endpoint, pki, file string) []byte {
	return []byte(strings.NewReplacer("ENDPOINT", endpoint, "PKI", pki, "FILE", file).Replace(`apiVersion: v1
kind: Config
clusters:
- name: maneki
  cluster:
    server: ENDPOINT
    certificate-authority: PKI/ca.crt
users:
- name: FILE
  user:
    client-certificate: PKI/FILE.crt
    client-key: PKI/FILE.key
contexts:
- name: maneki
  context: {cluster: maneki, user: FILE}
current-context: maneki
`))
}

// nodeFiles are the files that a node finds in /etc/kubernetes: of the
// authority's directory only what its own components need.
func nodeFiles(n NodePlan, controlPlane bool) []string {
	files := []string{"ca.crt", "kube-proxy.crt", "kube-proxy.key"}
	for _, ext := range []string{".crt", ".key"} {
		files = append(files, fmt.Sprintf("kubelet-%s%s", n.Name, ext))
	}
	if controlPlane {
		files = append(files, "ca.key", "front-proxy/ca.crt", "etcd/ca.crt", "service-accounts.key",
			"service-accounts.pub")
		for _, name := range []string{"apiserver", "apiserver-kubelet-client", "controller-manager", "scheduler",
			"front-proxy/client", "etcd/server", "etcd/client"} {
			files = append(files, name+".crt", name+".key")
		}
	}
	return files
}
