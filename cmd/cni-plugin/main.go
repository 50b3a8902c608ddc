// Command cni-plugin is the CNI plugin, installed as /opt/cni/bin/calico.
package main

import (
	"os"

	cniplugin "github.com/maneki-net/maneki/cni-plugin"
)

func main() {
	os.Exit(cniplugin.Main(os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
