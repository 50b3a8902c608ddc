package daemon

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/events"
)

// apply applies manifests as a user does, and returns what kubectl says on its standard error.
func (w *world) apply(t *testing.T, manifests string) (warnings string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.server.Kubectl, "--kubeconfig="+w.server.Kubeconfig, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, stderr.String())
	}
	return stderr.String()
}

// eventsOf returns the events of kube-controllers on an object: "reason: message" each.
func (w *world) eventsOf(t *testing.T, kind, name string) (all []string) {
	t.Helper()
	var list corev1.EventList
	if err := w.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Source.Component == events.Owner {
			all = append(all, fmt.Sprintf("%s: %s", e.Reason, e.Message))
		}
	}
	return all
}

// withoutEffect are objects of which something has no effect: one of each class of things that users can write. told is
// what the warning and the event name.
var withoutEffect = []struct{ kind, name, manifest, reason, told string }{
	{"FelixConfiguration", "node.n3",
		felixKind + "metadata: {name: node.n3}\nspec: {bpfEnabled: true, chainInsertMode: Append}",
		"Unprotected", "spec.bpfEnabled: has no effect"},
	{"FelixConfiguration", "node.n4", felixKind + "metadata: {name: node.n4}\nspec: {chainInsertMode: Append}",
		"NoEffect", `spec.chainInsertMode: "Append" has no effect`},
	{"FelixConfiguration", "log-level", felixKind + "metadata: {name: log-level}\nspec: {logSeverityScreen: Debug}",
		"NoEffect", `metadata.name: "log-level" has no effect`},
	{"BGPConfiguration", "service-cidr", "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\n" +
		"metadata: {name: service-cidr}\nspec: {serviceClusterIPs: [{cidr: 10.96.0.0/12}]}",
		"NoEffect", "spec.serviceClusterIPs"},
	{"KubeControllersConfiguration", "other", "apiVersion: projectcalico.org/v3\nkind: KubeControllersConfiguration\n" +
		"metadata: {name: other}\nspec: {controllers: {policy: {reconcilerPeriod: 10m}}}",
		"NoEffect", "spec.controllers.policy"},
	{"IPPool", "ipip", poolKind + "metadata: {name: ipip}\nspec: {cidr: 10.98.0.0/24, ipipMode: Always}",
		"Unprotected", "spec.ipipMode"},
	{"IPPool", "services", poolKind +
		"metadata: {name: services}\nspec: {cidr: 10.99.0.0/24, allowedUses: [LoadBalancer]}",
		"Unprotected", "spec.allowedUses"},
	{"GlobalNetworkPolicy", "noted",
		"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: noted}\n" +
			"spec: {selector: all(), types: [Ingress], ingress: [{action: Allow, metadata: {annotations: {by: me}}}]}",
		"NoEffect", "spec.ingress[].metadata"},
	{"Pod", "dialled", podKind +
		"metadata: {name: dialled, namespace: default, annotations: {cni.projectcalico.org/hwAddr: " +
		"'02:00:00:00:00:01'}}\n" + podSpec,
		"NoEffect", "annotation cni.projectcalico.org/hwAddr"},
	{"Pod", "limited", podKind +
		"metadata: {name: limited, namespace: default, annotations: {qos.projectcalico.org/ingressBandwidth: 1M}}\n" +
		podSpec,
		"Unprotected", "annotation qos.projectcalico.org/ingressBandwidth"},
	{"Namespace", "families", "apiVersion: v1\nkind: Namespace\nmetadata: {name: families, annotations: " +
		"{cni.projectcalico.org/ipFamilies: '[\"IPv4\"]'}}",
		"NoEffect", "annotation cni.projectcalico.org/ipFamilies"},
	{"Namespace", "ambient", "apiVersion: v1\nkind: Namespace\nmetadata: {name: ambient, labels: " +
		"{istio.io/dataplane-mode: ambient}}",
		"NoEffect", "label istio.io/dataplane-mode"},
	{"Service", "balanced", "apiVersion: v1\nkind: Service\n" +
		"metadata: {name: balanced, namespace: default, annotations: {projectcalico.org/natExcludeService: " +
		"'true'}}\nspec: {ports: [{port: 80}]}",
		"NoEffect", "annotation projectcalico.org/natExcludeService"},
}

const (
	felixKind = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n"
	poolKind  = "apiVersion: projectcalico.org/v3\nkind: IPPool\n"
	podKind   = "apiVersion: v1\nkind: Pod\n"
	podSpec   = "spec: {nodeName: n1, terminationGracePeriodSeconds: 0, automountServiceAccountToken: false, " +
		"containers: [{name: c, image: none}]}"
)

// sound are objects of the same kinds of which all has effect.
const sound = felixKind + "metadata: {name: node.sound}\nspec: {logSeverityScreen: Debug, bpfEnabled: false, " +
	"wireguardEnabled: false}\n---\n" +
	poolKind + "metadata: {name: sound}\nspec: {cidr: 10.97.0.0/24, ipipMode: Never, vxlanMode: Always}\n---\n" +
	podKind + "metadata: {name: sound, namespace: default, labels: {istio.io/dataplane-mode: none}, annotations: " +
	"{cni.projectcalico.org/ipv4pools: '[\"sound\"]'}}\n" + podSpec + "\n---\n" +
	"apiVersion: v1\nkind: Namespace\nmetadata: {name: sound, annotations: {cni.projectcalico.org/ipv4pools: " +
	"'[\"sound\"]'}}\n---\n" +
	"apiVersion: v1\nkind: Service\nmetadata: {name: sound, namespace: default}\nspec: {ports: [{port: 80}]}\n---\n" +
	"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: sound}\nspec: {selector: all(), " +
	"types: [Ingress], ingress: [{action: Allow}]}\n"

// effects: who writes what has no effect is warned, and the object has an event, until that is gone.
func (w *world) effects(t *testing.T) {
	if warnings := w.apply(t, sound); warnings != "" {
		t.Errorf("kubectl says of what has effect: %s", warnings)
	}
	for _, c := range withoutEffect {
		if warnings := w.apply(t, c.manifest); !strings.Contains(warnings, c.told) {
			t.Errorf("kubectl says of %s %s %q, and nothing of %q", c.kind, c.name, warnings, c.told)
		}
	}
	for _, c := range withoutEffect {
		eventually(t, "event on "+c.kind+" "+c.name, func() error {
			for _, e := range w.eventsOf(t, c.kind, c.name) {
				if strings.HasPrefix(e, c.reason+": ") && strings.Contains(e, c.told) &&
					strings.Contains(e, "What to do: ") {
					return nil
				}
			}
			return fmt.Errorf("events %q, want %s of %q", w.eventsOf(t, c.kind, c.name), c.reason, c.told)
		})
	}
	for _, kind := range []string{"FelixConfiguration", "BGPConfiguration", "KubeControllersConfiguration",
		"ClusterInformation", "IPPool",
		"Pod", "Namespace", "Service", "GlobalNetworkPolicy"} {
		for _, name := range []string{"sound", "node.sound", "default"} {
			if told := w.eventsOf(t, kind, name); len(told) > 0 {
				t.Errorf("events on %s %s, of which all has effect: %q", kind, name, told)
			}
		}
	}
	t.Run("conditions", w.effectsOnPools)
	t.Run("templates", w.effectsOfTemplates)
	t.Run("gone", w.effectsGone)
}

// effectsOnPools: a pool that asks for what is not there is not Allocatable, and the condition names the field that the
// event names.
func (w *world) effectsOnPools(t *testing.T) {
	for name, message := range map[string]string{"ipip": "spec.ipipMode", "services": "spec.allowedUses", "sound": ""} {
		eventually(t, "condition of pool "+name, func() error {
			pool := &v3.IPPool{}
			if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, pool); err != nil {
				return err
			}
			c := meta.FindStatusCondition(pool.Status.Conditions, "Allocatable")
			if c == nil || (c.Status == metav1.ConditionTrue) != (message == "") ||
				!strings.Contains(c.Message, message) {
				return fmt.Errorf("condition %+v, want a message with %q", c, message)
			}
			return nil
		})
	}
}

// effectsOfTemplates: a workload is warned of for the pods that it will make, and again only when that changes.
func (w *world) effectsOfTemplates(t *testing.T) {
	const template = "{metadata: {labels: {a: b}, annotations: {kubernetes.io/egress-bandwidth: 1M}}, spec: " +
		"{restartPolicy: %s, containers: [{name: c, image: none}]}}"
	for kind, manifest := range map[string]string{
		"Deployment": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: default}\n" +
			"spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: " + fmt.Sprintf(template, "Always") + "}",
		"CronJob": "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c, namespace: default}\n" +
			"spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: " + fmt.Sprintf(template, "Never") + "}}}",
	} {
		const told = "annotation kubernetes.io/egress-bandwidth has no effect"
		if warnings := w.apply(t, manifest); !strings.Contains(warnings, told) {
			t.Errorf("kubectl says of a %s %q", kind, warnings)
		}
		other := strings.Replace(manifest, "metadata: {name", "metadata: {labels: {other: label}, name", 1)
		if warnings := w.apply(t, other); strings.Contains(warnings, told) {
			t.Errorf("kubectl says of a change of something else of a %s %q", kind, warnings)
		}
	}
	const owned = podKind + "metadata: {name: owned, namespace: default, annotations: " +
		"{kubernetes.io/egress-bandwidth: 1M}, " +
		"ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: 7b1c, controller: true}]}\n" + podSpec
	if warnings := w.apply(t, owned); warnings != "" {
		t.Errorf("the controller that makes a pod is warned: %q", warnings)
	}
}

// effectsGone: what is mended has another event, that names what it was.
func (w *world) effectsGone(t *testing.T) {
	w.apply(t, felixKind+"metadata: {name: node.n3}\nspec: {logSeverityScreen: Debug}")
	w.apply(t, podKind+"metadata: {name: dialled, namespace: default}\n"+podSpec)
	for kind, name := range map[string]string{"FelixConfiguration": "node.n3", "Pod": "dialled"} {
		eventually(t, "event of what is gone from "+kind, func() error {
			for _, e := range w.eventsOf(t, kind, name) {
				if strings.HasPrefix(e, "Effective: ") && strings.Contains(e, "has no effect") {
					return nil
				}
			}
			return fmt.Errorf("events %q", w.eventsOf(t, kind, name))
		})
	}
}
