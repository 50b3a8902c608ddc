package daemon

import "testing"

// TestUnusedVariables: of Calico's variables, those that ask for something are named.
func TestUnusedVariables(t *testing.T) {
	environ := map[string]string{"IP_AUTODETECTION_METHOD": "interface=eth1",
		"IP6_AUTODETECTION_METHOD": "kubernetes-internal-ip",
		"WAIT_FOR_DATASTORE":       "true", "CALICO_IPV4POOL_CIDR": "", "NODENAME": "n1", "NO_DEFAULT_POOLS": "true"}
	var names []string
	for _, row := range unusedVariables(func(name string) string { return environ[name] }) {
		names = append(names, row.Name)
	}
	if len(names) != 2 || names[0] != "IP_AUTODETECTION_METHOD" || names[1] != "NO_DEFAULT_POOLS" {
		t.Errorf("named: %v", names)
	}
}
