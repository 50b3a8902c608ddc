package calc_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/typha/calc"
)

// shapes are those of Calico's benchmarks of a node's calculation, as test/scale says. Here the whole cluster is
// computed.
var shapes = []struct {
	name      string
	resources scale.Resources
}{
	{"labels/pods=250000,policies=10000", scale.Labelled(250_000, 10_000, 200)},
	{"networksets/pods=10000,policies=10000", scale.NetworkSets(10_000, 10_000, 200)},
	{"customers=1000", scale.Customers(1_000, 100)},
	{"customers=10000", scale.Customers(10_000, 100)},
	{"customers=100000", scale.Customers(100_000, 100)},
	{"allocated/pods=100000,policies=1000", scale.Allocated(100_000, 1_000)},
	{"cluster/nodes=5000,pods=100000,policies=10000", scale.Cluster(5_000, 100_000, 10_000)},
}

// BenchmarkSnapshot takes a cluster in and flushes once. It reports the heap that the engine then keeps.
func BenchmarkSnapshot(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				before := heap()
				var all []metav1.Object
				for o := range shape.resources {
					all = append(all, o)
				}
				runtime.GC()
				b.StartTimer()
				used := cpu()
				e := calc.New()
				for _, o := range all {
					e.Upsert(o)
				}
				delta := e.Flush()
				b.StopTimer()
				b.ReportMetric((cpu() - used).Seconds(), "cpu-s")
				b.ReportMetric(float64(len(delta.Upserts)), "objects")
				delta, all = calc.Delta{}, nil
				b.ReportMetric(float64(heap()-before)/1e6, "MB-live")
				runtime.KeepAlive(e)
				b.StartTimer()
			}
		})
	}
}

// cpu is what the process has used of all processors: on a machine with other load it says more than the time does.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChange changes one thing in the cluster of 250,000 pods and 10,000 policies by label, or of 100,000
// namespaces.
func BenchmarkChange(b *testing.B) {
	const pods = 250_000
	run := func(name string, resources scale.Resources, step func(e *calc.Engine, i int)) {
		b.Run(name, func(b *testing.B) {
			e := calc.New()
			for o := range resources {
				e.Upsert(o)
			}
			e.Flush()
			runtime.GC()
			b.ReportAllocs()
			used, n := cpu(), 0
			for ; b.Loop(); n++ {
				step(e, n)
				e.Flush()
			}
			b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(n)/1e3, "cpu-µs/op")
		})
	}
	labelled := scale.Labelled(pods, 10_000, 200)
	run("labels/pod that nothing selects otherwise", labelled, func(e *calc.Engine, i int) {
		p := scale.LabelledPod(7, 0)
		p.Labels["one-in-10"] = fmt.Sprint(i)
		e.Upsert(p)
	})
	run("labels/pod added and removed", labelled, func(e *calc.Engine, i int) {
		if p := scale.LabelledPod(pods+1, 1); i%2 == 0 {
			e.Upsert(p)
		} else {
			e.Delete(calc.KindPod, p.Namespace, p.Name)
		}
	})
	run("labels/pod relabelled", labelled, func(e *calc.Engine, i int) {
		p := scale.LabelledPod(7, 0)
		p.Labels = scale.LabelledPod(i, 0).Labels
		e.Upsert(p)
	})
	run("labels/policy added and removed", labelled, func(e *calc.Engine, i int) {
		if p := scale.LabelledPolicy(10_000); i%2 == 0 {
			e.Upsert(p)
		} else {
			e.Delete(calc.KindGlobalNetworkPolicy, "", p.Name)
		}
	})
	run("networksets/rules of a policy changed", scale.NetworkSets(10_000, 10_000, 200), func(e *calc.Engine, i int) {
		p := scale.SetPolicy(i % 10_000)
		p.Spec.Ingress[0].Source.NotNets = []string{fmt.Sprintf("192.0.2.%d/32", i/10_000%250)}
		e.Upsert(p)
	})
	run("customers/pod relabelled", scale.Customers(100_000, 100), func(e *calc.Engine, i int) {
		p := scale.CustomerPod(7, 0)
		p.Labels["canary"] = fmt.Sprint(i % 2)
		e.Upsert(p)
	})
	cluster := scale.Cluster(5_000, 100_000, 10_000)
	run("cluster/pod replaced on another node", cluster, func(e *calc.Engine, i int) {
		p := scale.ClusterPod(i%100_000, i%5_000+i%2)
		p.UID = "u" + p.UID
		e.Upsert(p)
	})
}

// BenchmarkManySelectors changes a label of a pod among selectors, each of which selects by a value of its own.
func BenchmarkManySelectors(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint("selectors=", n), func(b *testing.B) {
			e := calc.New()
			for i := range n {
				p := scale.LabelledPolicy(i)
				p.Spec.Selector = fmt.Sprintf("app == 'app-%d'", i)
				p.Spec.Ingress[0].Source.Selector = fmt.Sprintf("app == 'app-%d' && has(role)", i)
				e.Upsert(p)
			}
			e.Flush()
			pods := make([]*corev1.Pod, 1_000)
			for i := range pods {
				pods[i] = scale.LabelledPod(0, 0)
				pods[i].Labels["app"], pods[i].Labels["role"] = fmt.Sprintf("app-%d", i*7%n), "x"
			}
			b.ReportAllocs()
			used, i := cpu(), 0
			for ; b.Loop(); i++ {
				e.Upsert(pods[i%len(pods)])
				e.Flush()
			}
			b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(i)/1e3, "cpu-µs/op")
		})
	}
}
