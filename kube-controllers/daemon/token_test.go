package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	registration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// write is something that is tried with the program's token, as a dry run.
type write struct {
	what string
	do   func(context.Context, client.Client) error
	want string // in the refusal; "" when it is allowed
}

func created(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error { return c.Create(ctx, o, client.DryRunAll) }
}

func deleted(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error { return c.Delete(ctx, o, client.DryRunAll) }
}

// updated changes an object as a merge patch says, with the verb update. An administrator has read it.
func (w *world) updated(o client.Object, body string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error { return update(ctx, w.client, c, o, body) }
}

func patched(o client.Object, body string) func(context.Context, client.Client) error {
	patch := client.RawPatch(types.StrategicMergePatchType, []byte(body))
	return func(ctx context.Context, c client.Client) error { return c.Patch(ctx, o, patch, client.DryRunAll) }
}

// mergedInto changes a pool with the verb patch.
func mergedInto(pool, body string) func(context.Context, client.Client) error {
	patch := client.RawPatch(types.MergePatchType, []byte(body))
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: pool}}, patch, client.DryRunAll)
	}
}

func patchedStatus(o client.Object, body string) func(context.Context, client.Client) error {
	patch := client.RawPatch(types.StrategicMergePatchType, []byte(body))
	return func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, o, patch, &client.SubResourcePatchOptions{
			PatchOptions: client.PatchOptions{DryRun: []string{metav1.DryRunAll}}})
	}
}

// scaled changes the number of Typha's replicas.
func scaled(replicas int32) func(context.Context, client.Client) error {
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	typha := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "calico-typha"}}
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("scale").Update(ctx, typha, client.WithSubResourceBody(scale),
			&client.SubResourceUpdateOptions{
				UpdateOptions: client.UpdateOptions{DryRun: []string{metav1.DryRunAll}}})
	}
}

// stolenToken: with the token of the program's account, what the program writes can be written, and nothing else.
func (w *world) stolenToken(t *testing.T) {
	own, err := client.New(w.own, client.Options{Scheme: w.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "victim"}},
		&v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "users"},
			Spec: v3.HostEndpointSpec{Node: "victim", InterfaceName: "eth0"}},
		fullBlock("10.9.0.0/30", 4), fullBlock("10.10.0.0/20", 4096),
		&v3.BlockAffinity{ObjectMeta: metav1.ObjectMeta{Name: "victim-10-9-0-0-30"}, Spec: v3.BlockAffinitySpec{
			State: v3.StateConfirmed, Node: "victim", Type: "host", CIDR: "10.9.0.0/30"}})
	for _, tried := range append(w.writesToCluster(), w.writesToResources()...) {
		t.Run(tried.what, func(t *testing.T) {
			err := tried.do(t.Context(), own)
			switch {
			case tried.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tried.want != "" && err == nil:
				t.Error("allowed")
			case tried.want != "" && !strings.Contains(err.Error(), tried.want):
				t.Errorf("refused with %v, want %q", err, tried.want)
			}
		})
	}
}

// fullBlock gives a block of the node victim whose addresses are all assigned to it.
func fullBlock(cidr string, addresses int) *v3.IPAMBlock {
	b := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: strings.NewReplacer(".", "-", "/", "-").Replace(cidr)},
		Spec: v3.IPAMBlockSpec{CIDR: cidr, Affinity: "host:victim", Unallocated: []int{}}}
	for i := range addresses {
		handle := fmt.Sprint("handle-", i)
		b.Spec.Allocations = append(b.Spec.Allocations, &i)
		b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{HandleID: &handle,
			ActiveOwnerAttrs: map[string]string{v3.AttributeNode: "victim"}})
	}
	return b
}

// byRole is in what the API server says when no role allows a request.
const byRole = "is forbidden: User"

func (w *world) writesToCluster() []write {
	meta := metav1.ObjectMeta{Name: "maneki"}
	validating := &registration.ValidatingWebhookConfiguration{ObjectMeta: meta}
	mutating := &registration.MutatingWebhookConfiguration{ObjectMeta: meta}
	other := &registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "victim"}}
	secret := func(name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	webhook := func(fields string) string {
		return `{"webhooks":[{"name":"default.projectcalico.org",` + fields + `}]}`
	}
	const onlyBundle, onlyCondition = "nothing of a webhook but its caBundle", "nothing of a node but its condition"
	return []write{
		{"caBundle", patched(mutating, webhook(`"clientConfig":{"caBundle":"eA=="}`)), ""},
		{"rules of the mutating webhook", patched(mutating,
			webhook(`"rules":[{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["*"]}]`)),
			onlyBundle},
		{"where the webhook is", patched(mutating,
			webhook(`"clientConfig":{"service":null,"url":"https://evil.example.org"}`)), onlyBundle},
		{"port of the webhook", patched(mutating,
			webhook(`"clientConfig":{"service":{"namespace":"calico-system","name":"maneki-webhook","port":8443}}`)),
			onlyBundle},
		{"a condition of the webhook", patched(mutating,
			webhook(`"matchConditions":[{"name":"n","expression":"false"}]`)), onlyBundle},
		{"another webhook", patched(mutating,
			`{"webhooks":[{"name":"x.example.org","clientConfig":{"url":"https://evil.example.org"},`+
				`"sideEffects":"None","admissionReviewVersions":["v1"]}]}`), onlyBundle},
		{"no webhook", patched(validating,
			`{"webhooks":[{"name":"validate.projectcalico.org","$patch":"delete"}]}`), onlyBundle},
		{"failure policy", patched(validating,
			`{"webhooks":[{"name":"validate.projectcalico.org","failurePolicy":"Fail"}]}`), onlyBundle},
		{"owner of the webhooks", patched(validating,
			`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Namespace","name":"gone","uid":"u"}]}}`),
			onlyBundle},
		{"webhooks of another", created(other), byRole},
		{"deletion of the webhooks", deleted(validating), byRole},
		{"condition of a node", patchedStatus(node,
			`{"status":{"conditions":[{"type":"maneki.net/NetworkProgrammed","status":"True"}]}}`), ""},
		{"readiness of a node", patchedStatus(node,
			`{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`), onlyCondition},
		{"address of a node", patchedStatus(node,
			`{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.9"}]}}`), onlyCondition},
		{"label of a node", patchedStatus(node,
			`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`), onlyCondition},
		{"a node", patched(node, `{"spec":{"unschedulable":true}}`), byRole},
		{"replicas of Typha", scaled(2), ""},
		{"no Typha", scaled(0), "may not leave the cluster without Typha"},
		{"a Secret that gets a token", created(&corev1.Secret{Type: corev1.SecretTypeServiceAccountToken,
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "token",
				Annotations: map[string]string{corev1.ServiceAccountNameKey: "calico-node"}}}), byRole},
		{"the webhook's Secret", w.updated(secret("maneki-webhook-tls"), `{"data":{"x":"eA=="}}`), ""},
		{"Secrets of others", func(ctx context.Context, c client.Client) error {
			return c.List(ctx, &corev1.SecretList{})
		}, byRole},
		{"its own role", patched(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "calico-kube-controllers"}},
			`{"rules":[]}`), byRole},
		{"its own policy", patched(&registration.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "maneki-kube-controllers-webhooks"}},
			`{"spec":{"validationActions":["Audit"]}}`), byRole},
		{"an event", created(event("default", "calico-kube-controllers")), ""},
		{"an event of another", created(event("default", "kubelet")), "only events whose reportingComponent it is"},
	}
}

func event(namespace, of string) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "e"},
		Reason: "Tried", Type: corev1.EventTypeNormal,
		InvolvedObject: corev1.ObjectReference{Namespace: namespace, Kind: "Pod", Name: "p"}, ReportingController: of}
}

func (w *world) writesToResources() []write {
	name := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	ours := map[string]string{"projectcalico.org/created-by": "calico-kube-controllers"}
	endpoint := v3.HostEndpointSpec{Node: "victim", InterfaceName: "*"}
	users := &v3.HostEndpoint{ObjectMeta: name("users")}
	info := &v3.ClusterInformation{ObjectMeta: name("default")}
	block := &v3.IPAMBlock{ObjectMeta: name("10-9-0-0-30")}
	var rest []string
	for i := range 4095 {
		rest = append(rest, fmt.Sprint(",", i+1))
	}
	largest := &v3.IPAMBlock{ObjectMeta: name("10-10-0-0-20")}
	const first = `{"handle_id":"handle-0","secondary":{"node":"victim"}}`
	affinity := &v3.BlockAffinity{ObjectMeta: name("victim-10-9-0-0-30")}
	const labelled, back, asking = "only host endpoints that it has made", "free addresses and blocks",
		"that ask for nothing"
	const onlyFinalizer = "nothing of an IPPool but its finalizer"
	return []write{
		{"a host endpoint of its own", created(&v3.HostEndpoint{
			ObjectMeta: metav1.ObjectMeta{Name: "new-auto-hep", Labels: ours}, Spec: endpoint}), ""},
		{"a host endpoint", created(&v3.HostEndpoint{ObjectMeta: name("new"), Spec: endpoint}), labelled},
		{"the host endpoint of a user", w.updated(users,
			`{"metadata":{"labels":{"projectcalico.org/created-by":"calico-kube-controllers"}}}`), labelled},
		{"deletion of it", deleted(users), labelled},
		{"a tier", created(&v3.Tier{ObjectMeta: name("ops")}), "only the tiers"},
		{"a change of a tier", w.updated(&v3.Tier{ObjectMeta: name("kube-admin")}, `{"spec":{"order":1}}`), byRole},
		{"another FelixConfiguration", created(&v3.FelixConfiguration{ObjectMeta: name("node.victim")}), asking},
		{"a KubeControllersConfiguration that frees all at once",
			created(&v3.KubeControllersConfiguration{ObjectMeta: name("default"),
				Spec: v3.KubeControllersConfigurationSpec{
					Controllers: v3.ControllersConfig{Node: &v3.NodeControllerConfig{
						LeakGracePeriod: &metav1.Duration{Duration: time.Second}}}}}), asking},
		{"version of the cluster", w.updated(info, `{"spec":{"calicoVersion":"v9"}}`), ""},
		{"datastoreReady", w.updated(info, `{"spec":{"datastoreReady":false}}`), "only the ClusterInformation"},
		{"GUID of the cluster", w.updated(info, `{"spec":{"clusterGUID":""}}`), "only the ClusterInformation"},
		{"the block of no node", w.updated(block, `{"spec":{"affinity":null}}`), ""},
		{"the block of another node", w.updated(block, `{"spec":{"affinity":"host:other"}}`), back},
		{"release of three addresses", w.updated(block,
			`{"spec":{"allocations":[0,null,null,null],"attributes":[`+first+`],"unallocated":[1,2,3]}}`), ""},
		{"an address moved to another one's owner", w.updated(block,
			`{"spec":{"allocations":[null,0,null,null],"attributes":[`+first+`],"unallocated":[0,2,3]}}`), back},
		{"an address given to another node", w.updated(block,
			`{"spec":{"allocations":[0,null,null,null],`+
				`"attributes":[{"handle_id":"handle-0","secondary":{"node":"other"}}],"unallocated":[1,2,3]}}`), back},
		{"release in the largest block, which costs most to judge", w.updated(largest,
			`{"spec":{"allocations":[null`+strings.Join(rest, "")+`],"unallocated":[0]}}`), ""},
		{"a label of the largest block", w.updated(largest, `{"metadata":{"labels":{"a":"b"}}}`), back},
		{"another network of a block", w.updated(block, `{"spec":{"cidr":"10.9.0.4/30"}}`), back},
		{"an affinity on its way out", w.updated(affinity, `{"spec":{"state":"pendingDeletion"}}`), ""},
		{"the affinity of another node", w.updated(affinity,
			`{"spec":{"node":"other"}}`), "only the state of a BlockAffinity"},
		{"a block", created(&v3.IPAMBlock{ObjectMeta: name("10-9-0-4-30")}), byRole},
		{"the finalizer of a pool",
			mergedInto("first", `{"metadata":{"finalizers":["projectcalico.org/ippool-finalizer"]}}`), ""},
		{"no finalizer of a pool", mergedInto("first", `{"metadata":{"finalizers":null}}`), ""},
		{"another finalizer of a pool", mergedInto("first", `{"metadata":{"finalizers":["x.y/z"]}}`), onlyFinalizer},
		{"a pool", mergedInto("first", `{"spec":{"disabled":true}}`), onlyFinalizer},
		{"a new field of a pool", mergedInto("first", `{"spec":{"nodeSelector":"none()"}}`), onlyFinalizer},
		{"a label of a pool", mergedInto("first", `{"metadata":{"labels":{"a":"b"}}}`), onlyFinalizer},
		{"deletion of a pool", deleted(&v3.IPPool{ObjectMeta: name("first")}), byRole},
		{"a policy", created(&v3.GlobalNetworkPolicy{ObjectMeta: name("open")}), byRole},
	}
}

// update reads an object, merges a patch into it and writes it with the verb update.
func update(ctx context.Context, from client.Reader, c client.Writer, o client.Object, body string) error {
	read := o.DeepCopyObject().(client.Object)
	if err := from.Get(ctx, client.ObjectKeyFromObject(o), read); err != nil {
		return err
	}
	before, err := json.Marshal(read)
	if err != nil {
		return err
	}
	after, err := jsonpatch.MergePatch(before, []byte(body))
	if err != nil {
		return err
	}
	changed := reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
	if err := json.Unmarshal(after, changed); err != nil {
		return err
	}
	return c.Update(ctx, changed, client.DryRunAll)
}
