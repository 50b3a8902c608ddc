package derive

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// read gives an object of YAML.
func read[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// want compares the YAML form of a result.
func want(t *testing.T, got any, text string) {
	t.Helper()
	data, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const pod = `
metadata:
  name: web-0
  namespace: shop
  uid: u1
  labels: {app: web}
  annotations:
    cni.projectcalico.org/containerID: abc
    cni.projectcalico.org/floatingIPs: '["203.0.113.7", "2001:db8::7", "no address"]'
    cni.projectcalico.org/allowedSourcePrefixes: '["10.9.8.7/16"]'
spec:
  nodeName: node-1
  serviceAccountName: front
  containers:
  - name: web
    ports: [{name: http, containerPort: 8080}, {containerPort: 9}, {containerPort: 53, hostPort: 5353, hostIP: 192.0.2.1, protocol: UDP}]
  initContainers:
  - name: side
    ports: [{name: metrics, containerPort: 9100, protocol: SCTP}]
status:
  podIPs: [{ip: 10.244.1.5}, {ip: "fd00::5"}]
`

func TestWorkloadEndpoint(t *testing.T) {
	want(t, WorkloadEndpoint(read[corev1.Pod](t, pod)), `apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  labels:
    app: web
    projectcalico.org/namespace: shop
    projectcalico.org/orchestrator: k8s
    projectcalico.org/serviceaccount: front
  name: node--1-k8s-web--0-eth0
  namespace: shop
  uid: u1
spec:
  allowSpoofedSourcePrefixes:
  - 10.9.0.0/16
  containerID: abc
  endpoint: eth0
  interfaceName: calia4fc3c48bd8
  ipNATs:
  - externalIP: 203.0.113.7
    internalIP: 10.244.1.5
  - externalIP: 2001:db8::7
    internalIP: fd00::5
  ipNetworks:
  - 10.244.1.5/32
  - fd00::5/128
  node: node-1
  orchestrator: k8s
  pod: web-0
  ports:
  - name: http
    port: 8080
    protocol: TCP
  - hostIP: 192.0.2.1
    hostPort: 5353
    port: 53
    protocol: UDP
  - name: metrics
    port: 9100
    protocol: SCTP
  profiles:
  - kns.shop
  - ksa.shop.front
  serviceAccountName: front
`)
}

func TestPodsWithoutEndpointOrAddress(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		none   bool
		nets   []string
	}{
		{"not scheduled", func(p *corev1.Pod) { p.Spec.NodeName = "" }, true, nil},
		{"network of the node", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, true, nil},
		{"finished", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false, nil},
		{"status not yet written", func(p *corev1.Pod) {
			p.Status, p.Annotations = corev1.PodStatus{}, map[string]string{podIPs: "10.0.0.1/32,fd00::1/128"}
		}, false, []string{"10.0.0.1/32", "fd00::1/128"}},
		{"one address", func(p *corev1.Pod) { p.Status = corev1.PodStatus{PodIP: "10.0.0.2"} }, false,
			[]string{"10.0.0.2/32"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := read[corev1.Pod](t, pod)
			test.change(p)
			endpoint := WorkloadEndpoint(p)
			if (endpoint == nil) != test.none {
				t.Fatalf("endpoint %v", endpoint)
			}
			if endpoint != nil {
				if diff := cmp.Diff(test.nets, endpoint.Spec.IPNetworks); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestNamesOfEndpointsLeadBack(t *testing.T) {
	for _, pod := range []string{"a", "a-b", "web-0", "a--b", "a.b-c"} {
		for _, node := range []string{"n", "node-1", "a.example.org"} {
			if got, ok := PodOf(EndpointName(node, pod)); !ok || got != pod {
				t.Errorf("%s on %s: name %s leads to %q, %v", pod, node, EndpointName(node, pod), got, ok)
			}
		}
	}
	for _, name := range []string{"", "n-k8s-a", "n-cni-a-eth0", "n-k8s-a-net1", "n-k8s-a-b-eth0"} {
		if pod, ok := PodOf(name); ok {
			t.Errorf("%s leads to pod %s", name, pod)
		}
	}
}

func TestProfiles(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop",
		Labels: map[string]string{"team": "red"}}}
	want(t, NamespaceProfile(namespace), `apiVersion: projectcalico.org/v3
kind: Profile
metadata:
  name: kns.shop
spec:
  egress:
  - action: Allow
    destination: {}
    source: {}
  ingress:
  - action: Allow
    destination: {}
    source: {}
  labelsToApply:
    pcns.projectcalico.org/name: shop
    pcns.team: red
`)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a.b",
		Labels: map[string]string{"role": "x"}}}
	want(t, ServiceAccountProfile(account), `apiVersion: projectcalico.org/v3
kind: Profile
metadata:
  name: ksa.shop.a.b
spec:
  labelsToApply:
    pcsa.projectcalico.org/name: a.b
    pcsa.role: x
`)
	for _, test := range []struct {
		name, namespace, account string
		ok                       bool
	}{
		{"kns.shop", "shop", "", true}, {"ksa.shop.a.b", "shop", "a.b", true},
		{"kns.", "", "", false}, {"ksa.shop", "shop", "", false}, {"mine", "", "", false},
	} {
		namespace, account, ok := ProfileOf(test.name)
		if ok != test.ok || ok && (namespace != test.namespace || account != test.account) {
			t.Errorf("%s: %q, %q, %v", test.name, namespace, account, ok)
		}
	}
}

const node = `
metadata:
  name: n1
  uid: u2
  labels: {kubernetes.io/hostname: n1, rack: "1"}
  annotations:
    projectcalico.org/IPv4Address: 192.0.2.1/24
    projectcalico.org/ASNumber: "1.2"
    projectcalico.org/RouteReflectorClusterID: 244.0.0.1
    projectcalico.org/IPv4VXLANTunnelAddr: 10.244.0.1
    projectcalico.org/VXLANTunnelMACAddr: 66:00:00:00:00:01
    projectcalico.org/WireguardPublicKey: key
    projectcalico.org/IPv4WireguardInterfaceAddr: 10.244.0.9
    another: annotation
spec: {podCIDRs: [10.244.0.0/24]}
status:
  addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: n1}, {type: ExternalIP, address: 203.0.113.1}]
`

func TestNode(t *testing.T) {
	got := Node(read[corev1.Node](t, node))
	want(t, got, `apiVersion: projectcalico.org/v3
kind: Node
metadata:
  labels:
    kubernetes.io/hostname: n1
    rack: "1"
  name: n1
  uid: u2
spec:
  addresses:
  - address: 192.0.2.1/24
    type: CalicoNodeIP
  - address: 192.0.2.1
    type: InternalIP
  - address: 203.0.113.1
    type: ExternalIP
  bgp:
    asNumber: 65538
    ipv4Address: 192.0.2.1/24
    routeReflectorClusterID: 244.0.0.1
  ipv4VXLANTunnelAddr: 10.244.0.1
  orchRefs:
  - nodeName: n1
    orchestrator: k8s
  vxlanTunnelMACAddr: "66:00:00:00:00:01"
  wireguard:
    interfaceIPv4Address: 10.244.0.9
status:
  podCIDRs:
  - 10.244.0.0/24
  wireguardPublicKey: key
`)
	bare := Node(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	if bare.Spec.BGP != nil || bare.Spec.Wireguard != nil {
		t.Errorf("a node without annotations: %+v", bare.Spec)
	}
}

func TestApplyNode(t *testing.T) {
	k := read[corev1.Node](t, node)
	n := Node(k)
	ApplyNode(n, k)
	unchanged := read[corev1.Node](t, node)
	unchanged.Annotations["projectcalico.org/ASNumber"] = "65538"
	if diff := cmp.Diff(unchanged, k); diff != "" {
		t.Errorf("what was read changes the node when it is written (-want +got):\n%s", diff)
	}

	asn := uint32(64512)
	n.Spec.BGP.ASNumber, n.Spec.BGP.RouteReflectorClusterID, n.Spec.IPv4VXLANTunnelAddr = &asn, "", ""
	n.Spec.Wireguard = nil
	n.Labels = map[string]string{"rack": "2", "kubernetes.io/hostname": "other"}
	ApplyNode(n, k)
	wantLabels := map[string]string{"rack": "2", "kubernetes.io/hostname": "n1"}
	wantAnnotations := map[string]string{"projectcalico.org/IPv4Address": "192.0.2.1/24",
		"projectcalico.org/ASNumber":           "64512",
		"projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:01", "projectcalico.org/WireguardPublicKey": "key",
		"another": "annotation"}
	if diff := cmp.Diff(wantLabels, k.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantAnnotations, k.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func TestASNumbers(t *testing.T) {
	for text, want := range map[string]uint32{"64512": 64512, "4294967295": 4294967295, "0.1": 1,
		"65535.65535": 4294967295} {
		if got, err := ParseASNumber(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "0", "0.0", "4294967296", "65536.0", "0.65536", "1.2.3"} {
		if got, err := ParseASNumber(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestHostInterface(t *testing.T) {
	// printf default.nginx | sha1sum | cut -c1-11
	if got := HostInterface("default", "nginx"); got != "calic440f455693" {
		t.Errorf("got %s", got)
	}
}
