package hub_test

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

const (
	hostilePods  = 10_000 // each with a label of its own: nothing is asked once for several
	hostileNodes = 100
	probes       = 500
)

// BenchmarkLatencyBesideHostilePolicies measures how long a change of a pod takes to its node: alone, and while one
// namespace makes, edits and removes policies that are as large as an API server takes, or as the budget allows.
func BenchmarkLatencyBesideHostilePolicies(b *testing.B) {
	for b.Loop() {
		h := hub.New(hub.Options{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy,
			calc.KindStagedKubernetesNetworkPolicy}})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		var pods []metav1.Object
		for i := range hostilePods {
			pods = append(pods, hostilePod(i, 0))
		}
		hand(b, h, calc.KindPod, pods...)
		hand(b, h, calc.KindNetworkPolicy)
		hand(b, h, calc.KindStagedKubernetesNetworkPolicy)
		arrived := follow(b, ctx, h, "node-1")
		follow(b, ctx, h, "node-0") // has the pods that the policies select
		quiet := latencies(b, h, arrived, 0)
		stop := make(chan struct{})
		stopped := make(chan int)
		go func() { stopped <- beHostile(b, h, stop) }()
		hostile := latencies(b, h, arrived, probes)
		close(stop)
		rounds := <-stopped
		cancel()
		<-ended
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ms(quiet, 50), "ms-p50-alone")
		b.ReportMetric(ms(quiet, 99), "ms-p99-alone")
		b.ReportMetric(ms(hostile, 50), "ms-p50-beside")
		b.ReportMetric(ms(hostile, 99), "ms-p99-beside")
		b.ReportMetric(ms(hostile, 99)/ms(quiet, 99), "p99-ratio")
		b.ReportMetric(float64(rounds), "policies")
	}
}

func ms(sorted []time.Duration, percent int) float64 {
	return sorted[(len(sorted)-1)*percent/100].Seconds() * 1e3
}

func hostilePod(i, generation int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%d", i%hostileNodes),
		Name: fmt.Sprint("pod-", i),
		UID:  types.UID(fmt.Sprint(generation)), Labels: map[string]string{"app": fmt.Sprint("app-", i)}}}
	p.Spec.NodeName = fmt.Sprintf("node-%d", i%hostileNodes)
	p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}}
	return p
}

func hand(b *testing.B, h *hub.Hub, kind string, objects ...metav1.Object) {
	if err := h.Update(b.Context(), hub.Update{Kind: kind, Upserts: objects, Changed: "1", Seen: "1",
		Listed: true}); err != nil {
		b.Error(err)
	}
}

// follow reads a node's stream, and says when endpoints arrive, by their UIDs.
func follow(b *testing.B, ctx context.Context, h *hub.Hub, node string) <-chan string {
	s, err := h.Connect(ctx, hub.Hello{Node: node, Features: wire.AllFeatures.Names()})
	if err != nil {
		b.Fatal(err)
	}
	arrived := make(chan string, 10_000)
	go func() {
		for {
			c, err := s.Next(ctx)
			if err != nil {
				return
			}
			for _, o := range c.Upserts {
				if e, is := o.(*wire.Endpoint); is && e.Namespace == "ns-1" {
					arrived <- e.UID
				}
			}
		}
	}()
	return arrived
}

// latencies changes one pod after another, and gives the sorted times until each was at its node.
func latencies(b *testing.B, h *hub.Hub, arrived <-chan string, from int) []time.Duration {
	var took []time.Duration
	for i := range probes {
		generation := from + i + 1
		began := time.Now()
		hand(b, h, calc.KindPod, hostilePod(1+hostileNodes*(i%50), generation))
		for uid := range arrived {
			if uid == strconv.Itoa(generation) {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// beHostile makes, edits and removes policies of namespace ns-0 until it is to stop, and gives how many it made.
func beHostile(b *testing.B, h *hub.Hub, stop <-chan struct{}) (made int) {
	shapes := []func(string) *networkingv1.NetworkPolicy{
		func(name string) *networkingv1.NetworkPolicy { return hostilePolicy(name, 60_000, false) }, // 926 KiB
		// 10,000,000 members
		func(name string) *networkingv1.NetworkPolicy { return hostilePolicy(name, 1_000, true) },
		func(name string) *networkingv1.NetworkPolicy { return hostilePolicy(name, 250, true) }, // too many members
		// as many as are allowed
		func(name string) *networkingv1.NetworkPolicy { return hostilePolicy(name, 60, true) },
	}
	var all [][2]*networkingv1.NetworkPolicy
	for i, shape := range shapes {
		p := shape(fmt.Sprint("p-", i))
		edited := p.DeepCopy()
		edited.Spec.Ingress[0].From = edited.Spec.Ingress[0].From[1:]
		all = append(all, [2]*networkingv1.NetworkPolicy{p, edited})
	}
	for ; ; made++ {
		select {
		case <-stop:
			return made
		default:
		}
		p := all[made%len(all)]
		hand(b, h, calc.KindNetworkPolicy, p[0])
		hand(b, h, calc.KindNetworkPolicy, p[1])
		hand(b, h, calc.KindStagedKubernetesNetworkPolicy,
			&v3.StagedKubernetesNetworkPolicy{ObjectMeta: p[0].ObjectMeta,
				Spec: v3.StagedKubernetesNetworkPolicySpec{Ingress: p[made%2].Spec.Ingress}})
		if err := h.Update(b.Context(), hub.Update{Kind: calc.KindNetworkPolicy,
			Deletes: []hub.Name{{"ns-0", all[(made+2)%len(all)][0].Name}}, Seen: "1"}); err != nil {
			b.Error(err)
		}
	}
}

func hostilePolicy(name string, peers int, wide bool) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns-0", Name: name}}
	rule := networkingv1.NetworkPolicyIngressRule{}
	for i := range peers {
		peer := networkingv1.NetworkPolicyPeer{
			PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": strconv.Itoa(i)}}}
		if wide {
			peer.NamespaceSelector = &metav1.LabelSelector{}
			peer.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "a", Operator: metav1.LabelSelectorOpNotIn, Values: []string{name + strconv.Itoa(i)}}}}
		}
		rule.From = append(rule.From, peer)
	}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return p
}
