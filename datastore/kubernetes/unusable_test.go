package kubernetes_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
)

// answers is an API server that gives what it has, whatever is asked. The second of two items cannot be read.
type answers struct {
	kind     datastore.Kind
	contents string // of the list and of the watch
	list     []byte
	event    []byte // of a watch, that the second item changed
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.contents)
	body := a.list
	if r.URL.Query().Get("watch") != "" {
		if a.contents == runtime.ContentTypeProtobuf {
			w.Header().Set("Content-Type", a.contents+";stream=watch")
		}
		body = a.event
	}
	_, _ = w.Write(body) // a client that has gone fails the test by itself
}

func jsonAnswers(t *testing.T, kind datastore.Kind, broken string) answers {
	t.Helper()
	api := fmt.Sprintf(`"apiVersion": %q, "kind": %q, `, kind.GroupVersion(), kind)
	namespace := ""
	if kind.Namespaced {
		namespace = `"namespace": "here", `
	}
	good := fmt.Sprintf(`{%s"metadata": {%s"name": "good", "resourceVersion": "6"}}`, api, namespace)
	bad := fmt.Sprintf(`{%s"metadata": {%s"name": "bad", "resourceVersion": "7", "labels": []}%s}`, api, namespace,
		broken)
	return answers{kind, runtime.ContentTypeJSON,
		fmt.Appendf(nil, `{"apiVersion": %q, "kind": "%sList", "metadata": {"resourceVersion": "9"}, "items": [%s, %s]}`, kind.GroupVersion(), kind, good, bad),
		fmt.Appendf(nil, `{"type": "MODIFIED", "object": %s}`+"\n", bad)}
}

// protobufAnswers has the second object broken after its metadata.
func protobufAnswers(t *testing.T, kind datastore.Kind, good, bad interface{ Marshal() ([]byte, error) }) answers {
	t.Helper()
	marshal := func(o interface{ Marshal() ([]byte, error) }) []byte {
		t.Helper()
		body, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	envelope := func(kindName string, message []byte) []byte {
		return append([]byte("k8s\x00"), marshal(&runtime.Unknown{
			TypeMeta: runtime.TypeMeta{APIVersion: kind.GroupVersion().String(), Kind: kindName}, Raw: message})...)
	}
	field := func(number byte, message []byte) []byte {
		return append(protowireBytes([]byte{number<<3 | 2}, message), message...)
	}
	broken := append(marshal(bad), 0x12, 0x7f) // a spec that ends too early
	list := append(field(1, marshal(&metav1.ListMeta{ResourceVersion: "9"})), field(2, marshal(good))...)
	list = append(list, field(2, broken)...)
	event := marshal(&metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: envelope(kind.String(),
		broken)}})
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...)
	return answers{kind, runtime.ContentTypeProtobuf, envelope(kind.String()+"List", list), frame}
}

// protowireBytes appends the length of a message to its tag.
func protowireBytes(tag, message []byte) []byte {
	n := len(message)
	for ; n >= 0x80; n >>= 7 {
		tag = append(tag, byte(n)|0x80)
	}
	return append(tag, byte(n))
}

func object(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "here", Name: name, ResourceVersion: "7"}
}

// TestUnreadable: of every kind the objects that can be read are listed, beside one that cannot. That one is named, or,
// if it is a policy, denies. A watch goes on.
func TestUnreadable(t *testing.T) {
	tests := map[string]answers{
		"Pod in protobuf": protobufAnswers(t, datastore.Pods, &corev1.Pod{ObjectMeta: object("good")},
			&corev1.Pod{ObjectMeta: object("bad")}),
		"NetworkPolicy in protobuf": protobufAnswers(t, datastore.NetworkPolicies,
			&networkingv1.NetworkPolicy{ObjectMeta: object("good")},
			&networkingv1.NetworkPolicy{ObjectMeta: object("bad")}),
	}
	foreign := []datastore.Kind{datastore.Pods, datastore.Namespaces, datastore.Nodes, datastore.ServiceAccounts,
		datastore.EndpointSlices, datastore.NetworkPolicies, datastore.ClusterNetworkPolicies}
	for _, kind := range append(foreign, datastore.CalicoKinds()...) {
		tests[kind.ID()+" in JSON"] = jsonAnswers(t, kind, `, "spec": "what?"`)
	}
	for name, answers := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answers)
			defer server.Close()
			s, err := kubernetes.New(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			list, err := s.List(t.Context(), answers.kind, datastore.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) == 0 || list.Items[0].GetName() != "good" || list.Revision != "9" {
				t.Fatalf("the list has %v at %s, want the one that can be read at 9", list.Items, list.Revision)
			}
			w, err := s.Watch(t.Context(), answers.kind, "9", datastore.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			event, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if event.Object.GetName() != "bad" || event.Revision != "7" {
				t.Errorf("the watch gives %+v", event)
			}
			if len(list.Items) == 2 {
				wantClosed(t, list.Items[1])
				wantClosed(t, event.Object)
				return
			}
			if len(list.Unusable) != 1 || list.Unusable[0].Key.Name != "bad" ||
				!errors.Is(list.Unusable[0].Err, datastore.ErrUnusable) {
				t.Errorf("unusable are %+v", list.Unusable)
			}
			if event.Type != datastore.Deleted || !errors.Is(event.Err, datastore.ErrUnusable) {
				t.Errorf("the watch gives %+v, want Deleted with an error", event)
			}
		})
	}
}

// wantClosed wants that a policy is in force in both directions, says why it cannot be read, and allows nothing.
func wantClosed(t *testing.T, o datastore.Object) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Contains(string(text), `["Ingress","Egress"]`)
	if cluster, ok := o.(*policyv1alpha2.ClusterNetworkPolicy); ok {
		both = len(cluster.Spec.Ingress) == 1 && len(cluster.Spec.Egress) == 1
	}
	if !both || !strings.Contains(string(text), "(unreadable: ") || strings.Contains(string(text), string(v3.Allow)) {
		t.Errorf("%s does not deny everything", text)
	}
}
