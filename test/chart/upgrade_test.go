package chart

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestWhatIsFilledInStays installs the chart with Helm, fills in what kube-controllers fills in, and applies the
// chart again: by an upgrade with other values, and by server-side apply, which some GitOps controllers use.
func TestWhatIsFilledInStays(t *testing.T) {
	in := install(t, nil)
	release := in.helm(t)
	release("install")
	for _, name := range secrets {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		in.patch(t, secret, `{"data":{"tls.key":"eA=="}}`)
	}
	webhooks := &registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "maneki"}}
	in.patch(t, webhooks, `{"webhooks":[{"name":"default.projectcalico.org","clientConfig":{"caBundle":"eA=="}}]}`)

	release("upgrade", "typha.replicas=2", "kubeControllers.webhookFailurePolicy=Fail")
	in.checkFilled(t, "an upgrade")
	if err := in.Get(t.Context(), client.ObjectKeyFromObject(webhooks), webhooks); err != nil {
		t.Fatal(err)
	}
	if *webhooks.Webhooks[0].FailurePolicy != registration.Fail {
		t.Error("the upgrade changed nothing")
	}
	var manifest bytes.Buffer
	for _, o := range render(t) {
		if kind := o.GetKind(); kind == "Secret" || kind == "MutatingWebhookConfiguration" {
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&manifest, "---\n%s", text)
		}
	}
	apply := exec.CommandContext(t.Context(), in.server.Kubectl, "--kubeconfig="+in.server.Kubeconfig,
		"apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-")
	apply.Stdin = strings.NewReader(manifest.String())
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
	in.checkFilled(t, "server-side apply")
}

// helm deletes what install made, which is Helm's to make, and returns the function that runs Helm for the release.
func (in *installed) helm(t *testing.T) func(verb string, set ...string) {
	t.Helper()
	for _, o := range render(t) {
		if err := in.Delete(t.Context(), o); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	return func(verb string, set ...string) {
		t.Helper()
		args := []string{verb, "maneki", dir(t), "--namespace=" + namespace, "--kubeconfig=" + in.server.Kubeconfig,
			"--skip-crds"}
		for _, value := range set {
			args = append(args, "--set="+value)
		}
		if stdout, stderr, err := helm(t, args...); err != nil {
			t.Fatalf("helm %s: %v\n%s%s", verb, err, stdout, stderr)
		}
	}
}

// secrets are those that kube-controllers fills.
var secrets = []string{"maneki-ca", "maneki-webhook-tls", "calico-typha-tls", "calico-node-tls"}

func (in *installed) patch(t *testing.T, o client.Object, body string) {
	t.Helper()
	if err := in.Patch(t.Context(), o, client.RawPatch("application/strategic-merge-patch+json",
		[]byte(body))); err != nil {
		t.Fatal(err)
	}
}

// checkFilled: what was filled in is there.
func (in *installed) checkFilled(t *testing.T, after string) {
	t.Helper()
	for _, name := range secrets {
		secret := &corev1.Secret{}
		err := in.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, secret)
		if err != nil || string(secret.Data["tls.key"]) != "x" {
			t.Errorf("after %s Secret %s has %v, error %v", after, name, secret.Data, err)
		}
	}
	webhooks := &registration.MutatingWebhookConfiguration{}
	err := in.Get(t.Context(), client.ObjectKey{Name: "maneki"}, webhooks)
	if err != nil || len(webhooks.Webhooks) != 1 || string(webhooks.Webhooks[0].ClientConfig.CABundle) != "x" {
		t.Errorf("after %s the webhooks are %+v, error %v", after, webhooks.Webhooks, err)
	}
}
