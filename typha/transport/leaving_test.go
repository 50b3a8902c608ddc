package transport

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// ready are the replicas that are ready, in the order in which they are tried.
type ready struct {
	mu        sync.Mutex
	addresses []string
	changed   chan struct{}
}

func (r *ready) set(addresses ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses = addresses
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *ready) Addresses() ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.addresses) == 0 {
		return nil, errors.New("there is no replica")
	}
	return slices.Clone(r.addresses), nil
}

func (r *ready) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// TestNodeLeavesAReplicaThatIsNotReady for one that is, after minutes; it stays where none is, and comes back if it
// reaches no other.
func TestNodeLeavesAReplicaThatIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
		s := newSite(t)
		dials, opened := map[string]func(context.Context, string) (net.Conn, error){}, map[string]func() float64{}
		for _, address := range []string{"a", "b"} {
			registry := prometheus.NewRegistry()
			dial, stopServer := s.inMemory(h, ServerOptions{TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer),
				Metrics: NewMetrics(registry)})
			defer stopServer()
			dials[address] = dial
			opened[address] = func() float64 { return metrictest.Value(t, registry, "typha_connections_accepted") }
		}
		replicas := &ready{changed: make(chan struct{})}
		replicas.set("a", "b")
		var file string
		c := s.client(nil, func(o *ClientOptions) {
			file, o.Replicas = o.TokenFile, replicas
			o.dial = func(ctx context.Context, address string) (net.Conn, error) {
				if dial := dials[address]; dial != nil {
					return dial(ctx, address)
				}
				return nil, errors.New("no route to host")
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		var f follower
		go func() {
			for {
				commit, err := c.Next(ctx)
				if err != nil {
					return
				}
				f.upserts.Add(int32(len(commit.Upserts)))
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		after := func(d time.Duration, addresses ...string) (a, b float64) {
			put(t, file, s.issuer.Token("n1", nil))
			before := [2]float64{opened["a"](), opened["b"]()}
			replicas.set(addresses...)
			time.Sleep(d)
			synctest.Wait()
			return opened["a"]() - before[0], opened["b"]() - before[1]
		}
		for range 3 {
			if a, b := after(2*time.Minute, "b"); a+b > 0 {
				t.Error("it left a replica that was not ready for 2 minutes")
			}
			if a, b := after(30*time.Minute, "b", "a"); a+b > 0 {
				t.Error("it left a replica that was ready again")
			}
			if a, b := after(30 * time.Minute); a+b > 0 {
				t.Error("it left a replica where none was ready")
			}
		}
		if a, b := after(40*time.Minute, "away"); a < 1 || a > 3 || b > 0 {
			t.Errorf("the other replica is out of reach, and it came back %v times in 40 minutes", a)
		}
		hubtest.Update(t, h, 2, nil, hubtest.Pod("b", "n1", "web", ""))
		if a, b := after(50*time.Minute, "b"); a > 0 || b != 1 {
			t.Errorf("another replica is ready: %v streams from the old one, %v from that", a, b)
		}
		hubtest.Update(t, h, 3, nil, hubtest.Pod("c", "n1", "web", ""))
		synctest.Wait()
		if f.upserts.Load() != 4 {
			t.Errorf("the node was given %d objects, want 4, each once", f.upserts.Load())
		}
		if got, _ := c.chooser.Addresses(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("having found another replica, it would try %v", got)
		}
		cancel()
		<-running
	})
}

// TestNodeLeavesAReplicaThatNeverServes: a node that took a replica which has yet to read the datastore, because none
// was ready, goes to the first that is.
func TestNodeLeavesAReplicaThatNeverServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, stopReads := hubtest.Start(t)
		defer stopReads()
		hubtest.List(t, reads, 1, hubtest.Pod("a", "n1", "web", ""))
		waits, stopWaits := hubtest.Start(t)
		defer stopWaits()
		s := newSite(t)
		dials, asked := map[string]func(context.Context, string) (net.Conn, error){}, map[string]int{}
		for address, h := range map[string]*hub.Hub{"waits": waits, "reads": reads} {
			dial, stopServer := s.inMemory(h, ServerOptions{TLS: s.tls("typha", "felix"), Tokens: verifier(s.issuer)})
			defer stopServer()
			dials[address] = dial
		}
		replicas := &ready{changed: make(chan struct{})}
		replicas.set("waits")
		c := s.client(nil, func(o *ClientOptions) {
			o.Replicas = replicas
			o.dial = func(ctx context.Context, address string) (net.Conn, error) {
				asked[address]++
				return dials[address](ctx, address)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- c.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if asked["waits"] != 1 {
			t.Errorf("it connected %d times to the one replica that there is, want once", asked["waits"])
		}
		replicas.set("reads")
		inTime, stop := context.WithTimeout(ctx, 30*time.Second)
		defer stop()
		if _, err := c.Next(inTime); err != nil {
			t.Errorf("another replica has been ready for 30 seconds: %v", err)
		}
		cancel()
		<-running
	})
}
