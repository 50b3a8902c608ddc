package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/typha/hub"
)

func slice(pods ...string) string {
	text := `{"metadata":{"name":"a"},"ports":[{"port":5473}],"endpoints":[`
	for i, pod := range pods {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"addresses":["192.0.2.%d"],"targetRef":{"name":%q}}`, i+1, pod)
	}
	return text + "]}"
}

// TestShareFollowsReplicasAndNodes, once the nodes are known; and a replica knows when it is the last.
func TestShareFollowsReplicasAndNodes(t *testing.T) {
	events := make(chan string)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			_, _ = fmt.Fprintf(w, `{"metadata":{"resourceVersion":"1"},"items":[%s]}`, slice("me"))
			return
		}
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case event := <-events:
				_, _ = fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`, event)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer api.Close()
	h := hub.New(hub.Options{Kinds: []string{"Node"}})
	cfg := Config{ConnectionRebalancingMode: RebalanceKubernetes, MaxConnectionsUpperLimit: 1000, K8sPodName: "me",
		K8sServicePollInterval: time.Hour}
	r, err := findReplicas(cfg, &connect.Datastore{API: &rest.Config{Host: api.URL}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if r.alone() {
		t.Error("before the API server said anything, it is the last")
	}
	shares := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- h.Run(ctx) }()
	go func() { ended <- r.run(ctx, func(n int) { shares <- n }, h) }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}()

	nodes := hub.Update{Kind: "Node", Listed: true}
	for i := range 100 {
		nodes.Upserts = append(nodes.Upserts, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP,
				Address: fmt.Sprint("198.51.100.", i)}}}})
	}
	changed := r.watcher.Changed()
	if _, known := r.watcher.Replicas(); !known {
		<-changed // the replicas are known before the nodes are
	}
	select {
	case n := <-shares:
		t.Fatalf("share %d before the nodes are known", n)
	case <-time.After(100 * time.Millisecond):
	}
	if err := h.Update(ctx, nodes); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		event string
		share int
		alone bool
	}{{"", 121, true}, {slice("me", "other"), 61, false}, {slice("me", "other", "third"), 41, false},
		{slice("other"), 121, false}, {slice(), 121, true}} {
		if step.event != "" {
			events <- step.event
		}
		if i == 4 { // the share of one is that of none
			for deadline := time.Now().Add(time.Minute); !r.alone() && time.Now().Before(deadline); {
				<-time.After(time.Millisecond)
			}
		} else if got := <-shares; got != step.share {
			t.Errorf("step %d: share %d, want %d", i, got, step.share)
		}
		if r.alone() != step.alone {
			t.Errorf("step %d: alone is %v", i, !step.alone)
		}
	}
}
