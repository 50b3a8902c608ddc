package cniplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// Names of what Install leaves on the host.
const (
	binaryName  = "calico"
	portmapName = "portmap"
	configName  = "10-calico.conflist"
)

// DefaultNetworkConfig is the network configuration that is installed when CNI_NETWORK_CONFIG is
// not set. Version 1.0.0 is the newest that containerd 1.6 can read.
const DefaultNetworkConfig = `{
  "cniVersion": "1.0.0",
  "name": "k8s-pod-network",
  "plugins": [
    {"type": "calico"},
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
  ]
}
`

// HostPaths are the host's CNI directories as the installing container sees them.
type HostPaths struct {
	Bin    string // of the plugins
	Config string // of the network configurations
	// Image is the folder of the plugins that the installing container brings.
	Image string
}

// HostPathsFrom reads CNI_BIN_DIR and CNI_CONF_DIR; the defaults are those of the chart's mounts.
func HostPathsFrom(getenv func(string) string) HostPaths {
	paths := HostPaths{Bin: getenv("CNI_BIN_DIR"), Config: getenv("CNI_CONF_DIR")}
	if paths.Bin == "" {
		paths.Bin = "/host/opt/cni/bin"
	}
	if paths.Config == "" {
		paths.Config = "/host/etc/cni/net.d"
	}
	if self, err := os.Executable(); err == nil {
		paths.Image = filepath.Dir(self)
	}
	return paths
}

// Install copies the running binary, the portmap of the image and the configuration onto the host, the binaries first:
// a runtime that sees the configuration can execute what it names. Each file appears whole or not at all, and a
// binary that is being executed is replaced, not written to.
func Install(paths HostPaths, config string) error {
	if config == "" {
		config = DefaultNetworkConfig
	}
	content, portmap, err := installable(config)
	if err != nil {
		return err
	}
	for _, dir := range []string{paths.Bin, paths.Config} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	binary, err := readSelf()
	if err == nil {
		err = protocol.WriteFileAtomic(filepath.Join(paths.Bin, binaryName), binary, 0o755)
	}
	if err != nil {
		return fmt.Errorf("install plugin: %w", err)
	}
	if portmap {
		if err := installPortmap(paths); err != nil {
			return err
		}
	}
	if err := protocol.WriteFileAtomic(filepath.Join(paths.Config, configName), content, 0o644); err != nil {
		return fmt.Errorf("install network configuration: %w", err)
	}
	return nil
}

// installPortmap copies the image's portmap onto the host. Without one in the image, the host must have it: without
// portmap nobody reaches the hostPorts of pods.
func installPortmap(paths HostPaths) error {
	target := filepath.Join(paths.Bin, portmapName)
	binary, err := os.ReadFile(filepath.Join(paths.Image, portmapName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, onHost := os.Stat(target); onHost != nil {
			return fmt.Errorf("install %s: neither %s nor the host has it: put it there, or leave it out of "+
				"CNI_NETWORK_CONFIG, and pods have no hostPorts: %w", portmapName, paths.Image, onHost)
		}
		return nil
	}
	if err == nil {
		err = protocol.WriteFileAtomic(target, binary, 0o755)
	}
	if err != nil {
		return fmt.Errorf("install %s: %w", portmapName, err)
	}
	return nil
}

// Uninstall removes what Install made, the configuration first, but for portmap, which other networks may use. What is
// not there is no error.
func Uninstall(paths HostPaths) error {
	for _, path := range []string{filepath.Join(paths.Config, configName), filepath.Join(paths.Bin, binaryName)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	return nil
}

// installable checks a configuration list, and returns it as it is to be written. It reports whether the list names
// portmap.
func installable(config string) (content []byte, portmap bool, err error) {
	var list map[string]json.RawMessage
	if err := json.Unmarshal([]byte(config), &list); err != nil {
		return nil, false, fmt.Errorf("CNI_NETWORK_CONFIG is not a JSON object: %w", err)
	}
	var plugins []json.RawMessage
	if err := json.Unmarshal(list["plugins"], &plugins); err != nil {
		return nil, false, errors.New(`CNI_NETWORK_CONFIG: field "plugins" must be a list of plugin configurations`)
	}
	calico := false
	for i, raw := range plugins {
		var plugin struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &plugin); err != nil || plugin.Type == "" {
			return nil, false, fmt.Errorf(`CNI_NETWORK_CONFIG: field "plugins[%d].type" must be the name of a plugin`,
				i)
		}
		calico = calico || plugin.Type == binaryName
		portmap = portmap || plugin.Type == portmapName
	}
	if !calico {
		return nil, false, fmt.Errorf(`CNI_NETWORK_CONFIG: field "plugins" must contain one of type %q`, binaryName)
	}
	content, err = json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, false, fmt.Errorf("encode network configuration: %w", err)
	}
	return append(content, '\n'), portmap, nil
}

func readSelf() ([]byte, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	return io.ReadAll(self)
}
