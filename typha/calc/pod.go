package calc

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// podKey names a namespaced resource.
type podKey struct{ namespace, name string }

// namespace is a namespace that has a Namespace object, pods, or both.
type namespace struct {
	name        string
	known       bool // the Namespace object is there
	labels      map[string]string
	annotations map[string]string // for CNI
	pods        map[string]*pod
}

// podFacts are what of a Pod matters.
type podFacts struct {
	uid         string
	node        string
	labels      map[string]string
	annotations map[string]string // for CNI
	hostNetwork bool
	finished    bool
	terminating bool
	created     int64        // Unix seconds
	claims      []netip.Addr // status.podIPs
	ports       []namedPort
}

type namedPort struct {
	name     string
	protocol uint8
	port     uint16
}

type pod struct {
	podFacts
	key       podKey
	namespace *namespace
	addrs     []netip.Addr // owned; see addresses
	matches   map[*selector]struct{}
}

// eligible pods have an endpoint once they are scheduled, and can be selected.
func (p *pod) eligible() bool { return !p.hostNetwork && !p.finished }

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

func factsOf(o *corev1.Pod) podFacts {
	f := podFacts{
		uid:         runtimeUID(o),
		node:        o.Spec.NodeName,
		labels:      o.Labels,
		annotations: withPrefix(o.Annotations, cniAnnotations),
		hostNetwork: o.Spec.HostNetwork,
		finished:    o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
		terminating: o.DeletionTimestamp != nil,
		created:     o.CreationTimestamp.Unix(),
	}
	ips := o.Status.PodIPs
	if len(ips) == 0 && o.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: o.Status.PodIP}}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			f.claims = append(f.claims, a.Unmap())
		}
	}
	// Init containers with restartPolicy Always (sidecars) serve as long as the pod does.
	containers := slices.Clone(o.Spec.Containers)
	for _, c := range o.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			protocol, ok := protocolNumber(p.Protocol)
			if p.Name != "" && ok && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				f.ports = append(f.ports, namedPort{p.Name, protocol, uint16(p.ContainerPort)})
			}
		}
	}
	return f
}

func (e *Engine) namespace(name string) *namespace {
	ns := e.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name, pods: map[string]*pod{}}
		e.namespaces[name] = ns
	}
	return ns
}

func (e *Engine) dropNamespaceIfEmpty(ns *namespace) {
	if !ns.known && len(ns.pods) == 0 {
		delete(e.namespaces, ns.name)
	}
}

func (e *Engine) pod(key podKey) *pod {
	if ns := e.namespaces[key.namespace]; ns != nil {
		return ns.pods[key.name]
	}
	return nil
}

func (e *Engine) upsertPod(o *corev1.Pod) {
	key, facts := podKey{o.Namespace, o.Name}, factsOf(o)
	p := e.pod(key)
	if p != nil {
		if reflect.DeepEqual(p.podFacts, facts) {
			return
		}
		if p.uid != facts.uid || p.node != facts.node || p.eligible() != (!facts.hostNetwork && !facts.finished) {
			e.deletePod(key) // another pod of the same name, or the same in another role
			p = nil
		}
	}
	if p == nil {
		ns := e.namespace(key.namespace)
		p = &pod{key: key, namespace: ns, matches: map[*selector]struct{}{}}
		ns.pods[key.name] = p
		e.dirtyPods[key] = struct{}{}
	}
	before := p.podFacts
	p.podFacts = facts
	if !maps.Equal(before.annotations, facts.annotations) {
		e.dirtyPods[key] = struct{}{}
	}
	if !slices.Equal(before.ports, facts.ports) {
		e.touchSets(p)
	}
	e.addresses.claim(e, p, before.claims)
	e.match(p)
}

func (e *Engine) deletePod(key podKey) {
	p := e.pod(key)
	if p == nil {
		return
	}
	delete(p.namespace.pods, key.name)
	e.addresses.disclaim(e, p)
	for s := range p.matches {
		e.leave(p, s)
	}
	e.dirtyPods[key] = struct{}{}
	e.dropNamespaceIfEmpty(p.namespace)
}

// match makes the pod a member of the selectors that select it and of no others.
func (e *Engine) match(p *pod) {
	for s := range p.matches {
		if !s.selects(p) {
			e.leave(p, s)
		}
	}
	e.candidates(p, func(s *selector) {
		if _, member := p.matches[s]; !member && s.selects(p) {
			e.join(p, s)
		}
	})
}

func (e *Engine) join(p *pod, s *selector) {
	p.matches[s], s.members[p] = struct{}{}, struct{}{}
	for set := range s.sets {
		e.touchSet(set, p)
	}
	for policy := range s.policies {
		e.attach(policy, p)
	}
}

func (e *Engine) leave(p *pod, s *selector) {
	delete(p.matches, s)
	delete(s.members, p)
	for set := range s.sets {
		e.touchSet(set, p)
	}
	for policy := range s.policies {
		e.detach(policy, p)
	}
}

func (e *Engine) upsertNamespace(o *corev1.Namespace) {
	ns := e.namespace(o.Name)
	annotations := withPrefix(o.Annotations, cniAnnotations)
	if !maps.Equal(ns.annotations, annotations) {
		ns.annotations = annotations
		for name := range ns.pods {
			e.dirtyPods[podKey{ns.name, name}] = struct{}{}
		}
	}
	e.relabel(ns, true, o.Labels)
}

func (e *Engine) deleteNamespace(name string) {
	ns := e.namespaces[name]
	if ns == nil {
		return
	}
	if ns.annotations != nil {
		ns.annotations = nil
		for name := range ns.pods {
			e.dirtyPods[podKey{ns.name, name}] = struct{}{}
		}
	}
	e.relabel(ns, false, nil)
	e.dropNamespaceIfEmpty(ns)
}

func (e *Engine) relabel(ns *namespace, known bool, labels map[string]string) {
	if ns.known == known && maps.Equal(ns.labels, labels) {
		return
	}
	ns.known, ns.labels = known, labels
	for _, p := range ns.pods {
		e.match(p)
	}
}

// flushEndpoint makes a pod's Endpoint again.
func (e *Engine) flushEndpoint(key podKey) {
	id := wire.ID{Kind: wire.KindEndpoint, Name: wire.EndpointName(key.namespace, key.name)}
	if before, existed := e.out.current[id]; existed {
		node := before.(*wire.Endpoint).Node
		e.interest.add(node, id, -1)
		e.needProfile(node, key.namespace, -1)
	}
	p := e.pod(key)
	if p == nil || !p.eligible() || p.node == "" {
		e.out.remove(id)
		return
	}
	e.interest.add(p.node, id, 1)
	e.needProfile(p.node, key.namespace, 1)
	annotations := maps.Clone(p.namespace.annotations)
	if annotations == nil && len(p.annotations) > 0 {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, p.annotations)
	e.out.set(&wire.Endpoint{
		Namespace: key.namespace, Pod: key.name, UID: p.uid, Node: p.node,
		Tiers: tiersOf(p), Annotations: annotations, Profiles: []string{namespaceProfile(key.namespace)},
	})
}

func tiersOf(p *pod) []wire.Tier {
	tier := wire.Tier{Name: defaultTier, DefaultAction: wire.Deny}
	for s := range p.matches {
		for policy := range s.policies {
			if policy.ingress {
				tier.Ingress = append(tier.Ingress, policy.name)
			}
			if policy.egress {
				tier.Egress = append(tier.Egress, policy.name)
			}
		}
	}
	if len(tier.Ingress)+len(tier.Egress) == 0 {
		return nil
	}
	slices.Sort(tier.Ingress)
	slices.Sort(tier.Egress)
	return []wire.Tier{tier}
}

// namespaceProfile names the profile of a namespace.
func namespaceProfile(ns string) string { return "profile/" + v3.NamespaceProfilePrefix + ns }

// needProfile changes how many endpoints of a node have the profile of a namespace, which exists while one does.
func (e *Engine) needProfile(node, ns string, n int) {
	profile := &wire.Policy{Name: namespaceProfile(ns), Ingress: allowAll, Egress: allowAll}
	e.interest.add(node, profile.ID(), n)
	if e.profiles[ns] += n; e.profiles[ns] == 0 {
		delete(e.profiles, ns)
		e.out.remove(profile.ID())
		return
	}
	e.out.set(profile)
}

var allowAll = []wire.Rule{{Action: wire.Allow}}
