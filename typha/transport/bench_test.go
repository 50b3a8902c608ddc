package transport

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// countingStream is a node's stream without a network: it says when a message was handed to it.
type countingStream struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan<- int
}

func (c countingStream) Context() context.Context { return c.ctx }

func (c countingStream) SendMsg(m any) error {
	size := 0
	for _, part := range m.([][]byte) {
		size += len(part)
	}
	c.sent <- size
	return nil
}

// BenchmarkChangeToAllNodes changes a set of 100,000 members that nodes need, and waits until each has the change as
// octets: what Typha does but for the transport.
func BenchmarkChangeToAllNodes(b *testing.B) {
	for _, nodes := range []int{1, 500, 5000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			h := hub.New(hub.Options{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy}})
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- h.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			hand := func(kind string, objects ...metav1.Object) {
				if err := h.Update(ctx, hub.Update{Kind: kind, Upserts: objects, Changed: "1", Seen: "1",
					Listed: true}); err != nil {
					b.Fatal(err)
				}
			}
			var pods []metav1.Object
			for i := range nodes {
				pods = append(pods, hubtest.Pod(fmt.Sprint("w", i), fmt.Sprint("n", i), "web", ""))
			}
			for i := range 100_000 {
				pods = append(pods, hubtest.Pod(fmt.Sprint("db", i), "elsewhere", "db",
					fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
			}
			hand(calc.KindNetworkPolicy, hubtest.AllowFrom("db"))
			hand(calc.KindPod, pods...)
			s := &Server{opts: ServerOptions{Hub: h, Metrics: NewMetrics(nil), PingInterval: 1 << 62},
				cache: newPartCache()}
			sent := make(chan int, nodes)
			for i := range nodes {
				session, err := h.Connect(ctx, hub.Hello{Node: fmt.Sprint("n", i), Features: wire.AllFeatures.Names()})
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					w := s.writer(countingStream{ctx: ctx, sent: sent}, session.Lacks())
					_ = s.send(ctx, w, session, &pings{metrics: s.opts.Metrics})
				}()
			}
			snapshot := 0
			for range nodes {
				snapshot += <-sent
			}
			octets := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				hand(calc.KindPod, hubtest.Pod("changing", "elsewhere", "db",
					fmt.Sprintf("11.0.%d.%d", i>>8&255, i&255)))
				for range nodes {
					octets += <-sent
				}
			}
			b.ReportMetric(float64(snapshot)/float64(nodes), "octets/snapshot")
			b.ReportMetric(float64(octets)/float64(nodes)/float64(b.N), "octets/node")
		})
	}
}
