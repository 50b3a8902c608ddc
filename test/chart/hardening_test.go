package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// privileges are what a container has beyond one that can do nothing to its node.
type privileges struct {
	// Root's files are its own.
	root bool
	// capabilities are sorted.
	capabilities []corev1.Capability
	// host are the paths of the node that it may write to, sorted.
	host []string
}

// TestPrivileges: no container has a privilege that it does not use. What each capability of calico-node is for,
// test/e2e shows.
func TestPrivileges(t *testing.T) {
	want := map[string]privileges{
		"DaemonSet calico-node: install-cni": {true, nil, []string{"/etc/cni/net.d", "/opt/cni/bin"}},
		"DaemonSet calico-node: calico-node": {true, []corev1.Capability{"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW",
			"SYS_ADMIN"},
			[]string{"/proc/sys/net", "/run/xtables.lock", "/var/lib/calico", "/var/run/calico"}},
		"Deployment calico-typha: typha":                              {},
		"Deployment calico-kube-controllers: calico-kube-controllers": {},
		"DaemonSet maneki-cleanup: uninstall-cni": {true, nil,
			[]string{"/etc/cni/net.d", "/opt/cni/bin"}},
		"DaemonSet maneki-cleanup: felix-cleanup": {true, []corev1.Capability{"NET_ADMIN", "NET_RAW"},
			[]string{"/run/xtables.lock", "/var/lib/calico", "/var/run/calico"}},
		"DaemonSet maneki-cleanup: remove-state": {true, nil, []string{"/var/lib/calico", "/var/run/calico"}},
		"DaemonSet maneki-cleanup: done":         {},
		"Job maneki-cleanup: wait":               {},
	}
	for name, pod := range workloads(t, render(t)) {
		if pod.Spec.HostPID || pod.Spec.HostIPC {
			t.Errorf("%s sees the processes of its node", name)
		}
		paths := map[string]string{} // of the host, by volume
		for _, volume := range pod.Spec.Volumes {
			if volume.HostPath != nil {
				paths[volume.Name] = volume.HostPath.Path
			}
		}
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			id := name + ": " + c.Name
			expected, known := want[id]
			if !known {
				t.Errorf("%s is a container that this test does not know", id)
				continue
			}
			delete(want, id)
			if got := privilegesOf(t, id, c, paths); fmt.Sprint(got) != fmt.Sprint(expected) {
				t.Errorf("%s has the privileges %+v, want %+v", id, got, expected)
			}
		}
	}
	for id := range want {
		t.Errorf("%s is not there", id)
	}
}

func privilegesOf(t *testing.T, id string, c corev1.Container, paths map[string]string) privileges {
	t.Helper()
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	s := c.SecurityContext
	switch {
	case s == nil || s.Privileged != nil && *s.Privileged:
		t.Errorf("%s is privileged, or nobody says what it is", id)
		return privileges{}
	case !is(s.AllowPrivilegeEscalation, false) || !is(s.ReadOnlyRootFilesystem, true) || s.RunAsUser == nil ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}):
		t.Errorf("%s has the security context %+v", id, s)
	}
	out := privileges{root: *s.RunAsUser == 0, capabilities: slices.Sorted(slices.Values(s.Capabilities.Add))}
	if !out.root && !is(s.RunAsNonRoot, true) {
		t.Errorf("%s may be root", id)
	}
	for _, mount := range c.VolumeMounts {
		if path := paths[mount.Name]; path != "" && !mount.ReadOnly {
			out.host = append(out.host, path)
		}
	}
	slices.Sort(out.host)
	return out
}

// TestDigests: an image with a digest is that one; the others have the tag.
func TestDigests(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	images := map[string]bool{}
	for _, pod := range workloads(t, render(t, "image.registry=example.org/x", "image.tag=v9",
		"image.digest.node="+digest, "image.digest.kube-controllers="+digest)) {
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			images[c.Image] = true
		}
	}
	for _, want := range []string{"example.org/x/node@" + digest, "example.org/x/kube-controllers@" + digest,
		"example.org/x/typha:v9"} {
		if !images[want] {
			t.Errorf("no container has the image %s", want)
		}
		delete(images, want)
	}
	if len(images) > 0 {
		t.Errorf("and there are %v", images)
	}
	if _, stderr, err := template(t, "image.digest.node=sha256:123"); err == nil ||
		!strings.Contains(stderr, "/image/digest/node") {
		t.Errorf("a digest that is none: %v, %s", err, stderr)
	}
}
