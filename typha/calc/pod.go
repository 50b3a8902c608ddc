package calc

import (
	"cmp"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// podDetail is what of a Pod matters beside its labels, ports and addresses.
type podDetail struct {
	claim       owner.Claim       // on addresses
	annotations map[string]string // for CNI
}

// The annotations that CNI honours.
const cniAnnotations = "cni.projectcalico.org/"

// withPrefix returns the annotations with a prefix. An empty one counts as absent, as in Calico.
func withPrefix(m map[string]string, prefix string) map[string]string {
	var out map[string]string
	for k, v := range m {
		if strings.HasPrefix(k, prefix) && v != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// runtimeUID is the UID that the container runtime knows the pod by: the API's, but for a static pod, whose
// object is a mirror that names the kubelet's UID in an annotation.
func runtimeUID(o *corev1.Pod) string {
	return cmp.Or(o.Annotations[corev1.MirrorPodAnnotationKey], string(o.UID))
}

func (e *Engine) upsertPod(o *corev1.Pod) {
	it := e.item(labelindex.Key{Kind: labelindex.Pod, Namespace: o.Namespace, Name: o.Name})
	if it.detail == nil {
		it.detail = &podDetail{}
		e.mark(it)
	}
	p := it.detail.(*podDetail)
	annotations := withPrefix(o.Annotations, cniAnnotations)
	reason := ""
	if _, err := allowedSources(annotations); err != nil {
		reason = err.Error()
	}
	e.problems.set(KindPod, o.Namespace, o.Name, reason)
	uid := owner.PackUID(runtimeUID(o))
	if uid != p.claim.UID() || !maps.Equal(p.annotations, annotations) {
		e.mark(it)
	}
	p.annotations = annotations
	e.moveTo(it, needs.NodeNamed(o.Spec.NodeName))
	running := !o.Spec.HostNetwork && o.Status.Phase != corev1.PodSucceeded && o.Status.Phase != corev1.PodFailed
	if !running {
		e.index.Exclude(&it.Item)
	} else {
		e.index.SetAttributes(&it.Item, labelindex.Attributes{ServiceAccount: o.Spec.ServiceAccountName,
			Orchestrator: v3.OrchestratorK8s, Labels: o.Labels, Ports: podPorts(o)})
	}
	e.claim(it, owner.Status{UID: uid, Running: running, Created: o.CreationTimestamp.Unix(),
		Terminating: o.DeletionTimestamp != nil, Addrs: podAddresses(o)})
}

// podAddresses returns the addresses of a pod's status.
func podAddresses(o *corev1.Pod) compact.Networks {
	var list []netip.Prefix
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil {
			a = a.Unmap()
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, ip := range o.Status.PodIPs {
		add(ip.IP)
	}
	if len(o.Status.PodIPs) == 0 && o.Status.PodIP != "" {
		add(o.Status.PodIP)
	}
	return compact.PackNetworks(list)
}

func podPorts(o *corev1.Pod) labelindex.Ports {
	var list []labelindex.Port
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			protocol, ok := spec.Protocol(p.Protocol)
			if p.Name != "" && ok && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				list = append(list, labelindex.Port{Name: p.Name, Protocol: protocol, Number: uint16(p.ContainerPort)})
			}
		}
	}
	for i := range o.Spec.Containers {
		add(&o.Spec.Containers[i])
	}
	// Init containers with restartPolicy Always (sidecars) serve as long as the pod does.
	for i := range o.Spec.InitContainers {
		c := &o.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return labelindex.PackPorts(list)
}

func (e *Engine) deletePod(key resourceName) {
	it := e.findItem(labelindex.Key{Kind: labelindex.Pod, Namespace: key.namespace, Name: key.name})
	if it == nil || it.is(itemGone) {
		return
	}
	it.setFlag(itemGone)
	e.index.Exclude(&it.Item)
	e.claim(it, owner.Status{UID: it.Claim().UID()})
	e.mark(it)
}
