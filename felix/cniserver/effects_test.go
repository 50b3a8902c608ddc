package cniserver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/effects"
)

// TestKeysWithoutEffect: keys of a network configuration that ask for what is missing are told to the log once, and to
// the agent, until another configuration has others.
func TestKeysWithoutEffect(t *testing.T) {
	n := newNode(t)
	var log bytes.Buffer
	n.Server.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	expect := func(fields map[string]any, want ...string) {
		t.Helper()
		for range 2 {
			n.must(t, request(t, "STATUS", "", "", fields))
		}
		got := n.endpoints.withoutEffect
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.Contains(got[i], want[i]+" has no effect: ")
		}
		if !ok {
			t.Errorf("with %v the agent is told of %q, want %q", fields, got, want)
		}
	}
	forwarding := map[string]any{"container_settings": map[string]any{"allow_ip_forwarding": true}}
	// What Calico's own installation writes asks for nothing that is missing.
	expect(map[string]any{"log_level": "info", "nodename": "n1", "datastore_type": "kubernetes", "mtu": 0,
		"container_settings": map[string]any{"allow_ip_forwarding": false}, "policy": map[string]any{"type": "k8s"},
		"ipam":            map[string]any{"type": "calico-ipam"},
		"feature_control": map[string]any{"floating_ips": false},
		"kubernetes":      map[string]any{"kubeconfig": "/etc/cni/net.d/k"}})
	expect(forwarding, `CNI configuration: container_settings.allow_ip_forwarding "true"`)
	expect(map[string]any{"num_queues": 4, "args": map[string]any{"org.apache.mesos": map[string]any{"a": "b"}}},
		`args.org.apache.mesos "{\"a\":\"b\"}"`, `num_queues "4"`)
	if told := strings.Count(log.String(), "allow_ip_forwarding"); told != 1 {
		t.Errorf("the log has the same configuration %d times:\n%s", told, log.String())
	}
	expect(nil)
}

// TestEveryKeyIsFound, however deep it stands.
func TestEveryKeyIsFound(t *testing.T) {
	for _, row := range effects.Rows(effects.CNIKey) {
		if row.On != "configuration" || !row.Misses("7") {
			continue
		}
		before, name, nested := strings.Cut(row.Name, ".")
		raw := `{"` + row.Name + `": 7}`
		if nested {
			raw = `{"` + before + `": {"` + name + `": 7}}`
		}
		keys, err := keysWithoutEffect([]byte(raw))
		switch {
		case row.Name == dataplaneOptions:
			if err == nil {
				t.Errorf("%s is not refused", raw)
			}
		case err != nil || len(keys) != 1 || !strings.Contains(keys[0], row.Name):
			t.Errorf("of %s: %q, %v", raw, keys, err)
		}
	}
}
