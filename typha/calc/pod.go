package calc

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// podDetail is what of a Pod matters beside its labels, ports and addresses.
type podDetail struct {
	uid         string
	annotations map[string]string // for CNI
	claims      []netip.Addr      // status.podIPs
	created     int64             // Unix seconds
	terminating bool
}

type namedPort struct {
	name     string
	protocol uint8
	port     uint16
}

func compareNamedPorts(a, b namedPort) int {
	return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
}

// The annotations that CNI honours.
const cniAnnotations = "cni.projectcalico.org/"

func withPrefix(m map[string]string, prefix string) map[string]string {
	var out map[string]string
	for k, v := range m {
		if strings.HasPrefix(k, prefix) {
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

// intern gives one copy of a string that many objects have.
func intern(s string) string { return unique.Make(s).Value() }

func (e *Engine) upsertPod(o *corev1.Pod) {
	it := e.item(itemKey{itemPod, podKey{o.Namespace, o.Name}})
	if it.detail == nil {
		it.detail = &podDetail{}
		e.mark(it, dirtyEndpoint)
	}
	p := it.detail.(*podDetail)
	annotations := withPrefix(o.Annotations, cniAnnotations)
	uid := runtimeUID(o)
	if uid != p.uid || it.node != o.Spec.NodeName || !maps.Equal(p.annotations, annotations) {
		e.mark(it, dirtyStack|dirtyEndpoint)
	}
	if it.node != o.Spec.NodeName {
		it.node = intern(o.Spec.NodeName)
	}
	if p.uid != uid {
		p.uid = strings.Clone(uid)
	}
	p.annotations = annotations
	p.created, p.terminating = o.CreationTimestamp.Unix(), o.DeletionTimestamp != nil
	absent := o.Spec.HostNetwork || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
	if it.absent != absent {
		it.absent = absent
		e.mark(it, dirtyMatches|dirtyStack|dirtyEndpoint)
	}
	profiles := append(e.names[:0], v3.NamespaceProfilePrefix+o.Namespace)
	if o.Spec.ServiceAccountName != "" {
		profiles = append(profiles, serviceAccountProfile(o.Namespace, o.Spec.ServiceAccountName))
	}
	e.names = profiles
	e.setLabels(it, o.Labels, placeSpec{o.Namespace, o.Spec.ServiceAccountName, v3.OrchestratorK8s, profiles})
	e.setPorts(it, podPorts(o))
	e.addresses.claim(e, it, podAddresses(o, p.claims))
}

// podAddresses gives the addresses of a pod's status: the same slice as before, if it says the same.
func podAddresses(o *corev1.Pod, before []netip.Addr) []netip.Addr {
	var room [4]netip.Addr
	now := room[:0]
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil {
			now = append(now, a.Unmap())
		}
	}
	for _, ip := range o.Status.PodIPs {
		add(ip.IP)
	}
	if len(o.Status.PodIPs) == 0 && o.Status.PodIP != "" {
		add(o.Status.PodIP)
	}
	if slices.Equal(now, before) {
		return before
	}
	return slices.Clone(now)
}

func podPorts(o *corev1.Pod) string {
	var list []namedPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			protocol, ok := protocolNumber(p.Protocol)
			if p.Name != "" && ok && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				list = append(list, namedPort{p.Name, protocol, uint16(p.ContainerPort)})
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
	return packPorts(list)
}

func (e *Engine) deletePod(key podKey) {
	it := e.items[itemPod][key]
	if it == nil || it.gone {
		return
	}
	it.gone = true
	e.addresses.claim(e, it, nil)
	e.mark(it, dirtyMatches|dirtyStack|dirtyEndpoint)
}
