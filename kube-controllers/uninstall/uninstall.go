// Package uninstall is the last step of removing Maneki: it waits until the pods that clean the nodes have done so, and
// then removes the finalizer of IP pools, which nobody else does any more. It writes nothing else. A hook of the Helm
// chart runs it, on the main goroutine of a process of its own.
package uninstall

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// interval between two looks at the DaemonSet. It lives for seconds, so nothing is gained by a watch.
const interval = time.Second

// AwaitDaemonSet returns once every pod of the DaemonSet is ready, which those of the cleaning one
// are when their node is clean. When ctx ends first the error names the nodes that are not.
func AwaitDaemonSet(ctx context.Context, reader client.Reader, key client.ObjectKey) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last error
	for {
		ready, err := isReady(ctx, reader, key)
		if ready {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("wait for DaemonSet %s: %w", key, last)
			}
			return unready(context.WithoutCancel(ctx), reader, key)
		}
	}
}

func isReady(ctx context.Context, reader client.Reader, key client.ObjectKey) (bool, error) {
	var ds appsv1.DaemonSet
	if err := reader.Get(ctx, key, &ds); err != nil {
		return false, err
	}
	status := ds.Status
	return status.ObservedGeneration == ds.Generation && status.NumberReady == status.DesiredNumberScheduled, nil
}

// unready is the error that names the nodes whose pod is not ready.
func unready(ctx context.Context, reader client.Reader, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(key.Namespace),
		client.MatchingLabels{"k8s-app": key.Name}); err != nil {
		return fmt.Errorf("list the pods of DaemonSet %s: %w", key, err)
	}
	var nodes []string
	for _, pod := range pods.Items {
		if !podReady(&pod) {
			nodes = append(nodes, nodeOf(&pod))
		}
	}
	return fmt.Errorf("DaemonSet %s did not become ready in time on nodes: %s; run \"felix cleanup\" there by hand",
		key, strings.Join(nodes, ", "))
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// nodeOf returns the node that a DaemonSet's pod is for, also before it is scheduled there.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	affinity := pod.Spec.Affinity
	if affinity != nil && affinity.NodeAffinity != nil &&
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, field := range term.MatchFields {
				if field.Key == "metadata.name" && len(field.Values) == 1 {
					return field.Values[0]
				}
			}
		}
	}
	return "unknown (pod " + pod.Name + ")"
}
