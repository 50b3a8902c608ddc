// Package cluster runs a real Kubernetes of several nodes on one machine, in
// Linux namespaces, for tests, demonstrations and benchmarks.
//
// It owns everything the cluster leaves on the machine: network namespaces
// NAME-…, the veth mkINDEX-up, cgroups maneki/NAME, the record
// /run/maneki/NAME.json and the state directory .cluster/NAME. All of
// them follow from the cluster's name and index, which are recorded before
// anything is made, so that Down can remove a cluster whose Up was killed at
// any point. It never imports server code of Kubernetes or etcd: it builds those
// programs from the modules under hack/ and starts them.
//
// Up, Open and Down are called by the command in cmd/cluster and by end-to-end
// tests; each cluster is worked on by one caller at a time, which a file lock
// enforces across processes. The methods of Cluster and Node that only look or
// execute are safe for concurrent use.
package cluster
