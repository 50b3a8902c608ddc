package sysctl

import (
	"errors"
	"os"
	"path/filepath"
)

// Root is where the kernel shows its settings; net/ below it is of the reader's network namespace.
const Root = "/proc/sys"

// Mounted is where an unprivileged pod has the host's /proc/sys/net: runtimes make the pod's own /proc/sys read-only.
// Settings there belong to the network namespace of the process that reads or writes them, as below Root.
const Mounted = "/host/proc/sys"

// Writable returns Mounted if it exists, and Root otherwise.
func Writable() string {
	if _, err := os.Stat(Mounted + "/net"); err == nil {
		return Mounted
	}
	return Root
}

// Dir is the Kernel whose settings are the files below a directory: below Writable, except in tests.
type Dir string

// ReadSetting returns what the file of a key has.
func (d Dir) ReadSetting(key string) (string, error) {
	value, err := os.ReadFile(filepath.Join(string(d), key))
	return string(value), err
}

// WriteSetting writes to the file of a key, which must exist.
func (d Dir) WriteSetting(key, value string) error {
	f, err := os.OpenFile(filepath.Join(string(d), key), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
