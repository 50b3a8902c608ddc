package calc

import (
	"cmp"
	"encoding/hex"
	"maps"
	"math"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// podDetail is what of a Pod matters beside its labels, ports and addresses.
type podDetail struct {
	uid         uid
	annotations map[string]string // for CNI
	claims      compact.Networks  // status.podIPs
	// rank decides among pods that claim an address: the later it was created, in Unix seconds, and any that terminates
	// before all others.
	rank int64
	// attributed are the addresses that blocks attribute to it, be it there or not.
	attributed compact.Networks
}

// uid is a pod's UID. Nearly always that is a UUID, which is held as its 16 octets; else it is the text, with a NUL
// after it where it has 16 octets too.
type uid string

const uuidSize = 16

func packUID(text string) uid {
	if len(text) == len(uuidText{}) {
		var id [uuidSize]byte
		_, err := hex.Decode(id[:], []byte(text[:8]+text[9:13]+text[14:18]+text[19:23]+text[24:]))
		if canonical := textOf(id); err == nil && string(canonical[:]) == text {
			return uid(id[:])
		}
	}
	if len(text) == uuidSize {
		text += "\x00"
	}
	return uid(strings.Clone(text))
}

func (u uid) String() string {
	if len(u) != uuidSize {
		return strings.TrimSuffix(string(u), "\x00")
	}
	text := textOf([uuidSize]byte([]byte(u)))
	return string(text[:])
}

// uuidText is a UUID in its one form of 8-4-4-4-12 small hexadecimal digits.
type uuidText [36]byte

func textOf(id [uuidSize]byte) (out uuidText) {
	from, to := id[:], out[:]
	for _, size := range [...]int{4, 2, 2, 2, 6} {
		hex.Encode(to, from[:size])
		if from, to = from[size:], to[2*size:]; len(from) > 0 {
			to[0], to = '-', to[1:]
		}
	}
	return out
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
	uid := packUID(runtimeUID(o))
	if uid != p.uid || !maps.Equal(p.annotations, annotations) {
		e.mark(it)
	}
	p.uid = uid
	p.annotations = annotations
	p.rank = o.CreationTimestamp.Unix()
	if o.DeletionTimestamp != nil {
		p.rank += math.MinInt64 / 2
	}
	e.moveTo(it, nodeNamed(o.Spec.NodeName))
	if o.Spec.HostNetwork || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		e.index.Exclude(&it.Item)
	} else {
		e.index.SetAttributes(&it.Item, labelindex.Attributes{ServiceAccount: o.Spec.ServiceAccountName,
			Orchestrator: v3.OrchestratorK8s, Labels: o.Labels, Ports: podPorts(o)})
	}
	e.addresses.claim(e, it, podAddresses(o))
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
	e.addresses.claim(e, it, "")
	e.mark(it)
}
