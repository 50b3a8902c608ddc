package fake

import (
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// globalSettings are the settings that are not a device's, with the values of a new namespace.
var globalSettings = map[string]string{
	"net/ipv4/ip_forward":          "0",
	"net/ipv4/ip_local_port_range": "32768\t60999",
}

// deviceSettings are the settings of each device, and of what stands for all of them and for later ones, with their
// first values.
var deviceSettings = map[string]string{
	"net/ipv4/conf/*/proxy_arp":               "0",
	"net/ipv4/conf/*/rp_filter":               "0",
	"net/ipv4/conf/*/forwarding":              "0",
	"net/ipv4/conf/*/route_localnet":          "0",
	"net/ipv4/conf/*/accept_redirects":        "1",
	"net/ipv4/neigh/*/proxy_delay":            "80",
	"net/ipv6/conf/*/proxy_ndp":               "0",
	"net/ipv6/conf/*/forwarding":              "0",
	"net/ipv6/conf/*/accept_ra":               "1",
	"net/ipv6/conf/*/accept_redirects":        "1",
	"net/ipv6/conf/*/disable_ipv6":            "0",
	"net/ipv6/conf/*/keep_addr_on_down":       "0",
	"net/ipv6/conf/*/accept_dad":              "1",
	"net/ipv6/conf/*/addr_gen_mode":           "0",
	"net/ipv4/conf/*/send_redirects":          "1",
	"net/ipv4/conf/*/src_valid_mark":          "0",
	"net/ipv4/neigh/*/gc_stale_time":          "60",
	"net/ipv4/neigh/*/base_reachable_time_ms": "30000",
	"net/ipv6/neigh/*/gc_stale_time":          "60",
}

func (k *Kernel) addSettings(device string) {
	for key, value := range deviceSettings {
		k.sysctl[strings.ReplaceAll(key, "*", device)] = value
	}
}

func (k *Kernel) removeSettings(device string) {
	for key := range deviceSettings {
		delete(k.sysctl, strings.ReplaceAll(key, "*", device))
	}
}

// noSetting is the error for a setting that does not exist.
func noSetting(key string) error {
	return &fs.PathError{Op: "open", Path: "/proc/sys/" + key, Err: unix.ENOENT}
}

// ReadSetting returns the value of a sysctl. The error for one that does not exist wraps fs.ErrNotExist.
func (k *Kernel) ReadSetting(key string) (string, error) {
	defer k.mu.Unlock()
	if err := k.begin("ReadSetting"); err != nil {
		return "", err
	}
	value, exists := k.sysctl[key]
	if !exists {
		return "", noSetting(key)
	}
	return value + "\n", nil
}

// WriteSetting changes the value of a sysctl that exists.
func (k *Kernel) WriteSetting(key, value string) error {
	defer k.mu.Unlock()
	if err := k.begin("WriteSetting"); err != nil {
		return err
	}
	if _, exists := k.sysctl[key]; !exists {
		return noSetting(key)
	}
	k.sysctl[key] = strings.Join(strings.Fields(value), "\t")
	return nil
}
