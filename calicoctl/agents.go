package calicoctl

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	agentLabel     = "k8s-app=calico-node"
	agentContainer = "calico-node"
	// agentTimeout bounds the wait for one agent, and atOnce how many are asked at a time.
	agentTimeout = 10 * time.Second
	atOnce       = 16
)

// pods are Agents that are reached by executing `felix status` in their pods.
type pods struct {
	config *rest.Config
	core   corev1client.CoreV1Interface
}

// NewAgents returns the agents of the cluster of a connection, reached through its API server.
func NewAgents(config *rest.Config) (Agents, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for pods: %w", err)
	}
	return &pods{config: config, core: core}, nil
}

// Status implements Agents.
func (p *pods) Status(ctx context.Context, node string) ([]NodeStatus, error) {
	options := metav1.ListOptions{LabelSelector: agentLabel}
	if node != "" {
		options.FieldSelector = "spec.nodeName=" + node
	}
	list, err := p.core.Pods("").List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list pods labelled %s: %w", agentLabel, err)
	}
	var mu sync.Mutex
	var all []NodeStatus
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, pod := range list.Items {
		group.Go(func() error {
			status := p.ask(ctx, &pod)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, status)
			return nil
		})
	}
	return all, group.Wait()
}

// ask executes the agent's status command in a pod.
func (p *pods) ask(ctx context.Context, pod *corev1.Pod) NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	out, err := p.execute(ctx, pod, "felix", "status")
	if err != nil {
		return NodeStatus{Node: pod.Spec.NodeName, Error: err.Error()}
	}
	return decodeStatus(pod.Spec.NodeName, out)
}

func (p *pods) execute(ctx context.Context, pod *corev1.Pod, command ...string) ([]byte, error) {
	request := p.core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: agentContainer, Command: command, Stdout: true, Stderr: true},
			scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(p.config, "GET", request.URL().String())
	if err != nil {
		return nil, fmt.Errorf("execute in pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	var out, errs bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil {
		said := strings.TrimSpace(errs.String())
		if said != "" {
			said = ": " + said
		}
		return nil, fmt.Errorf("%s in pod %s/%s: %w%s", strings.Join(command, " "), pod.Namespace, pod.Name, err, said)
	}
	return out.Bytes(), nil
}
