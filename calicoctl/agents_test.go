package calicoctl

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// The channels of Kubernetes' exec protocol, the first octet of each message.
const (
	stdoutChannel = 1
	stderrChannel = 2
	errorChannel  = 3
)

// cluster answers what NewAgents asks an API server: a list of pods, and commands in them.
type cluster struct {
	t *testing.T
	// answers are what the agents print, by node; a node with none has an agent that fails.
	answers map[string]string
}

func (c cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.URL.Path == "/api/v1/pods" {
		if got := query.Get("labelSelector"); got != "k8s-app=calico-node" {
			c.t.Errorf("label selector %q", got)
		}
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for node := range c.answers {
			if only := query.Get("fieldSelector"); only == "" || only == "spec.nodeName="+node {
				list.Items = append(list.Items, corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: "net", Name: "calico-node-" + node},
					Spec:       corev1.PodSpec{NodeName: node}})
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(list); err != nil {
			c.t.Error(err)
		}
		return
	}
	node := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/net/pods/calico-node-"), "/exec")
	if command := query["command"]; !slices.Equal(command, []string{"felix", "status"}) ||
		query.Get("container") != "calico-node" {
		c.t.Errorf("command %q in container %q", command, query.Get("container"))
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		c.t.Errorf("exec: %v", err)
		return
	}
	defer conn.Close()
	defer func() {
		if err := conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure,
			"")); err != nil {
			c.t.Errorf("exec: %v", err)
		}
	}()
	say := func(channel byte, text string) {
		if err := conn.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, text...)); err != nil {
			c.t.Errorf("exec: %v", err)
		}
	}
	if answer := c.answers[node]; answer != "" {
		say(stdoutChannel, answer)
		say(errorChannel, `{"metadata":{},"status":"Success"}`)
		return
	}
	say(stderrChannel, "felix is not running")
	say(errorChannel, `{"metadata":{},"status":"Failure","message":"command terminated with exit code 1","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"1"}]}}`)
}

func TestAgentsAreAskedInTheirPods(t *testing.T) {
	server := httptest.NewServer(cluster{t, map[string]string{
		"n1": `{"node":"n1","inSync":true,"bgp":{"asNumber":64512,"routerID":"10.0.0.1","synced":true,"routes":2}}`,
		"n2": "",
	}})
	t.Cleanup(server.Close)
	agents, err := NewAgents(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := agents.Status(t.Context(), "")
	if err != nil || len(nodes) != 2 {
		t.Fatalf("status of all: %+v, %v", nodes, err)
	}
	for _, n := range nodes {
		switch n.Node {
		case "n1":
			if !n.InSync || n.BGP.ASNumber != 64512 || n.BGP.Routes != 2 {
				t.Errorf("n1: %+v", n)
			}
		case "n2":
			want := NodeStatus{Node: "n2", Error: "felix status in pod net/calico-node-n2: command terminated with " +
				"exit code 1: felix is not running"}
			if diff := cmp.Diff(want.Error, n.Error); diff != "" || n.InSync {
				t.Errorf("n2 (-want +got):\n%s", diff)
			}
		}
	}
	if nodes, err := agents.Status(t.Context(), "n2"); err != nil || len(nodes) != 1 || nodes[0].Node != "n2" {
		t.Errorf("status of n2: %+v, %v", nodes, err)
	}
}
