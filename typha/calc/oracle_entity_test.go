package calc_test

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// entity is what selectors select: a workload, which is a pod or a WorkloadEndpoint, a host endpoint, or a network set.
type entity struct {
	pod           *corev1.Pod
	workload      string // its name
	node          string // of workloads and host endpoints
	host          *v3.HostEndpoint
	namespace     string // empty: in none
	own           map[string]string
	labels        map[string]string // own, and those that it has by its namespace, account and profiles
	account       string
	accountLabels map[string]string
	spaceLabels   map[string]string // of the namespace
	ports         []namedPort
	profiles      []string
}

type namedPort struct {
	name     string
	protocol uint8
	port     uint16
}

// participates: host-network pods and pods that ended are not subject to policy.
func participates(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
}

// leaveBlocksOut leaves out the blocks that no pool contains, while all ranges can be read, and those that an older one
// overlaps.
func (o *oracle) leaveBlocksOut() {
	slices.SortFunc(o.blocks, func(a, b *v3.IPAMBlock) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var count []*v3.IPAMBlock
	for _, b := range o.blocks {
		cidr := netip.MustParsePrefix(b.Spec.CIDR)
		pooled := slices.ContainsFunc(o.pools, func(p *v3.IPPool) bool {
			pool, err := netip.ParsePrefix(p.Spec.CIDR)
			return err != nil || pool.Overlaps(cidr) && pool.Bits() <= cidr.Bits()
		})
		if pooled && !slices.ContainsFunc(count,
			func(older *v3.IPAMBlock) bool { return netip.MustParsePrefix(older.Spec.CIDR).Overlaps(cidr) }) {
			count = append(count, b)
		}
	}
	o.blocks = count
}

// owner gives the pod that has an address now.
func (o *oracle) owner(addr netip.Addr) *corev1.Pod {
	for _, b := range o.blocks {
		cidr := netip.MustParsePrefix(b.Spec.CIDR)
		if !cidr.Contains(addr) {
			continue
		}
		at := cidr.Addr()
		for _, index := range b.Spec.Allocations {
			if at == addr && index != nil {
				attrs := b.Spec.Attributes[*index].ActiveOwnerAttrs
				for _, p := range o.pods {
					if p.Namespace == attrs["namespace"] && p.Name == attrs["pod"] && participates(p) &&
						(attrs["uid"] == "" || attrs["uid"] == string(p.UID)) &&
						(attrs["node"] == "" || attrs["node"] == p.Spec.NodeName) {
						return p
					}
				}
			}
			at = at.Next()
		}
		return nil
	}
	var best *corev1.Pod
	for _, p := range o.pods {
		if participates(p) && hasStatusIP(p, addr) && (best == nil || newerPod(p, best)) {
			best = p
		}
	}
	return best
}

func hasStatusIP(p *corev1.Pod, addr netip.Addr) bool {
	for _, ip := range p.Status.PodIPs {
		if ip.IP == addr.String() {
			return true
		}
	}
	return false
}

// newerPod: of two pods that claim an address the one that is not terminating, then the younger one, has it.
func newerPod(p, q *corev1.Pod) bool {
	switch pt, qt := p.DeletionTimestamp != nil, q.DeletionTimestamp != nil; {
	case pt != qt:
		return qt
	case !p.CreationTimestamp.Equal(&q.CreationTimestamp):
		return p.CreationTimestamp.After(q.CreationTimestamp.Time)
	}
	return p.UID > q.UID
}

// at gives everything that has an address.
func (o *oracle) at(addr netip.Addr) []*entity {
	if found, ok := o.known[addr]; ok {
		return found
	}
	var found []*entity
	if p := o.owner(addr); p != nil {
		found = append(found, o.podEntity(p))
	}
	for _, w := range o.workloads {
		if inAny(w.Spec.IPNetworks, addr) {
			found = append(found, o.workloadEntity(w))
		}
	}
	for _, h := range o.hosts {
		if slices.Contains(h.Spec.ExpectedIPs, addr.String()) {
			found = append(found, o.hostEntity(h))
		}
	}
	for _, s := range o.sets {
		if inAny(s.Spec.Nets, addr) {
			e := &entity{namespace: s.Namespace, own: s.Labels}
			o.inherit(e)
			found = append(found, e)
		}
	}
	for _, s := range o.globalSets {
		if inAny(s.Spec.Nets, addr) {
			found = append(found, &entity{own: s.Labels, labels: notInherited(s.Labels)})
		}
	}
	o.known[addr] = found
	return found
}

func inAny(nets []string, addr netip.Addr) bool {
	for _, text := range nets {
		if n, ok := network(text); ok && n.Contains(addr) {
			return true
		}
	}
	return false
}

// network reads a network, or an address. IPv4 addresses within IPv6 ones are neither.
func network(text string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	n, err := netip.ParsePrefix(text)
	return n.Masked(), err == nil && !n.Addr().Is4In6()
}

// podEntity: a pod has its labels, and "projectcalico.org/" ones that say where it belongs; those of its namespace and
// its service account are its own too, behind the prefixes pcns. and pcsa. .
func (o *oracle) podEntity(p *corev1.Pod) *entity {
	if e := o.ofPod[p]; e != nil {
		return e
	}
	e := &entity{pod: p, workload: p.Name, node: p.Spec.NodeName, namespace: p.Namespace, own: p.Labels,
		account:  p.Spec.ServiceAccountName,
		profiles: []string{"kns." + p.Namespace}}
	o.inherit(e)
	e.labels["projectcalico.org/orchestrator"] = "k8s"
	if e.account != "" {
		e.profiles = append(e.profiles, "ksa."+p.Namespace+"."+e.account)
		e.labels["projectcalico.org/serviceaccount"] = e.account
		if a := o.accounts[ref{"", p.Namespace, e.account}]; a != nil {
			e.accountLabels = maps.Clone(a.Labels)
			e.accountLabels["projectcalico.org/name"] = a.Name
		}
		for key, value := range e.accountLabels {
			e.labels["pcsa."+key] = value
		}
	}
	for _, c := range append(sidecars(p), p.Spec.Containers...) {
		for _, cp := range c.Ports {
			protocol := protocols["TCP"]
			if cp.Protocol != "" {
				protocol = protocols[string(cp.Protocol)]
			}
			e.ports = append(e.ports, namedPort{cp.Name, protocol, uint16(cp.ContainerPort)})
		}
	}
	o.ofPod[p] = e
	return e
}

// sidecars are "init containers with restartPolicy: Always", which "remain running" for as long as the pod does.
func sidecars(p *corev1.Pod) (list []corev1.Container) {
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			list = append(list, c)
		}
	}
	return list
}

// inherit gives something in a namespace the labels that it has by that.
func (o *oracle) inherit(e *entity) {
	e.labels, e.spaceLabels = map[string]string{}, map[string]string{}
	if ns := o.namespaces[e.namespace]; ns != nil {
		maps.Copy(e.spaceLabels, ns.Labels)
		e.spaceLabels["projectcalico.org/name"] = ns.Name
	}
	for key, value := range e.spaceLabels {
		e.labels["pcns."+key] = value
	}
	maps.Copy(e.labels, notInherited(e.own))
	e.labels["projectcalico.org/namespace"] = e.namespace
}

// workloadEntity: the orchestrator wrote the labels that say where a WorkloadEndpoint belongs.
func (o *oracle) workloadEntity(w *v3.WorkloadEndpoint) *entity {
	if e := o.ofWorkload[w]; e != nil {
		return e
	}
	e := &entity{workload: w.Name, node: w.Spec.Node, namespace: w.Namespace, own: w.Labels, profiles: w.Spec.Profiles}
	o.ofWorkload[w] = e
	o.inherit(e)
	o.apply(e)
	for _, p := range w.Spec.Ports {
		e.ports = append(e.ports, namedPort{p.Name, protocols[p.Protocol.String()], p.Port})
	}
	return e
}

// apply gives an endpoint the labels of its profiles: "their own win".
func (o *oracle) apply(e *entity) {
	for _, name := range e.profiles {
		if p := o.profiles[name]; p != nil {
			maps.Copy(e.labels, p.Spec.LabelsToApply)
		}
	}
	maps.Copy(e.labels, notInherited(e.own))
}

// notInherited leaves out labels that look like those of a namespace or an account: nobody has these as his own.
func notInherited(own map[string]string) map[string]string {
	out := maps.Clone(own)
	maps.DeleteFunc(out, func(key, _ string) bool {
		return strings.HasPrefix(key, "pcns.") ||
			strings.HasPrefix(key, "pcsa.")
	})
	return out
}

func (o *oracle) hostEntity(h *v3.HostEndpoint) *entity {
	e := &entity{host: h, node: h.Spec.Node, own: h.Labels, labels: map[string]string{}, profiles: h.Spec.Profiles}
	o.apply(e)
	for _, p := range h.Spec.Ports {
		e.ports = append(e.ports, namedPort{p.Name, protocols[p.Protocol.String()], p.Port})
	}
	return e
}
