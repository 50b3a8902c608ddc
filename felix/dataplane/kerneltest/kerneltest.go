// Package kerneltest gives tests of drivers a network namespace of their own. Only tests import it.
package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Enter moves the test's goroutine, alone on its thread from now on, into a new network namespace with the
// loopback device up. The namespace has no name and goes with the thread, so it leaves nothing behind even
// after a crash. Processes that the goroutine starts are in it too; goroutines and subtests that it starts are
// not. Without root the test is skipped, or fails if CI is set.
func Enter(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	Run(t, "ip link set lo up")
}

// RequireRoot skips the test without root, or fails it if CI is set.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("SKIPPED: this test needs root for a network namespace of its own")
}

// Current opens the network namespace that the calling thread is in.
func Current(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatalf("open the network namespace: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// New makes another network namespace, which lasts as long as the file, and stays in the one it was called in.
func New(t testing.TB) *os.File {
	t.Helper()
	home := Current(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	f := Current(t)
	Set(t, home)
	return f
}

// Set moves the calling thread, which Enter has locked, into a network namespace.
func Set(t testing.TB, ns *os.File) {
	t.Helper()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatalf("enter the network namespace: %v", err)
	}
}

// Do calls f on a thread of its own that is in a network namespace, and waits for it. What f starts on other
// goroutines is not in it, but the sockets that f opens are.
func Do(t testing.TB, ns *os.File, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done) // also when f ends the goroutine by a fatal error
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// OneCPU keeps the test's goroutine, which Enter has locked to its thread, on one CPU from now on. The
// kernel then handles the packets that it sends in their order, whatever devices they pass.
func OneCPU(t testing.TB) {
	t.Helper()
	var set, now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if now.IsSet(cpu) {
			set.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
}

// Run runs a command line, split at spaces, and returns what it wrote to its standard output.
func Run(t testing.TB, line string) string {
	t.Helper()
	out, err := Try(line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Run for commands that may fail.
func Try(line string) (string, error) {
	words := strings.Fields(line)
	cmd := exec.Command(words[0], words[1:]...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", line, err, errs.String())
	}
	return string(out), nil
}
