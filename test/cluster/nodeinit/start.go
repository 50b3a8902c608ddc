package nodeinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// File descriptors that Start hands to Run.
const (
	fdListener = 3
	fdReady    = 4
)

// Start makes the node's cgroups, enters them and the node's network
// namespace, and leaves behind process 1 of the node, running Run. It returns
// when the node is ready to take requests. The calling process must end
// afterwards: it stays in the node's cgroups.
func Start(spec Spec) error {
	runtime.LockOSThread()
	if err := joinCgroups(spec.Cgroup); err != nil {
		return err
	}
	if err := os.Remove(spec.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: spec.Socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", spec.Socket, err)
	}
	listener.SetUnlinkOnClose(false)
	listenerFile, err := listener.File()
	if err != nil {
		return fmt.Errorf("listener of %s: %w", spec.Socket, err)
	}
	ns, err := os.Open(spec.NetNS)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", spec.NetNS, err)
	}
	return spawn(spec, listenerFile)
}

// spawn clones process 1 from the current thread, whose network namespace and
// cgroups it inherits, and waits for its verdict.
func spawn(spec Spec, listener *os.File) error {
	body, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	ready, readyWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	logFile, err := os.OpenFile(filepath.Join(spec.Cluster, spec.Node+".init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY,
		0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", "run", spec.Cluster, spec.Node)
	cmd.Stdin = strings.NewReader(string(body))
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{listener, readyWrite}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("clone process 1 of node %s: %w", spec.Node, err)
	}
	readyWrite.Close()
	verdict, err := io.ReadAll(ready)
	if err != nil {
		return fmt.Errorf("wait for node %s: %w", spec.Node, err)
	}
	if string(verdict) != "ok" {
		return fmt.Errorf("node %s did not start: %s", spec.Node, verdict)
	}
	return nil
}

// Run is process 1 of a node: it reads the Spec from standard input, makes the
// root file system and serves requests for ever.
func Run() error {
	ready := os.NewFile(fdReady, "ready")
	server, err := setUp()
	if err != nil {
		fmt.Fprint(ready, err)
		return err
	}
	fmt.Fprint(ready, "ok")
	ready.Close()
	return server.serve()
}

func setUp() (*server, error) {
	var spec Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return nil, fmt.Errorf("decode spec: %w", err)
	}
	listener, err := net.FileListener(os.NewFile(fdListener, "listener"))
	if err != nil {
		return nil, fmt.Errorf("inherit listener: %w", err)
	}
	unix.CloseOnExec(fdListener)
	unix.CloseOnExec(fdReady)
	if err := unix.Sethostname([]byte(spec.Node)); err != nil {
		return nil, fmt.Errorf("set host name %s: %w", spec.Node, err)
	}
	if err := mountRoot(spec); err != nil {
		return nil, err
	}
	return newServer(listener), nil
}
