package cluster

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/maneki-net/maneki/test/cluster/nodeinit"
)

// programs are the folders with what a cluster starts.
type programs struct {
	kubernetes, etcd, nodeinit string
}

// Paths within a node.
const (
	nodePKI        = "/etc/kubernetes/pki"
	containerdSock = "/run/containerd/containerd.sock"
)

// daemon is a process of a node whose arguments are written as flags.
func daemon(binary string, flags ...string) nodeinit.Process {
	name := filepath.Base(binary)
	return nodeinit.Process{
		Name: name,
		Argv: append([]string{binary}, flags...),
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Log:  "/var/log/" + name + ".log",
	}
}

func etcdProcess(p programs) nodeinit.Process {
	const client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
	return daemon(filepath.Join(p.etcd, "etcd"),
		"--data-dir=/var/lib/etcd",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
		"--client-cert-auth", "--trusted-ca-file="+nodePKI+"/etcd/ca.crt",
		"--cert-file="+nodePKI+"/etcd/server.crt", "--key-file="+nodePKI+"/etcd/server.key",
		"--peer-client-cert-auth", "--peer-trusted-ca-file="+nodePKI+"/etcd/ca.crt",
		"--peer-cert-file="+nodePKI+"/etcd/server.crt", "--peer-key-file="+nodePKI+"/etcd/server.key",
		"--unsafe-no-fsync", // the cluster does not outlive the machine
		"--log-level=warn",
	)
}

func apiServerProcess(p programs, plan Plan) nodeinit.Process {
	advertise := plan.Nodes[0].Addrs[0].Addr()
	return daemon(filepath.Join(p.kubernetes, "kube-apiserver"),
		"--advertise-address="+advertise.String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--allow-privileged",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+nodePKI+"/ca.crt",
		"--tls-cert-file="+nodePKI+"/apiserver.crt", "--tls-private-key-file="+nodePKI+"/apiserver.key",
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile="+nodePKI+"/etcd/ca.crt",
		"--etcd-certfile="+nodePKI+"/etcd/client.crt", "--etcd-keyfile="+nodePKI+"/etcd/client.key",
		"--kubelet-certificate-authority="+nodePKI+"/ca.crt",
		"--kubelet-client-certificate="+nodePKI+"/apiserver-kubelet-client.crt",
		"--kubelet-client-key="+nodePKI+"/apiserver-kubelet-client.key",
		// Exec and logs would resolve node names otherwise.
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+nodePKI+"/front-proxy/ca.crt",
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+nodePKI+"/front-proxy/client.crt",
		"--proxy-client-key-file="+nodePKI+"/front-proxy/client.key",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+nodePKI+"/service-accounts.pub",
		"--service-account-signing-key-file="+nodePKI+"/service-accounts.key",
		"--service-cluster-ip-range="+join(plan.ServiceCIDRs),
	)
}

func controllerManagerProcess(p programs, plan Plan) nodeinit.Process {
	return daemon(filepath.Join(p.kubernetes, "kube-controller-manager"),
		"--kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf",
		"--client-ca-file="+nodePKI+"/ca.crt",
		"--requestheader-client-ca-file="+nodePKI+"/front-proxy/ca.crt",
		"--tls-cert-file="+nodePKI+"/controller-manager.crt",
		"--tls-private-key-file="+nodePKI+"/controller-manager.key",
		"--bind-address=127.0.0.1",
		"--controllers=*",
		"--use-service-account-credentials",
		"--root-ca-file="+nodePKI+"/ca.crt",
		"--service-account-private-key-file="+nodePKI+"/service-accounts.key",
		"--cluster-signing-cert-file="+nodePKI+"/ca.crt", "--cluster-signing-key-file="+nodePKI+"/ca.key",
		// Node CIDRs are the plan's or the tested network's business.
		"--allocate-node-cidrs=false",
		"--cluster-cidr="+join(plan.PodCIDRs),
		"--leader-elect=false",
	)
}

func schedulerProcess(p programs) nodeinit.Process {
	return daemon(filepath.Join(p.kubernetes, "kube-scheduler"),
		"--kubeconfig=/etc/kubernetes/scheduler.conf",
		"--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
		"--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
		"--client-ca-file="+nodePKI+"/ca.crt",
		"--requestheader-client-ca-file="+nodePKI+"/front-proxy/ca.crt",
		"--tls-cert-file="+nodePKI+"/scheduler.crt",
		"--tls-private-key-file="+nodePKI+"/scheduler.key",
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	)
}

func containerdProcess() nodeinit.Process {
	return daemon("/usr/bin/containerd", "--config=/etc/kubernetes/containerd.toml")
}

func kubeletProcess(p programs, plan Plan, n NodePlan) nodeinit.Process {
	return daemon(filepath.Join(p.kubernetes, "kubelet"),
		"--config=/etc/kubernetes/kubelet.yaml",
		"--kubeconfig=/etc/kubernetes/kubelet.conf",
		"--hostname-override="+n.Name,
		"--node-ip="+join(addrsOf(n.Addrs)),
		"--node-labels=topology.kubernetes.io/zone="+plan.Subnets[n.Subnet].Name,
	)
}

func kubeProxyProcess(p programs) nodeinit.Process {
	return daemon(filepath.Join(p.kubernetes, "kube-proxy"), "--config=/etc/kubernetes/kube-proxy.yaml")
}

func join[T netip.Addr | netip.Prefix](values []T) string {
	var s []string
	for _, v := range values {
		s = append(s, fmt.Sprint(v))
	}
	return strings.Join(s, ",")
}
