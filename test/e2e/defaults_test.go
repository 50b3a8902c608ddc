package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestWhatTutorialsPresuppose: the resources that commands of Calico's documentation change are there.
func TestWhatTutorialsPresuppose(t *testing.T) {
	install(t)
	must(t, `kubectl patch felixconfiguration default --type merge -p '{"spec":{"logSeverityScreen":"Info"}}'`)
	if output := must(t, "calicoctl get felixconfig default -o yaml --export"); !strings.Contains(output,
		"logSeverityScreen: Info") {
		t.Errorf("calicoctl says %s", output)
	}
	must(t, `kubectl patch bgpconfiguration default --type merge -p '{"spec":{"nodeToNodeMeshEnabled":true}}'`)
	expectOutput(t, time.Minute,
		`kubectl get kubecontrollersconfiguration default -o jsonpath='{.status.runningConfig.controllers.node}'`,
		"leakGracePeriod")
	expectOutput(t, time.Minute, "kubectl get clusterinformation default -o jsonpath='{.spec.datastoreReady}'", "true")
}
