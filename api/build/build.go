// Package build says what a program was built from, as the Go toolchain recorded it in the program. Every program of
// the product names its version by it. It imports nothing of this module.
package build

import "runtime/debug"

// unknown stands for what the toolchain did not record.
const unknown = "unknown"

// Version returns the module's version. Of a build in a checkout that is "(devel)" or a pseudo-version of the commit.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return unknown
}

// Commit returns the commit in the version control system.
func Commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return unknown
}

// Dependency returns the version of a module that the program contains, by the module's path; empty without one.
func Dependency(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == path {
				return dep.Version
			}
		}
	}
	return ""
}
