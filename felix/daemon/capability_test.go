package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// capabilities are those that the chart gives to calico-node, each with what of Felix's work fails without it.
var capabilities = []struct {
	name string
	work func(context.Context) error
}{
	{"net_admin", func(ctx context.Context) error {
		kernel, err := linux.Open(ctx, &config.Config{IptablesBackend: string(iptables.NFT), MaxIpsetSize: 1024,
			IptablesMarkMask: 0xffff0000})
		if err != nil {
			return err
		}
		defer kernel.Close()
		rules, err := iptables.Open(iptables.Config{Family: dataplane.IPv4, Variant: iptables.NFT,
			Runner: iptables.Exec{}})
		if err != nil {
			return err
		}
		defer rules.Close()
		return rules.Commit(ctx, filter.Commit{})
	}},
	{"net_raw", func(ctx context.Context) error {
		_, _, err := iptables.Run(ctx, iptables.Exec{}, iptables.Command{Name: "iptables-legacy", Args: []string{"-S"}})
		return err
	}},
	{"sys_admin", func(ctx context.Context) error { // the pod's network namespace is inherited
		_, err := veth.Open().Create(ctx, veth.Pair{Host: "cali1", Pod: "eth0", Netns: os.NewFile(3, "netns"),
			Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.2")}})
		return err
	}},
	{"net_bind_service", func(ctx context.Context) error {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":179")
		if err != nil {
			return err
		}
		return listener.Close()
	}},
}

// working names the environment variable with the capability whose work a process of the test is to do.
const working = "MANEKI_TEST_WORK"

// TestCapabilities: Felix works with these four capabilities, and none of them can be left out.
func TestCapabilities(t *testing.T) {
	if name := os.Getenv(working); name != "" {
		for _, c := range capabilities {
			if c.name == name {
				if err := c.work(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		return
	}
	kerneltest.Enter(t)
	var all []string
	for _, c := range capabilities {
		all = append(all, c.name)
	}
	for _, c := range capabilities {
		if out, err := workWith(t, c.name, all); err != nil {
			t.Errorf("%s with %v: %v\n%s", c.name, all, err, out)
		}
		fewer := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == c.name })
		out, err := workWith(t, c.name, fewer)
		var exit *exec.ExitError
		if err == nil || !errors.As(err, &exit) || !strings.Contains(out, "ermi") && !strings.Contains(out, "EPERM") {
			t.Errorf("without %s its work is done, or fails for another reason: %v\n%s", c.name, err, out)
		}
	}
}

// workWith does the work of one capability in a process that has some, in the test's network namespace.
func workWith(t *testing.T, name string, some []string) (string, error) {
	t.Helper()
	list := "-all,+" + strings.Join(some, ",+")
	cmd := exec.CommandContext(t.Context(), "setpriv", "--bounding-set="+list, "--inh-caps="+list, "--no-new-privs",
		os.Args[0], "-test.run=^TestCapabilities$")
	cmd.Env = append(os.Environ(), working+"="+name)
	cmd.ExtraFiles = []*os.File{kerneltest.New(t)}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
