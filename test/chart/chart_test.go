package chart

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/datastore"
	felixconfig "github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/kube-controllers/certificates"
	controllersdaemon "github.com/maneki-net/maneki/kube-controllers/daemon"
	"github.com/maneki-net/maneki/typha/calc/compile"
	typhadaemon "github.com/maneki-net/maneki/typha/daemon"
)

const (
	root      = "../.."
	namespace = "some-namespace"
)

var update = flag.Bool("update", false, "copy the generated CRDs into the chart")

func render(t *testing.T, set ...string) []*unstructured.Unstructured {
	t.Helper()
	return Render(t, namespace, set...)
}

func template(t *testing.T, set ...string) (stdout, stderr string, err error) {
	t.Helper()
	return helm(t, templateArgs(t, namespace, set)...)
}

// find gives the object of a kind and name as its Go type, or false.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) (T, bool) {
	t.Helper()
	var typed T
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &typed,
				true); err != nil {
				t.Fatalf("%s %s: %v", kind, name, err)
			}
			return typed, true
		}
	}
	return typed, false
}

func mustFind[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) T {
	t.Helper()
	typed, found := find[T](t, objects, kind, name)
	if !found {
		t.Fatalf("the chart makes no %s %s", kind, name)
	}
	return typed
}

func TestLint(t *testing.T) {
	stdout, stderr, err := helm(t, "lint", "--strict", dir(t))
	if err != nil {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

func TestCRDsAreTheGeneratedOnes(t *testing.T) {
	generated, chart := filepath.Join(root, "api", "crds"), filepath.Join(filepath.Join(root, "charts", "maneki"),
		"crds")
	want := folder(t, generated)
	if *update {
		for name, content := range want {
			if err := os.WriteFile(filepath.Join(chart, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("no CRDs are generated")
	}
	got := folder(t, chart)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("the chart's %s is not the generated one: run make generate", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the chart has %d CRDs, %d are generated", len(got), len(want))
	}
}

// folder gives the content of a folder's YAML files by name.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".yaml" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

func TestMisspeltValuesAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"ippools[0].name=x":               "'ippools'",
		"image.registery=x":               "'registery'",
		"image.pullPolicy=Sometimes":      "/image/pullPolicy",
		"node.enviroment.A=b":             "'enviroment'",
		"node.metricsPort=70000":          "/node/metricsPort",
		"cni.mtu=70":                      "/cni/mtu",
		"cni.binDir=opt/cni/bin":          "/cni/binDir",
		"typha.replicas=-1":               "/typha/replicas",
		"typha.enabled=perhaps":           "/typha/enabled",
		"kubeControllers.resources.cpu=1": "'cpu'",
		"ipPools[0].cidr=10.0.0.0/8":      "'cidr'",
	} {
		if _, stderr, err := template(t, set); err == nil || !strings.Contains(stderr, want) {
			t.Errorf("--set %s: got %v, %s; want a refusal that names %s", set, err, stderr, want)
		}
	}
}

// workloads gives the pod template of every workload by kind and name.
func workloads(t *testing.T, objects []*unstructured.Unstructured) map[string]corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]corev1.PodTemplateSpec{}
	for _, o := range objects {
		switch kind, name := o.GetKind(), o.GetName(); kind {
		case "DaemonSet":
			templates[kind+" "+name] = mustFind[appsv1.DaemonSet](t, objects, kind, name).Spec.Template
		case "Deployment":
			templates[kind+" "+name] = mustFind[appsv1.Deployment](t, objects, kind, name).Spec.Template
		case "Job":
			templates[kind+" "+name] = mustFind[batchv1.Job](t, objects, kind, name).Spec.Template
		}
	}
	return templates
}

func TestWorkloads(t *testing.T) {
	for _, typha := range []bool{true, false} {
		t.Run(fmt.Sprintf("typha %t", typha), func(t *testing.T) {
			objects := render(t, fmt.Sprintf("typha.enabled=%t", typha), "image.registry=example.org/x", "image.tag=v9")
			pods := workloads(t, objects)
			if _, found := pods["Deployment calico-typha"]; found != typha {
				t.Errorf("has a Typha: %t", found)
			}
			for name, pod := range pods {
				// Each must come up where there is no pod network yet, on tainted nodes too.
				if !pod.Spec.HostNetwork || len(pod.Spec.Tolerations) < 2 {
					t.Errorf("%s depends on the pod network, or does not tolerate every taint", name)
				}
				if account := pod.Spec.ServiceAccountName; account != "" {
					mustFind[corev1.ServiceAccount](t, objects, "ServiceAccount", account)
				}
				volumes := map[string]bool{}
				for _, volume := range pod.Spec.Volumes {
					volumes[volume.Name] = true
					if volume.Secret != nil {
						mustFind[corev1.Secret](t, objects, "Secret", volume.Secret.SecretName)
					}
				}
				for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
					if !strings.HasPrefix(c.Image, "example.org/x/") || !strings.HasSuffix(c.Image, ":v9") {
						t.Errorf("%s: container %s has image %s", name, c.Name, c.Image)
					}
					for _, mount := range c.VolumeMounts {
						if !volumes[mount.Name] {
							t.Errorf("%s: container %s mounts volume %s, which is not there", name, c.Name, mount.Name)
						}
					}
				}
			}
		})
	}
}

// environment gives the variables of a workload's container that have a value.
func environment(t *testing.T, pods map[string]corev1.PodTemplateSpec, workload string) []string {
	t.Helper()
	var variables []string
	for _, c := range pods[workload].Spec.Containers {
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				variables = append(variables, e.Name+"="+e.Value)
			}
		}
	}
	if len(variables) == 0 {
		t.Fatalf("%s has no environment", workload)
	}
	return variables
}

func TestComponentsUnderstandTheirEnvironment(t *testing.T) {
	pods := workloads(t, render(t, "node.logLevel=debug", "typha.logLevel=warning", "node.env.FELIX_VXLANPORT=4790",
		"typha.env.TYPHA_HEALTHPORT=9198", "typha.env.TYPHA_POLICYMAXRULES=77",
		"kubeControllers.env.LEAK_GRACE_PERIOD=1m"))
	// An unknown setting and a value that cannot be used are errors of Resolve.
	environ := environment(t, pods, "DaemonSet calico-node")
	if _, err := felixconfig.Resolve(felixconfig.Environment(environ), felixconfig.Defaults(environ)); err != nil {
		t.Error("Felix refuses its environment:", err)
	}
	typha, err := typhadaemon.ParseConfig(environment(t, pods, "Deployment calico-typha"), nil)
	if err != nil || typha.HealthPort != 9198 {
		t.Errorf("Typha reads its environment as health port %d, %v; want 9198", typha.HealthPort, err)
	}
	controllers, err := controllersdaemon.ParseConfig(environment(t, pods, "Deployment calico-kube-controllers"), nil)
	if err != nil || controllers.LeakGracePeriod != time.Minute {
		t.Errorf("kube-controllers reads its environment as grace period %v, %v; want 1m", controllers.LeakGracePeriod,
			err)
	}
	if typha.Budget.PolicyRules != 77 || controllers.Budget.PolicyRules != 77 {
		t.Errorf("a policy may have %d rules for Typha, and %d for admission; want 77", typha.Budget.PolicyRules,
			controllers.Budget.PolicyRules)
	}
}

// TestFelixConfigurationHolds: what the chart sets of its own gives way to the FelixConfiguration, but for the health
// endpoint, which the chart's probes ask.
func TestFelixConfigurationHolds(t *testing.T) {
	environ := environment(t, workloads(t, render(t)), "DaemonSet calico-node")
	resource := felixconfig.Source{Name: "FelixConfiguration default", Resource: true, Values: map[string]string{}}
	for _, s := range felixconfig.Table {
		if other := map[string]string{"ACCEPT": "DROP", "true": "false", "false": "true", "info": "DEBUG",
			"9091": "9092"}; !s.Local {
			for _, entry := range environ {
				name, value, _ := strings.Cut(entry, "=")
				if strings.EqualFold(name, "FELIX_"+s.Name) || strings.EqualFold(name, "FELIXDEFAULT_"+s.Name) {
					resource.Values[s.Name] = other[value]
				}
			}
		}
	}
	sources := []felixconfig.Source{felixconfig.Environment(environ), felixconfig.Defaults(environ)}
	c, err := felixconfig.Resolve(sources...)
	if err != nil || c.DefaultEndpointToHostAction != "ACCEPT" || !c.PrometheusMetricsEnabled ||
		len(resource.Values) != 5 {
		t.Errorf("without a FelixConfiguration: %+v, %v; the chart sets %v", c, err, resource.Values)
	}
	sources = append(sources, resource)
	c, err = felixconfig.Resolve(sources...)
	if err != nil || c.DefaultEndpointToHostAction != "DROP" || c.PrometheusMetricsEnabled ||
		c.PrometheusMetricsPort != 9092 || c.LogSeverityScreen != "DEBUG" {
		t.Errorf("with a FelixConfiguration: %+v, %v", c, err)
	}
	if hidden := felixconfig.Hidden(sources...); len(hidden) != 1 || !strings.Contains(hidden[0], "healthEnabled") ||
		!c.HealthEnabled {
		t.Errorf("hidden: %q, want healthEnabled alone", hidden)
	}
}

// TestReplicasOfTypha: either the value says how many there are, or kube-controllers does, and may.
func TestReplicasOfTypha(t *testing.T) {
	for value, want := range map[string]struct {
		replicas   *int32
		controlled bool
	}{
		"typha.replicas=0":    {nil, true},
		"typha.replicas=4":    {new(int32(4)), false},
		"typha.enabled=false": {nil, false},
	} {
		t.Run(value, func(t *testing.T) {
			objects := render(t, value)
			typha, found := find[appsv1.Deployment](t, objects, "Deployment", "calico-typha")
			if replicas := typha.Spec.Replicas; found && (replicas == nil) != (want.replicas == nil) ||
				replicas != nil && *replicas != *want.replicas {
				t.Errorf("the Deployment has replicas %v", replicas)
			}
			controllers, err := controllersdaemon.ParseConfig(environment(t, workloads(t, objects),
				"Deployment calico-kube-controllers"), nil)
			if err != nil || (controllers.TyphaDeployment == "calico-typha") != want.controlled {
				t.Errorf("kube-controllers scales %q, %v", controllers.TyphaDeployment, err)
			}
			role := mustFind[rbacv1.Role](t, objects, "Role", "calico-kube-controllers")
			allowed := slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
				return slices.Contains(r.Resources, "deployments/scale") &&
					slices.Equal(r.ResourceNames, []string{"calico-typha"})
			})
			if allowed != want.controlled {
				t.Errorf("kube-controllers may scale Typha: %t", allowed)
			}
		})
	}
}

// TestControllersHearTypha: where there is one, kube-controllers may follow it, as a client and not as a server, and
// write what it says; without one it may neither.
func TestControllersHearTypha(t *testing.T) {
	for _, typha := range []bool{true, false} {
		t.Run(fmt.Sprintf("typha %t", typha), func(t *testing.T) {
			objects := render(t, fmt.Sprintf("typha.enabled=%t", typha))
			pods := workloads(t, objects)
			controllers, err := controllersdaemon.ParseConfig(environment(t, pods,
				"Deployment calico-kube-controllers"), nil)
			if err != nil || (controllers.TyphaService == "calico-typha") != typha {
				t.Errorf("it follows %q, %v", controllers.TyphaService, err)
			}
			files := map[string]bool{}
			spec := pods["Deployment calico-kube-controllers"].Spec
			for _, mount := range spec.Containers[0].VolumeMounts {
				for _, volume := range spec.Volumes {
					if volume.Name != mount.Name {
						continue
					}
					switch {
					case volume.EmptyDir != nil:
						files[controllers.OwnCertificateDir+"/"+certificates.TrustedFile] = true
						files[controllers.OwnCertificateDir+"/"+
							certificates.PairFile] = mount.MountPath == controllers.OwnCertificateDir && !mount.ReadOnly
					case volume.Projected != nil && volume.Projected.Sources[0].ServiceAccountToken.Audience == "typha":
						files[mount.MountPath+"/"+volume.Projected.Sources[0].ServiceAccountToken.Path] = true
					}
				}
			}
			tls := controllers.TyphaTLS
			want := map[string]bool{tls.CAFile: true, tls.CertFile: true, tls.KeyFile: true,
				controllers.TyphaTokenFile: true}
			if typha && !maps.Equal(files, want) || !typha && len(files) > 0 {
				t.Errorf("it has the files %v, want %v", files, want)
			}
			role := mustFind[rbacv1.ClusterRole](t, objects, "ClusterRole", "calico-kube-controllers")
			for _, resource := range []string{"nodes/status", "clusternetworkpolicies/status"} {
				if allowed := slices.ContainsFunc(role.Rules,
					func(r rbacv1.PolicyRule) bool {
						return slices.Contains(r.Resources,
							resource)
					}); allowed != typha {
					t.Errorf("it may write %s: %t", resource, allowed)
				}
			}
		})
	}
}

// TestTyphaHasTimeToHandNodesOver before it is killed.
func TestTyphaHasTimeToHandNodesOver(t *testing.T) {
	pods := workloads(t, render(t))
	typha, err := typhadaemon.ParseConfig(environment(t, pods, "Deployment calico-typha"), nil)
	if err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(*pods["Deployment calico-typha"].Spec.TerminationGracePeriodSeconds) * time.Second
	if typha.ConnectionRebalancingMode != typhadaemon.RebalanceKubernetes || typha.K8sNamespace != namespace ||
		typha.ShutdownTimeout >= grace {
		t.Errorf("rebalancing %s in namespace %s, %s to end of %s", typha.ConnectionRebalancingMode, typha.K8sNamespace,
			typha.ShutdownTimeout, grace)
	}
}

// TestCleanupWaitsForFelix: the cleaning pod must not share a node with a Felix that would make
// everything again. The port that both want keeps the scheduler from putting it there.
func TestCleanupWaitsForFelix(t *testing.T) {
	pods := workloads(t, render(t, "node.metricsPort=9191"))
	for _, name := range []string{"DaemonSet calico-node", "DaemonSet maneki-cleanup"} {
		var ports []int32
		for _, c := range pods[name].Spec.Containers {
			for _, port := range c.Ports {
				ports = append(ports, port.ContainerPort)
			}
		}
		if !slices.Contains(ports, 9191) {
			t.Errorf("%s has ports %v, want the metrics port among them", name, ports)
		}
	}
}

func TestObjectsBelongToTheRelease(t *testing.T) {
	cluster := []string{"ClusterRole", "ClusterRoleBinding", "IPPool", "BGPConfiguration", "FelixConfiguration",
		"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicy",
		"MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	for _, o := range render(t) {
		if want := map[bool]string{false: namespace}[slices.Contains(cluster, o.GetKind())]; o.GetNamespace() != want {
			t.Errorf("%s %s is in namespace %q, want %q", o.GetKind(), o.GetName(), o.GetNamespace(), want)
		}
	}
}

// TestWebhooksAreStatic: the chart says which kinds are judged, and that none which it installs itself waits for the
// judge.
func TestWebhooksAreStatic(t *testing.T) {
	var judged, completed []string
	for _, kind := range datastore.CalicoKinds() {
		if kind != datastore.IPAMBlocks && kind != datastore.BlockAffinities {
			judged = append(judged, kind.Plural)
		}
	}
	for _, kind := range []datastore.Kind{datastore.GlobalNetworkPolicies, datastore.CalicoNetworkPolicies,
		datastore.StagedGlobalNetworkPolicies, datastore.StagedNetworkPolicies} {
		completed = append(completed, kind.Plural)
	}
	for _, policy := range []registration.FailurePolicyType{registration.Ignore, registration.Fail} {
		objects := render(t, "felixConfiguration.bpfEnabled=false", "bgpConfiguration.asNumber=64999",
			fmt.Sprintf("kubeControllers.webhookFailurePolicy=%s", policy))
		validating := mustFind[registration.ValidatingWebhookConfiguration](t, objects,
			"ValidatingWebhookConfiguration", "maneki")
		mutating := mustFind[registration.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration",
			"maneki")
		policies := map[string]registration.FailurePolicyType{} // by resource
		for _, w := range validating.Webhooks {
			if w.Name == budgetWebhook {
				continue
			}
			checkService(t, objects, w.ClientConfig, "/validate")
			for _, resource := range resourcesOf(w.Rules, registration.Create, registration.Update) {
				policies[resource] = *w.FailurePolicy
			}
		}
		if got := slices.Sorted(maps.Keys(policies)); !slices.Equal(got, slices.Sorted(slices.Values(judged))) {
			t.Errorf("judged are %v, want %v", got, judged)
		}
		for resource, got := range policies {
			installed := slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
				return strings.HasPrefix(o.GetAPIVersion(), "projectcalico.org/") &&
					strings.ToLower(o.GetKind())+"s" == resource
			})
			if want := map[bool]registration.FailurePolicyType{true: registration.Ignore,
				false: policy}[installed]; got != want {
				t.Errorf("failure policy of %s, which the chart installs (%t), is %s, want %s", resource, installed,
					got, want)
			}
		}
		for _, w := range mutating.Webhooks {
			checkService(t, objects, w.ClientConfig, "/default")
			if got := resourcesOf(w.Rules, registration.Create, registration.Update); *w.FailurePolicy != policy ||
				!slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(completed))) {
				t.Errorf("completed are %v, with failure policy %s", got, *w.FailurePolicy)
			}
		}
	}
}

// budgetWebhook is asked about policies of Kubernetes itself.
const budgetWebhook = "budget.projectcalico.org"

// TestPoliciesOfKubernetesWaitForNobody: whatever the values say, the webhook for policies of Kubernetes is let go when
// it does not answer at once. It is asked about those that are beyond the budget which Typha is given.
func TestPoliciesOfKubernetesWaitForNobody(t *testing.T) {
	defaults := compile.DefaultBudget()
	for name, test := range map[string]struct {
		set         []string
		rules, sets int
	}{
		"defaults": {nil, defaults.PolicyRules, defaults.PolicySets},
		"no env":   {[]string{"typha.env=null"}, defaults.PolicyRules, defaults.PolicySets},
		"set": {[]string{"typha.env.TYPHA_POLICYMAXRULES=1234567", "typha.env.TYPHA_POLICYMAXSETS=78"}, 1234567,
			78},
	} {
		objects := render(t, append(test.set, "kubeControllers.webhookFailurePolicy=Fail")...)
		validating := mustFind[registration.ValidatingWebhookConfiguration](t, objects,
			"ValidatingWebhookConfiguration", "maneki")
		i := slices.IndexFunc(validating.Webhooks,
			func(w registration.ValidatingWebhook) bool { return w.Name == budgetWebhook })
		if i < 0 {
			t.Fatalf("there is no webhook %s", budgetWebhook)
		}
		w := validating.Webhooks[i]
		checkService(t, objects, w.ClientConfig, "/warn")
		resources := resourcesOf(w.Rules, registration.Create, registration.Update)
		if want := []string{"networkpolicies", "clusternetworkpolicies"}; !slices.Equal(resources, want) ||
			len(w.Rules) != len(want) {
			t.Errorf("%s: asked about are %v, want %v alone", name, w.Rules, want)
		}
		if *w.FailurePolicy != registration.Ignore || *w.TimeoutSeconds > 2 {
			t.Errorf("%s: failure policy %s, a timeout of %d s", name, *w.FailurePolicy, *w.TimeoutSeconds)
		}
		if len(w.MatchConditions) != 1 {
			t.Fatalf("%s: conditions %+v", name, w.MatchConditions)
		}
		for _, bound := range []string{fmt.Sprintf("> %d\n", test.rules), fmt.Sprintf(">= %d\n", test.sets)} {
			if condition := w.MatchConditions[0].Expression; !strings.Contains(condition, bound) {
				t.Errorf("%s: the condition lacks %q:\n%s", name, bound, condition)
			}
		}
	}
}

// resourcesOf gives the resources of the rules that have these operations and no others.
func resourcesOf(rules []registration.RuleWithOperations,
	operations ...registration.OperationType) (resources []string) {
	for _, rule := range rules {
		if slices.Equal(rule.Operations, operations) {
			resources = append(resources, rule.Resources...)
		}
	}
	return resources
}

// checkService: a webhook is called at the Service of kube-controllers, and has no caBundle yet.
func checkService(t *testing.T, objects []*unstructured.Unstructured, c registration.WebhookClientConfig, path string) {
	t.Helper()
	if c.URL != nil || c.Service == nil || c.Service.Namespace != namespace || *c.Service.Path != path ||
		len(c.CABundle) > 0 {
		t.Errorf("the webhook is called at %+v", c)
		return
	}
	mustFind[corev1.Service](t, objects, "Service", c.Service.Name)
}

// TestSecretsAreOfOneEach: rendered twice the chart says the same, it holds no key, and no Secret is for two.
func TestSecretsAreOfOneEach(t *testing.T) {
	first, _, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	if second, _, err := template(t); err != nil || first != second {
		t.Errorf("rendered again the chart differs: %v", err)
	}
	objects := render(t)
	for _, o := range objects {
		if o.GetKind() == "Secret" && (o.Object["data"] != nil || o.Object["stringData"] != nil ||
			o.Object["type"] != "Opaque") {
			t.Errorf("Secret %s is not empty", o.GetName())
		}
	}
	mounted := map[string][]string{}
	for workload, pod := range workloads(t, objects) {
		for _, volume := range pod.Spec.Volumes {
			if volume.Secret == nil {
				continue
			}
			mounted[volume.Secret.SecretName] = append(mounted[volume.Secret.SecretName], workload)
			if len(volume.Secret.Items) == 0 || volume.Secret.Optional != nil {
				t.Errorf("%s starts before Secret %s is filled", workload, volume.Secret.SecretName)
			}
		}
	}
	want := map[string][]string{"calico-typha-tls": {"Deployment calico-typha"},
		"calico-node-tls": {"DaemonSet calico-node"}}
	if !maps.EqualFunc(mounted, want, slices.Equal) {
		t.Errorf("Secrets are mounted by %v, want %v", mounted, want)
	}
	readable := map[string][]string{"Role calico-kube-controllers": {"calico-node-tls", "calico-typha-tls", "maneki-ca",
		"maneki-webhook-tls"}}
	if got := rulesOnSecrets(t, objects); !maps.EqualFunc(got, readable, slices.Equal) {
		t.Errorf("Secrets may be read by %v, want %v", got, readable)
	}
}

// rulesOnSecrets gives the Secrets that each role names.
func rulesOnSecrets(t *testing.T, objects []*unstructured.Unstructured) map[string][]string {
	t.Helper()
	named := map[string][]string{}
	add := func(role string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			if !slices.Contains(r.Resources, "secrets") {
				continue
			}
			if len(r.ResourceNames) == 0 || !slices.Equal(r.Verbs, []string{"get", "update"}) {
				t.Errorf("%s may %v Secrets %q", role, r.Verbs, r.ResourceNames)
			}
			named[role] = slices.Sorted(slices.Values(append(named[role], r.ResourceNames...)))
		}
	}
	for _, o := range objects {
		switch role := o.GetKind() + " " + o.GetName(); o.GetKind() {
		case "Role":
			add(role, mustFind[rbacv1.Role](t, objects, o.GetKind(), o.GetName()).Rules)
		case "ClusterRole":
			add(role, mustFind[rbacv1.ClusterRole](t, objects, o.GetKind(), o.GetName()).Rules)
		}
	}
	return named
}

func TestControllersPreferTheControlPlane(t *testing.T) {
	affinity := workloads(t, render(t))["Deployment calico-kube-controllers"].Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil ||
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		t.Fatalf("affinity %+v, want one that prefers and does not require", affinity)
	}
	preferred := affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	const controlPlane = "node-role.kubernetes.io/control-plane"
	if len(preferred) != 1 || preferred[0].Preference.MatchExpressions[0].Key != controlPlane {
		t.Errorf("prefers %+v", preferred)
	}
}

func TestEveryRoleIsBoundToAnAccountThatExists(t *testing.T) {
	objects := render(t)
	bound := map[string]bool{}
	check := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		bound[ref.Kind+" "+ref.Name] = true
		for _, subject := range subjects {
			if subject.Namespace != namespace {
				t.Errorf("%s %s is bound to an account in namespace %s", ref.Kind, ref.Name, subject.Namespace)
			}
			mustFind[corev1.ServiceAccount](t, objects, "ServiceAccount", subject.Name)
		}
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "ClusterRoleBinding":
			b := mustFind[rbacv1.ClusterRoleBinding](t, objects, o.GetKind(), o.GetName())
			check(b.RoleRef, b.Subjects)
		case "RoleBinding":
			b := mustFind[rbacv1.RoleBinding](t, objects, o.GetKind(), o.GetName())
			check(b.RoleRef, b.Subjects)
		}
	}
	for _, o := range objects {
		if kind := o.GetKind(); (kind == "ClusterRole" || kind == "Role") && !bound[kind+" "+o.GetName()] {
			t.Errorf("%s %s is bound to nobody", kind, o.GetName())
		}
		if kind := o.GetKind(); kind == "ClusterRole" || kind == "Role" {
			text, err := yaml.Marshal(o.Object["rules"])
			if err != nil || strings.Contains(string(text), "'*'") {
				t.Errorf("%s %s has a wildcard: %v\n%s", kind, o.GetName(), err, text)
			}
		}
	}
}

func TestWhatStaysIsMarked(t *testing.T) {
	kept := 0
	for _, o := range render(t, "felixConfiguration.bpfEnabled=false", "bgpConfiguration.asNumber=64999") {
		if strings.HasPrefix(o.GetAPIVersion(), "projectcalico.org/") {
			kept++
			if o.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s %s would be deleted with the release", o.GetKind(), o.GetName())
			}
		}
	}
	if kept != 3 {
		t.Errorf("%d resources of projectcalico.org, want an IPPool, a FelixConfiguration and a BGPConfiguration", kept)
	}
}

func TestEveryValueIsDocumented(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(filepath.Join(root, "charts", "maneki"), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(content, &values); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	for group, value := range values {
		names := []string{group}
		if fields, nested := value.(map[string]any); nested && len(fields) > 0 {
			names = nil
			for field := range fields {
				names = append(names, group+"."+field)
			}
		}
		for _, name := range names {
			if !strings.Contains(string(page), "\n| `"+name+"` |") {
				t.Errorf("docs/install.md does not say what %s is", name)
			}
		}
	}
}

// TestOlderKubernetesCompletesByTheWebhook: before 1.36 there is no MutatingAdmissionPolicy.
func TestOlderKubernetesCompletesByTheWebhook(t *testing.T) {
	for version, want := range map[string]bool{"1.32.0": false, "1.35.9": false, "1.36.0": true,
		"v1.36.2-gke.1": true} {
		out, stderr, err := helm(t, append(templateArgs(t, namespace, nil), "--kube-version="+version)...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", version, err, stderr)
		}
		if got := strings.Contains(out, "kind: MutatingAdmissionPolicy"); got != want {
			t.Errorf("Kubernetes %s: a MutatingAdmissionPolicy: %t", version, got)
		}
		if !strings.Contains(out, "name: default.projectcalico.org") {
			t.Errorf("Kubernetes %s: no mutating webhook", version)
		}
	}
}
