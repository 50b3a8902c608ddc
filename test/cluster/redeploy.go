package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/test/images"
)

// workload is where a component runs: the image that holds it, and the label
// of its pods, which is also the workload's name.
type workload struct{ image, label string }

var workloads = map[string]workload{
	"felix":            {"node", "calico-node"},
	"cni-plugin":       {"node", "calico-node"},
	"calicoctl":        {"node", "calico-node"},
	"typha":            {"typha", "calico-typha"},
	"kube-controllers": {"kube-controllers", "calico-kube-controllers"},
}

// Redeploy builds a component from the checkout and puts it in place of the one
// that runs: its image goes into every node under the reference that its
// pods have, and the pods are replaced all at once. It returns when the new
// ones are Ready.
func (cl *Cluster) Redeploy(ctx context.Context, component string) error {
	w, ok := workloads[component]
	if !ok {
		return fmt.Errorf("redeploy %s: want one of %s", component,
			strings.Join(slices.Sorted(maps.Keys(workloads)), ", "))
	}
	old, err := cl.api.pods(ctx, w.label)
	if err != nil {
		return fmt.Errorf("redeploy %s: %w", component, err)
	}
	if len(old) == 0 {
		return fmt.Errorf("redeploy %s: no pod has the label k8s-app=%s: install the chart first", component, w.label)
	}
	version, err := old[0].version()
	if err != nil {
		return fmt.Errorf("redeploy %s: %w", component, err)
	}
	builder := images.Builder{Programs: cl.config.builder(), Version: version}
	archives, err := builder.Build(ctx, w.image)
	if err != nil {
		return fmt.Errorf("redeploy %s: %w", component, err)
	}
	cl.step("%s: built", archives[0].Reference)
	if err := cl.LoadImage(ctx, archives[0].Path); err != nil {
		return fmt.Errorf("redeploy %s: %w", component, err)
	}
	cl.step("%s: loaded into %d nodes", archives[0].Reference, len(cl.nodes))
	if err := cl.replacePods(ctx, w.label, old); err != nil {
		return fmt.Errorf("redeploy %s: %w", component, err)
	}
	return nil
}

// replacePods deletes the pods and waits until as many others are Ready.
func (cl *Cluster) replacePods(ctx context.Context, label string, old []pod) error {
	uids := map[string]bool{}
	for _, p := range old {
		uids[p.Metadata.UID] = true
		path := "/api/v1/namespaces/" + p.Metadata.Namespace + "/pods/" + p.Metadata.Name
		if err := cl.api.do(ctx, http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
	}
	return cl.await(ctx, "the pods of "+label, func(ctx context.Context) error {
		pods, err := cl.api.pods(ctx, label)
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range pods {
			if uids[p.Metadata.UID] {
				return fmt.Errorf("%s has not ended", p.Metadata.Name)
			}
			if p.ready() {
				ready++
			}
		}
		if ready < len(old) {
			return fmt.Errorf("%d of %d are Ready", ready, len(old))
		}
		return nil
	})
}

// pod is what Redeploy reads of a Pod.
type pod struct {
	Metadata struct{ Namespace, Name, UID string }
	Spec     struct {
		Containers []struct{ Image string }
	}
	Status struct{ Conditions []condition }
}

func (p pod) ready() bool { return isReady(p.Status.Conditions) }

// version is the tag of the pod's first container's image.
func (p pod) version() (string, error) {
	image := p.Spec.Containers[0].Image
	_, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if !ok || strings.Contains(image, "@") {
		return "", fmt.Errorf("image %s of pod %s has no tag to build", image, p.Metadata.Name)
	}
	return tag, nil
}

// pods lists the pods of all namespaces with the label k8s-app.
func (a apiClient) pods(ctx context.Context, label string) ([]pod, error) {
	var list struct{ Items []pod }
	query := url.Values{"labelSelector": {"k8s-app=" + label}}
	err := a.do(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), nil, &list)
	return list.Items, err
}
