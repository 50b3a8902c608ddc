package cniserver

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestRuntimeLibrary drives the plugin by the library that container runtimes use.
func TestRuntimeLibrary(t *testing.T) {
	h := newHost(t)
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			list, err := libcni.NetworkConfFromBytes(fmt.Appendf(nil,
				`{"cniVersion":%q,"name":"k8s-pod-network","plugins":[
				{"type":"calico","felix_socket":%q,"felix_spool":%q,"dns":{"nameservers":["10.96.0.10"]}}]}`, version,
				h.opts.Socket, h.opts.Spool))
			if err != nil {
				t.Fatal(err)
			}
			runtime := libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(h.plugin)}, t.TempDir(), nil)
			netns := sandbox(t)
			pod := &libcni.RuntimeConf{ContainerID: "c-" + version, NetNS: netns, IfName: "eth0",
				Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"},
					{"K8S_POD_NAME", "web-" + version}}}
			answer, err := runtime.AddNetworkList(t.Context(), list, pod)
			if err != nil {
				t.Fatal("ADD:", err)
			}
			if answer.Version() != version {
				t.Errorf("the result has version %s", answer.Version())
			}
			result, err := types100.NewResultFromResult(answer)
			if err != nil {
				t.Fatal(err)
			}
			// What containerd takes the pod's addresses from.
			if len(result.IPs) != 2 || *result.IPs[0].Interface != 1 || result.Interfaces[1].Sandbox != netns ||
				len(result.DNS.Nameservers) != 1 {
				t.Errorf("got %+v", result)
			}
			kerneltest.Run(t, "nsenter --net="+netns+" ping -c 1 -W 5 172.30.0.1")
			if version != "0.3.1" {
				if err := runtime.CheckNetworkList(t.Context(), list, pod); err != nil {
					t.Error("CHECK:", err)
				}
			}
			if version == "1.1.0" {
				if err := runtime.GetStatusNetworkList(t.Context(), list); err != nil {
					t.Error("STATUS:", err)
				}
				if err := runtime.GCNetworkList(t.Context(), list, &libcni.GCArgs{}); err != nil {
					t.Error("GC:", err)
				}
				h.await(t, 0)
			}
			if err := runtime.DelNetworkList(t.Context(), list, pod); err != nil {
				t.Error("DEL:", err)
			}
			h.await(t, 0)
		})
	}
}
