// Package derive returns the resources that a cluster on Kubernetes does not store: WorkloadEndpoints follow from Pods,
// Nodes from Nodes of Kubernetes, and Profiles from Namespaces and ServiceAccounts. Names, labels and annotations are
// Calico's.
// The package is pure, and any number of goroutines may call it. Only ApplyNode changes one of its arguments.
package derive

import (
	"crypto/sha1" //nolint:gosec // a name, not a secret
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Annotations of a Pod that its endpoint shows.
const (
	podContainerID     = "cni.projectcalico.org/containerID"
	podIPs             = "cni.projectcalico.org/podIPs"
	podFloatingIPs     = "cni.projectcalico.org/floatingIPs"
	podAllowedPrefixes = "cni.projectcalico.org/allowedSourcePrefixes"
)

// endpointName is the name of the interface inside a pod.
const endpointName = "eth0"

// maxLabel is what a label's value can hold; the name of a service account can be longer.
const maxLabel = 63

// WorkloadEndpoint returns the endpoint of a pod, or nil when it has none: it is not scheduled, or it has the node's
// network. A pod that has finished keeps its endpoint, without addresses. An annotation that cannot be read counts as
// absent.
func WorkloadEndpoint(pod *corev1.Pod) *v3.WorkloadEndpoint {
	if pod.Spec.NodeName == "" || pod.Spec.HostNetwork {
		return nil
	}
	labels := map[string]string{}
	maps.Copy(labels, pod.Labels)
	labels[v3.LabelNamespace] = pod.Namespace
	labels[v3.LabelOrchestrator] = v3.OrchestratorK8s
	profiles := []string{v3.NamespaceProfilePrefix + pod.Namespace}
	if account := pod.Spec.ServiceAccountName; account != "" {
		profiles = append(profiles, serviceAccountProfile(pod.Namespace, account))
		if len(account) <= maxLabel {
			labels[v3.LabelServiceAccount] = account
		}
	}
	addrs := addresses(pod)
	return &v3.WorkloadEndpoint{
		TypeMeta: typeMeta("WorkloadEndpoint"),
		ObjectMeta: metav1.ObjectMeta{
			Name:      EndpointName(pod.Spec.NodeName, pod.Name),
			Namespace: pod.Namespace, GenerateName: pod.GenerateName, UID: pod.UID,
			CreationTimestamp: pod.CreationTimestamp, ResourceVersion: pod.ResourceVersion, Labels: labels,
		},
		Spec: v3.WorkloadEndpointSpec{
			AllowSpoofedSourcePrefixes: prefixes(pod.Annotations[podAllowedPrefixes]),
			ContainerID:                pod.Annotations[podContainerID],
			Endpoint:                   endpointName,
			InterfaceName:              HostInterface(pod.Namespace, pod.Name),
			IPNATs:                     nats(pod.Annotations[podFloatingIPs], addrs),
			IPNetworks:                 networks(addrs),
			Node:                       pod.Spec.NodeName,
			Orchestrator:               v3.OrchestratorK8s,
			Pod:                        pod.Name,
			Ports:                      ports(pod),
			Profiles:                   profiles,
			ServiceAccountName:         pod.Spec.ServiceAccountName,
		},
	}
}

// HostInterfacePrefix begins the names of the nodes' ends of all pods' interfaces.
const HostInterfacePrefix = "cali"

// HostInterface is the name of the node's end of a pod's interface.
func HostInterface(namespace, pod string) string {
	sum := sha1.Sum([]byte(namespace + "." + pod)) //nolint:gosec // a name, not a secret
	return HostInterfacePrefix + hex.EncodeToString(sum[:])[:11]
}

// EndpointName is the name of the endpoint of a pod on a node: node-k8s-pod-eth0, where dashes within the parts are
// doubled.
func EndpointName(node, pod string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return strings.Join([]string{double(node), v3.OrchestratorK8s, double(pod), endpointName}, "-")
}

// PodOf returns the pod of an endpoint by its name, which the endpoint of a pod has and others may have not.
func PodOf(endpoint string) (pod string, ok bool) {
	// No name of a node or a pod has a NUL.
	parts := strings.Split(strings.ReplaceAll(endpoint, "--", "\x00"), "-")
	if len(parts) != 4 || parts[1] != v3.OrchestratorK8s || parts[3] != endpointName {
		return "", false
	}
	return strings.ReplaceAll(parts[2], "\x00", "-"), true
}

// addresses are those that the pod has now: of its status, or before the kubelet has written it, of the annotation that
// the agent writes.
func addresses(pod *corev1.Pod) []netip.Addr {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var written []string
	for _, ip := range pod.Status.PodIPs {
		written = append(written, ip.IP)
	}
	switch {
	case len(written) > 0:
	case pod.Status.PodIP != "":
		written = []string{pod.Status.PodIP}
	default:
		written = strings.Split(pod.Annotations[podIPs], ",")
	}
	var addrs []netip.Addr
	for _, text := range written {
		bare, _, _ := strings.Cut(text, "/")
		if addr, err := netip.ParseAddr(bare); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func networks(addrs []netip.Addr) []string {
	var nets []string
	for _, addr := range addrs {
		nets = append(nets, netip.PrefixFrom(addr, addr.BitLen()).String())
	}
	return nets
}

func prefixes(annotation string) []string {
	var written, nets []string
	if json.Unmarshal([]byte(annotation), &written) != nil {
		return nil
	}
	for _, text := range written {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			nets = append(nets, prefix.Masked().String())
		}
	}
	return nets
}

// nats pairs floating addresses with the pod's own of the same family.
func nats(annotation string, addrs []netip.Addr) []v3.IPNAT {
	var written []string
	if json.Unmarshal([]byte(annotation), &written) != nil {
		return nil
	}
	var pairs []v3.IPNAT
	for _, text := range written {
		outside, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		for _, addr := range addrs {
			if addr.Is4() == outside.Is4() {
				pairs = append(pairs, v3.IPNAT{ExternalIP: text, InternalIP: addr.String()})
			}
		}
	}
	return pairs
}

// ports are those that rules or the node can refer to.
func ports(pod *corev1.Pod) []v3.WorkloadEndpointPort {
	var all []v3.WorkloadEndpointPort
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, container := range containers {
			for _, p := range container.Ports {
				if p.ContainerPort <= 0 || p.Name == "" && p.HostPort == 0 {
					continue
				}
				protocol := p.Protocol
				if protocol == "" {
					protocol = corev1.ProtocolTCP
				}
				all = append(all, v3.WorkloadEndpointPort{
					Name: p.Name, Protocol: intstr.FromString(string(protocol)), Port: uint16(p.ContainerPort),
					HostPort: uint16(p.HostPort), HostIP: p.HostIP,
				})
			}
		}
	}
	return all
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v3.GroupVersion.String(), Kind: kind}
}
