package calc_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// tally counts what decided flows.
type tally struct {
	flows    int
	features map[string]int
}

func (c *tally) add(q question, d decision) {
	c.flows++
	c.features[string(q.chain)+" "+string(d.verdict)]++
	for _, feature := range d.features {
		c.features[feature]++
	}
}

// decided fails when a feature decided no flow, and when the clusters decide nearly always the same.
func (c *tally) decided(t *testing.T, want []string) {
	var lines []string
	for _, feature := range slices.Sorted(maps.Keys(c.features)) {
		lines = append(lines, fmt.Sprintf("%s %d", feature, c.features[feature]))
	}
	t.Logf("%d flows: %s", c.flows, strings.Join(lines, ", "))
	if c.flows < 50_000 {
		return
	}
	for _, feature := range want {
		if c.features[feature] == 0 {
			t.Errorf("no flow was decided by: %s", feature)
		}
	}
	if a, d := c.features["normal allowed"], c.features["normal denied"]; a < c.flows/8 || d < c.flows/8 {
		t.Errorf("the clusters say little: %d allowed, %d denied", a, d)
	}
}

// TestVerdictsEqualTheOracles compares, over random histories of random clusters, what the nodes would
// do with what the documentation says.
func TestVerdictsEqualTheOracles(t *testing.T) {
	counts := &tally{features: map[string]int{}}
	eachCluster(t, func(n int, h *history) {
		_, w := h.run(t, 20+h.r.IntN(80))
		o := newOracle(h.live, h.r.selectors)
		addrs := o.addresses()
		var hosts []*entity
		for _, host := range o.hosts {
			hosts = append(hosts, o.hostEntity(host))
		}
		for range *flows {
			f := h.flow(addrs)
			for _, q := range o.questions(f, hosts, h.r) {
				want := o.decide(q, f)
				got, err := w.decide(q, f)
				if err != nil {
					t.Errorf("%s: %s: %v; %s", q, f, err, h.shrink(t, q, f))
				} else if got != want.verdict && want.verdict != unknown {
					t.Errorf("%s: %s: engine says %s, oracle %s; %s", q, f, got, want, h.shrink(t, q, f))
				}
				if t.Failed() {
					return
				}
				counts.add(q, want)
			}
		}
	})
	counts.decided(t, wanted())
}

// questions are what has to be decided about a flow: that its source may send and its destination receive. A host
// endpoint sees any flow, in one of its chains.
func (o *oracle) questions(f *flow, hosts []*entity, r random) (qs []question) {
	if e := o.workloadAt(f.src); e != nil && e.node != "" {
		qs = append(qs, question{e, v3.PolicyTypeEgress, normal})
	}
	if e := o.workloadAt(f.dst); e != nil && e.node != "" {
		qs = append(qs, question{e, v3.PolicyTypeIngress, normal})
	}
	if len(hosts) > 0 && r.chance(45) {
		q := question{pick(r, hosts...), pick(r, v3.PolicyTypeIngress, v3.PolicyTypeEgress),
			pick(r, normal, forward, preDNAT, preDNAT, untracked)}
		switch {
		case q.chain == untracked && q.of.host.Spec.InterfaceName == "*": // "… do not support untracked policy."
		case q.chain == normal && q.direction == v3.PolicyTypeIngress && o.workloadAt(f.dst) != nil,
			// is not the host's own
			q.chain == normal && q.direction == v3.PolicyTypeEgress && o.workloadAt(f.src) != nil:
		default:
			qs = append(qs, q)
		}
	}
	return qs
}

func (q question) String() string {
	name := "workload " + q.of.namespace + "/" + q.of.workload
	if q.of.host != nil {
		name = "host endpoint " + q.of.host.Name
	}
	return fmt.Sprintf("%s %s %s", name, q.chain, q.direction)
}

func (d decision) String() string {
	if d.policy != nil {
		return fmt.Sprintf("%s by tier %s, %v rule %d", d.verdict, d.tier, d.policy.at, d.rule)
	}
	return fmt.Sprintf("%s by tier %q, profile %q rule %d", d.verdict, d.tier, d.profile, d.rule)
}

// wanted are the features each of which has to decide flows: some because it let a packet through to the rule that
// decided, and some because it alone kept one from a rule.
func wanted() (all []string) {
	parts := []string{"kubernetes peers", "kubernetes ports", "protocol", "notProtocol", "icmp", "notICMP", "ipVersion",
		"cluster peers", "cluster protocols"}
	for _, end := range []string{"source ", "destination "} {
		for _, part := range []string{"nets", "notNets", "ports", "notPorts", "selector", "notSelector",
			"namespaceSelector", "global()", "serviceAccounts", "services"} {
			parts = append(parts, end+part)
		}
		all = append(all, end+"named ports")
	}
	all = append(all, "NetworkPolicy of Kubernetes", "NetworkPolicy", "GlobalNetworkPolicy",
		"ClusterNetworkPolicy Admin", "ClusterNetworkPolicy Baseline",
		"policy namespaceSelector", "policy serviceAccountSelector", "order", "end Pass", "end Deny", "profile",
		"no profile",
		"tier t1", "tier default", "tier kube-admin", "tier kube-baseline",
		"action Allow", "action Deny", "action Pass", "action Log",
		"peer namespaces", "peer pods", "peer nodes", "peer networks", "unusable peer", "unusable protocol",
		"unusable subject",
		"unusable nets", "unusable selector", "unusable ports",
		"forward allowed", "forward denied", "forward undecided", "preDNAT allowed", "preDNAT denied",
		"preDNAT undecided",
		"untracked allowed", "untracked denied", "untracked undecided")
	for _, part := range parts {
		all = append(all, part, "not "+part)
	}
	return all
}
