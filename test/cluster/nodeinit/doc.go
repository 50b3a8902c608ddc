// Package nodeinit makes one node of the test cluster out of Linux namespaces
// and is its process 1.
//
// It owns the node's namespaces (network joined; mount, UTS, PID and cgroup
// made here), its root file system (a private overlay of the machine's own, so
// that nothing a node writes reaches the machine) and the processes of the node
// that are not pods. It never decides what should run: the cluster library
// tells it over a unix socket. When process 1 is killed, the kernel ends every
// process and mount of the node.
//
// Start runs in a short-lived process of the machine, Run in process 1 of the
// node; Client is what the cluster library uses, from any goroutine.
package nodeinit

// Spec says what node to make.
type Spec struct {
	// Cluster is the directory with the cluster's state. With Node it
	// identifies the process on the machine: both are in its arguments.
	Cluster string
	// Node is the node's host name.
	Node string
	// NetNS is the path of the network namespace the node lives in.
	NetNS string
	// Cgroup is the node's group in every hierarchy, relative to its root.
	Cgroup string
	// Socket is where process 1 listens, a path on the machine.
	Socket string
	// Upper and Work are the writable directories of the root's overlay.
	Upper, Work string
	// Binds are directories of the machine that the node sees.
	Binds []Bind
	// Files are written into the node's root, by absolute path.
	Files map[string]string
}

// Bind is a directory of the machine mounted in the node.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// Process is a long-running program of a node.
type Process struct {
	// Name identifies the process in the node.
	Name string
	Argv []string
	Env  []string
	// Log is the file, as the node sees it, that takes output; appended to.
	Log string
	// Revision is any text; a process that runs with another one is restarted.
	Revision string
}

// Status is what process 1 knows of a Process.
type Status struct {
	Process
	// PID is the process's id inside the node, 0 when it does not run.
	PID int
	// Exit says how the process ended when it does not run.
	Exit string
}
