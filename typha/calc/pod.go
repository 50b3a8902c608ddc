package calc

import (
	"cmp"
	"encoding/hex"
	"maps"
	"math"
	"net/netip"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// podDetail is what of a Pod matters beside its labels, ports and addresses.
type podDetail struct {
	uid         uid
	annotations map[string]string // for CNI
	claims      nets              // status.podIPs
	// rank decides among pods that claim an address: the later it was created, in Unix seconds, and any that terminates
	// before all others.
	rank int64
	// attributed are the addresses that blocks attribute to it, be it there or not.
	attributed nets
}

// uid is a pod's UID. Nearly always that is a UUID, which is held as its 16 octets; else it is the text, with a NUL after
// it where it has 16 octets too.
type uid string

const uuidSize = 16

func packUID(text string) uid {
	if id, err := hex.DecodeString(strings.ReplaceAll(text, "-", "")); err == nil && len(id) == uuidSize && uid(id).String() == text {
		return uid(id)
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
	digits := hex.EncodeToString([]byte(u))
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
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
		e.mark(it)
	}
	p := it.detail.(*podDetail)
	annotations := withPrefix(o.Annotations, cniAnnotations)
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
		e.classify(it, nil)
	} else {
		e.classify(it, e.classOf(podPlace(o), o.Labels, podPorts(o)))
	}
	e.addresses.claim(e, it, podAddresses(o))
}

func podPlace(o *corev1.Pod) placeSpec {
	s := placeSpec{kind: itemPod, namespace: o.Namespace, account: o.Spec.ServiceAccountName, orchestrator: v3.OrchestratorK8s,
		profiles: []string{v3.NamespaceProfilePrefix + o.Namespace}}
	if s.account != "" {
		s.profiles = append(s.profiles, serviceAccountProfile(s.namespace, s.account))
	}
	return s
}

// podAddresses gives the addresses of a pod's status.
func podAddresses(o *corev1.Pod) nets {
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
	return packNets(list)
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
	it := e.items.get(itemKey{itemPod, key})
	if it == nil || it.gone {
		return
	}
	it.gone = true
	e.classify(it, nil)
	e.addresses.claim(e, it, "")
	e.mark(it)
}
