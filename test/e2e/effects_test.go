package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// whatHasEffect are objects of the kinds below of which all has effect.
const whatHasEffect = `
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.node2}
spec: {logSeverityScreen: Debug, wireguardEnabled: false, bpfEnabled: false}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: sound}
spec: {cidr: 10.97.0.0/24, vxlanMode: Always, ipipMode: Never}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: sound, namespace: default}
spec: {selector: app == 'nobody', types: [Ingress], ingress: [{action: Allow}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: sound, annotations: {cni.projectcalico.org/ipv4pools: '["sound"]'}}
---
apiVersion: v1
kind: Pod
metadata: {name: sound, namespace: default, labels: {app: sound}, annotations: {cni.projectcalico.org/ipv4pools: '["sound"]'}}
spec: {nodeSelector: {none: none}, containers: [{name: c, image: none}]}
`

// without are objects of which something has no effect, beside those of testdata/no-effect.yaml.
const without = `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: noted, namespace: default}
spec: {selector: app == 'nobody', types: [Ingress], ingress: [{action: Allow, metadata: {annotations: {by: me}}}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: families, annotations: {cni.projectcalico.org/ipFamilies: '["IPv4"]'}}
---
apiVersion: v1
kind: Pod
metadata: {name: limited, namespace: default, annotations: {qos.projectcalico.org/ingressBandwidth: 1M}}
spec: {nodeSelector: {none: none}, containers: [{name: c, image: none}]}
`

// TestWhatHasNoEffectIsSaid: to who writes it, on the object, and, where protection is missing, on the node.
func TestWhatHasNoEffectIsSaid(t *testing.T) {
	install(t)
	const fine = "True Programmed"
	programmed(t, fine, fine, fine)
	inputs, err := os.ReadFile("testdata/no-effect.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, manifests := range []string{whatHasEffect, string(inputs), without} {
		t.Cleanup(func() {
			cleanUp(t, "kubectl delete --ignore-not-found --wait=false -f - <<'END_OF_INPUT'\n"+manifests+
				"\nEND_OF_INPUT\n")
		})
	}
	if said := input(t, "kubectl apply -f - 2>&1 >/dev/null", whatHasEffect); said != "" {
		t.Errorf("kubectl warns of what has effect:\n%s", said)
	}
	said := input(t, "kubectl apply -f - 2>&1 >/dev/null", string(inputs)+"\n---"+without)
	for _, warning := range []string{
		"spec.wireguardEnabled: has no effect", "spec.bpfEnabled: has no effect",
		`spec.chainInsertMode: "Append" has no effect`,
		`metadata.name: "log-level" has no effect`, `metadata.name: "service-cidr" has no effect`,
		"spec.serviceClusterIPs",
		"spec.allowedUses", "spec.ipipMode", "spec.ingress[].metadata",
		"annotation cni.projectcalico.org/ipFamilies has no effect",
		"annotation qos.projectcalico.org/ingressBandwidth has no effect",
	} {
		if !strings.Contains(said, warning) {
			t.Errorf("kubectl does not warn that %s:\n%s", warning, said)
		}
	}

	// Node node3 alone has a setting that asks for protection.
	programmed(t, fine, fine, "False Failing")
	const message = `kubectl get node node3 -o jsonpath='{.status.conditions[?(@.type=="maneki.net/NetworkProgrammed")].message}'`
	expectOutput(t, time.Minute, message, `FelixConfiguration node.node3: wireguardEnabled "true" has no effect`)

	for object, reason := range map[string]string{
		"FelixConfiguration node.node3": "Unprotected", "FelixConfiguration log-level": "NoEffect",
		"BGPConfiguration service-cidr": "NoEffect", "IPPool services": "Unprotected", "IPPool ipip": "Unprotected",
		"NetworkPolicy noted": "NoEffect", "Namespace families": "NoEffect", "Pod limited": "Unprotected",
	} {
		expectOutput(t, time.Minute, eventsOn(object), reason)
	}
	for _, object := range []string{"FelixConfiguration node.node2", "FelixConfiguration default",
		"BGPConfiguration default",
		"KubeControllersConfiguration default", "IPPool sound", "IPReservation routers", "NetworkPolicy sound",
		"Namespace sound",
		"Pod sound"} {
		for _, reason := range []string{"NoEffect", "Unprotected"} {
			if reasons := must(t, eventsOn(object)); strings.Contains(reasons, reason) {
				t.Errorf("on %s, of which all has effect, there are events %s", object, reasons)
			}
		}
	}
	const allocatable = `kubectl get ippools.projectcalico.org %s -o jsonpath='{.status.conditions[?(@.type=="Allocatable")].status}'`
	for pool, want := range map[string]string{"ipip": "False", "services": "False", "sound": "True"} {
		expectOutput(t, time.Minute, fmt.Sprintf(allocatable, pool), want)
	}

	must(t, "kubectl delete felixconfigurations.projectcalico.org node.node3")
	programmed(t, fine, fine, fine)
}

// eventsOn is the command line that shows the reasons of the events on an object, "KIND NAME".
func eventsOn(object string) string {
	kind, name, _ := strings.Cut(object, " ")
	return "kubectl get events -A --field-selector involvedObject.kind=" + kind + ",involvedObject.name=" + name +
		" -o jsonpath='{.items[*].reason}'"
}
