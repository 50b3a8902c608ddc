// Command etcd is the upstream etcd server, built from its Go module for the
// test cluster: Debian's package is older than what Kubernetes supports. It is
// a module of its own, so that server code stays out of the product's graph.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
