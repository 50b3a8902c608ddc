package calc_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// random makes resources from small vocabularies, so that they concern each other, and remembers the selectors that it
// wrote.
type random struct {
	*rand.Rand
	selectors selectors
}

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) chance(percent int) bool { return r.IntN(100) < percent }

func (r random) namespaceName() string { return fmt.Sprintf("ns%d", r.IntN(3)) }

func (r random) labels() map[string]string {
	out := map[string]string{}
	for _, key := range []string{"app", "tier", "env"} {
		if r.chance(60) {
			out[key] = r.value()
		}
	}
	if r.chance(5) { // as if it were its namespace's or its account's
		out[pick(r, "pcns.", "pcsa.")+pick(r, "app", "tier", "env")] = r.value()
	}
	return out
}

func (r random) value() string { return pick(r, "aa", "ab", "bb") }

func (r random) labelSelector() metav1.LabelSelector {
	var s metav1.LabelSelector
	if r.chance(45) {
		s.MatchLabels = map[string]string{pick(r, "app", "tier", "env"): r.value()}
	}
	for r.chance(35) {
		e := metav1.LabelSelectorRequirement{Key: pick(r, "app", "tier", "env", "none")}
		e.Operator = pick(r, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists,
			metav1.LabelSelectorOpDoesNotExist)
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = []string{pick(r, "aa", "ab"), pick(r, "ab", "bb")}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (r random) namespace(name string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: r.labels()}}
	ns.Labels["kubernetes.io/metadata.name"] = name
	if r.chance(20) {
		ns.Annotations = map[string]string{"cni.projectcalico.org/ipv4pools": pick(r, "x", "y")}
	}
	return ns
}

// addr gives an address of the two blocks, of the range without blocks, or from outside.
func (r random) addr(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0xfd, 15: byte(r.IntN(24))})
	}
	return pick(r,
		netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(32))}),
		netip.AddrFrom4([4]byte{10, 0, 1, byte(r.IntN(4))}),
		netip.AddrFrom4([4]byte{192, 168, 0, byte(r.IntN(4))}))
}

func (r random) pod(ns, name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: name, UID: types.UID(pick(r, "1", "2")), Labels: r.labels(),
		CreationTimestamp: at(int64(r.IntN(3))),
	}}
	if r.chance(85) {
		p.Spec.NodeName = pick(r, "n1", "n2", "n3")
	}
	p.Spec.HostNetwork = r.chance(8)
	p.Spec.ServiceAccountName = pick(r, "sa0", "sa1", "")
	p.Status.Phase = corev1.PodRunning
	if r.chance(10) {
		p.Status.Phase = pick(r, corev1.PodSucceeded, corev1.PodFailed)
	}
	if r.chance(10) {
		when := at(5)
		p.DeletionTimestamp = &when
	}
	p.UID = types.UID(ns + name + string(p.UID)) // unique over pods, so that ties are decided
	if r.chance(70) {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: r.addr(false).String()})
		if r.chance(40) {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: r.addr(true).String()})
		}
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	p.Spec.Containers = []corev1.Container{r.container()}
	if r.chance(20) {
		before := r.container()
		before.RestartPolicy = pick(r, nil, pointer(corev1.ContainerRestartPolicyAlways),
			pointer(corev1.ContainerRestartPolicyAlways))
		p.Spec.InitContainers = []corev1.Container{before}
	}
	return p
}

func (r random) container() (c corev1.Container) {
	for r.chance(65) {
		c.Ports = append(c.Ports, corev1.ContainerPort{
			Name: pick(r, "http", "dns"), ContainerPort: 80 + int32(r.IntN(4)),
			Protocol: pick(r, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		})
	}
	return c
}

// block gives a block of 16 addresses, of IPv4 or IPv6, or of 8 that another overlaps, whose allocations name pods that
// may exist.
func (r random) block(n int) *v3.IPAMBlock {
	cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n) * 16}), 28)
	switch n {
	case 2:
		cidr = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd}), 124)
	case 3:
		cidr = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 8}), 29)
	}
	b := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(int64(r.IntN(3)))}}
	b.Name = strings.NewReplacer(".", "-", ":", "-", "/", "-").Replace(cidr.String())
	b.Spec.CIDR = cidr.String()
	b.Spec.Allocations = make([]*int, 1<<(cidr.Addr().BitLen()-cidr.Bits()))
	if r.chance(80) {
		b.Spec.Affinity = "host:" + pick(r, "n1", "n2")
	}
	for i := range b.Spec.Allocations {
		if !r.chance(60) {
			continue
		}
		index := len(b.Spec.Attributes)
		b.Spec.Allocations[i] = &index
		ns, name := r.namespaceName(), r.podName()
		attrs := map[string]string{"namespace": ns, "pod": name, "node": pick(r, "n1", "n2", "n3")}
		if r.chance(70) {
			attrs["uid"] = ns + name + pick(r, "1", "2")
		}
		if r.chance(10) {
			attrs = map[string]string{"node": "n1", "type": "vxlanTunnelAddress"}
		}
		b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{ActiveOwnerAttrs: attrs})
	}
	if r.chance(10) {
		b.Spec.CIDR = pick(r, "10.0.0.0", "10.0.0.128/25", "")
	}
	return b
}

func (r random) podName() string { return fmt.Sprintf("p%d", r.IntN(5)) }

func (r random) policy(ns, name string) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	np.Spec.PodSelector = r.labelSelector()
	if r.chance(3) {
		np.Spec.PodSelector.MatchExpressions = append(np.Spec.PodSelector.MatchExpressions, r.nonsense())
	}
	in, out := networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	np.Spec.PolicyTypes = pick(r, nil, []networkingv1.PolicyType{}, []networkingv1.PolicyType{in},
		[]networkingv1.PolicyType{out},
		[]networkingv1.PolicyType{in, out})
	for r.chance(60) {
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: r.peers(),
			Ports: r.ports()})
	}
	for r.chance(50) {
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: r.peers(), Ports: r.ports()})
	}
	return np
}

// nonsense cannot be read.
func (r random) nonsense() metav1.LabelSelectorRequirement {
	return pick(r, metav1.LabelSelectorRequirement{Key: "app", Operator: "Like"},
		metav1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpIn})
}

func (r random) peers() (peers []networkingv1.NetworkPolicyPeer) {
	for r.chance(65) {
		var p networkingv1.NetworkPolicyPeer
		switch r.IntN(5) {
		case 0, 1:
			s := r.labelSelector()
			p.PodSelector = &s
		case 2:
			s := r.labelSelector()
			if r.chance(30) {
				s = metav1.LabelSelector{
					MatchLabels: map[string]string{"kubernetes.io/metadata.name": r.namespaceName()}}
			}
			p.NamespaceSelector = &s
		case 3:
			s, n := r.labelSelector(), r.labelSelector()
			p.PodSelector, p.NamespaceSelector = &s, &n
		default:
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(r, "10.0.0.0/24", "0.0.0.0/0", "192.168.0.1/30", "fd00::/64",
				"10.0.0.300/8", "::ffff:10.0.0.0/123")}
			if r.chance(40) {
				p.IPBlock.Except = []string{pick(r, "10.0.0.8/29", "192.168.0.2/32", "fd00::8/125", "nonsense",
					"::ffff:10.0.0.8/125")}
			}
		}
		if r.chance(3) {
			p = pick(r, networkingv1.NetworkPolicyPeer{}, networkingv1.NetworkPolicyPeer{
				PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r.nonsense()}}})
		}
		peers = append(peers, p)
	}
	return peers
}

func (r random) ports() (ports []networkingv1.NetworkPolicyPort) {
	for r.chance(60) {
		var p networkingv1.NetworkPolicyPort
		if r.chance(70) {
			protocol := pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
			p.Protocol = &protocol
		}
		switch r.IntN(8) {
		case 0:
		case 1, 2, 3:
			name := intstr.FromString(pick(r, "http", "dns"))
			p.Port = &name
		default:
			number := intstr.FromInt32(80 + int32(r.IntN(4)))
			p.Port = &number
			if r.chance(40) {
				end := number.IntVal + int32(r.IntN(3))
				p.EndPort = &end
			}
		}
		if r.chance(4) {
			p = pick(r, networkingv1.NetworkPolicyPort{Protocol: pointer(corev1.Protocol("Carrier"))},
				networkingv1.NetworkPolicyPort{EndPort: pointer(int32(90))},
				networkingv1.NetworkPolicyPort{Port: pointer(intstr.FromInt32(83)), EndPort: pointer(int32(80))})
		}
		ports = append(ports, p)
	}
	return ports
}

func (r random) node() *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pick(r, "n1", "n2", "n3"), Labels: r.labels(),
		Annotations: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP,
		Address: fmt.Sprintf("172.30.0.%d", r.IntN(3))}}
	if r.chance(50) {
		n.Annotations["projectcalico.org/IPv4Address"] = pick(r, "172.30.0.1/24", "172.30.0.9/24", "nonsense")
	}
	if r.chance(50) {
		n.Annotations["projectcalico.org/IPv4VXLANTunnelAddr"] = r.addr(false).String()
	}
	if r.chance(30) {
		n.Annotations["projectcalico.org/RouteReflectorClusterID"] = "224.0.0.1"
		n.Annotations["projectcalico.org/ASNumber"] = pick(r, "64513", "1.10", "x")
	}
	return n
}

func (r random) pool() *v3.IPPool {
	p := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: pick(r, "a", "b"), CreationTimestamp: at(int64(r.IntN(3)))}}
	p.Spec.Disabled = r.chance(20)
	p.Spec.CIDR = pick(r, "10.0.0.0/16", "10.0.0.0/24", "fd00::/64", "10.0.0.1/16")
	p.Spec.VXLANMode = pick(r, v3.VXLANModeNever, v3.VXLANModeAlways, "Sometimes")
	p.Spec.NamespaceSelector = pick(r, "", "all()", "has(app)")
	if r.chance(10) { // nodes keep a pool that could be read before, so this one never can
		p.Name, p.Spec.CIDR = "c", "10.0.0.0"
	}
	return p
}

func (r random) configuration() metav1.Object {
	name := pick(r, "default", "node.n1", "node.n2", "other")
	switch r.IntN(3) {
	case 0:
		c := &v3.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
		number, mesh := uint32(64512+r.IntN(3)), r.chance(50)
		c.Spec.ASNumber, c.Spec.NodeToNodeMeshEnabled = &number, &mesh
		if r.chance(30) {
			port := 179 + r.IntN(2)
			c.Spec.ListenPort = &port
		}
		if r.chance(20) {
			c.Spec.NodeMeshPassword = &v3.BGPPassword{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
		}
		return c
	case 1:
		c := &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: at(int64(r.IntN(2)))}}
		port := 4789 + r.IntN(2)
		c.Spec.VXLANPort = &port
		if name == "other" {
			c.Name = pick(r, "other", "another", "third")
			nodes := pick(r, "", "all()", "has(tier)", "app == 'a'", "((")
			c.Spec.NodeSelector = &nodes
		}
		return c
	}
	p := &v3.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: pick(r, "x", "y")}}
	p.Spec.ASNumber = 64512
	p.Spec.PeerIP = pick(r, "", "172.30.0.1", "172.30.0.9", "172.30.0.2:180", "172.31.0.1:1790", "nonsense")
	p.Spec.PeerSelector = pick(r, "", "app == 'a'")
	p.Spec.NodeSelector = pick(r, "", "has(tier)", "((")
	p.Spec.ReversePeering = pick(r, "", "Auto", "Manual")
	if r.chance(20) {
		p.Spec.Password = &v3.BGPPassword{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
	}
	return p
}
