package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// tools are what a cluster needs of the machine, and the Debian packages that
// have them.
var tools = []struct{ path, pkg string }{
	{"/usr/bin/containerd", "containerd"},
	{"/usr/sbin/runc", "runc"},
	{"/usr/lib/cni/ptp", "containernetworking-plugins"},
	{"/usr/sbin/iptables", "iptables"},
	{"/usr/sbin/ipset", "ipset"},
	{"/usr/sbin/nft", "nftables"},
	{"/bin/ip", "iproute2"},
	{"/usr/sbin/conntrack", "conntrack"},
	{"/bin/ping", "iputils-ping"},
	{"/usr/bin/nsenter", "util-linux"},
	{"/usr/bin/mmdebstrap", "mmdebstrap"},
	{"/usr/sbin/bird", "bird2"},
	{"/usr/bin/curl", "curl"},
}

// noAutostart keeps package scripts from starting what they install: a node
// starts its own containerd, and the machine needs none.
const noAutostart = "#!/bin/sh\nexit 101\n"

const policyPath = "/usr/sbin/policy-rc.d"

// InstallPackages installs what is missing of what clusters and kernel tests need, or says all that is
// missing when it can't. progress takes a line when something is installed.
func InstallPackages(ctx context.Context, progress io.Writer) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	wanted := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %s, and has no apt-get to install them with", wanted)
	}
	fmt.Fprintf(progress, "installing %s\n", wanted)
	if _, err := os.Stat(policyPath); os.IsNotExist(err) {
		if err := os.WriteFile(policyPath, []byte(noAutostart), 0o755); err != nil {
			return fmt.Errorf("keep packages from starting services: %w", err)
		}
		defer os.Remove(policyPath)
	}
	// Without an update an image of a machine often has no package lists at all.
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"},
		missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("this machine lacks %s, and apt-get %s failed: %w\n%s", wanted, args[0], err, out)
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("this machine lacks %s, even after installing them", strings.Join(missing, " "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, t := range tools {
		if _, err := os.Stat(t.path); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	return missing
}
