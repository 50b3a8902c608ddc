package daemon

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnusedVariables: what was set for the program and does nothing is named, and what others read is not.
func TestUnusedVariables(t *testing.T) {
	got := map[string]string{}
	for _, p := range unusedVariables([]string{
		"PATH=/bin", "HOME=/", "HOSTNAME=n1", "KUBERNETES_SERVICE_HOST=10.96.0.1",
		"CALICO_TYPHA_PORT_5473_TCP_ADDR=10.96.0.2",
		"CALICO_TYPHA_SERVICE_PORT_CALICO_TYPHA=5473", "MANEKI_WEBHOOK_PORT=tcp://10.96.0.3:443", "LOG_LEVEL=info",
		"SYNC_NODE_LABELS=true", "COMPACTION_PERIOD=10m", "DATASTORE_TYPE=kubernetes", "ETCD_ENDPOINTS=",
		"SYNC_NODE_LABELS=false", "LOG_LEVL=debug", "ENABLED_CONTROLERS=node", "LEAK_GRACE_PERIODS=1m",
		"TYPHA_LOGSEVERITYSCREEN=debug",
		"ETCD_ENDPOINTS=http://127.0.0.1:2379",
	}) {
		got[p.name] = p.reason
	}
	want := map[string]string{"SYNC_NODE_LABELS": "labels are always", "LOG_LEVL": "is LOG_LEVEL meant?",
		"ENABLED_CONTROLERS": "is ENABLED_CONTROLLERS meant?", "LEAK_GRACE_PERIODS": "is LEAK_GRACE_PERIOD meant?",
		"TYPHA_LOGSEVERITYSCREEN": "has no such variable", "ETCD_ENDPOINTS": "has no such variable"}
	for name, reason := range want {
		if !strings.Contains(got[name], reason) {
			t.Errorf("of %s it says %q, want %q", name, got[name], reason)
		}
		delete(got, name)
	}
	if diff := cmp.Diff(map[string]string{}, got); diff != "" {
		t.Errorf("named without reason:\n%s", diff)
	}
}
