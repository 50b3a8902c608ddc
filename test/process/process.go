// Package process runs servers on loopback for tests: started with their output in a file, waited for, and killed with
// the test, also when that is killed.
//
// It owns a process for as long as its Process lives, and nothing of what the program does. Packages apiserver and
// etcdserver call it. A Process may be used by any number of goroutines.
package process

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// The bounds of what is waited for, and how often it is asked. A server that is starting may leave a request without an
// answer: kube-apiserver was seen to, on a busy machine. So a question has a bound of its own, and is asked again.
const (
	readyWithin  = time.Minute
	answerWithin = 5 * time.Second
	askEvery     = 50 * time.Millisecond
)

// Process is a running program whose output goes to a file.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	// ended is closed when the process is gone; err is how it ended, then.
	ended chan struct{}
	err   error
}

// Launch starts a program. Its output is appended to the log.
func Launch(log, program string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{name: filepath.Base(program), log: log, cmd: exec.Command(program, args...),
		ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// Kill ends the process and waits until it is gone. It may be called twice.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // fails only if it is gone already
	<-p.ended
}

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Until repeats a question until its answer is no error.
func (p *Process) Until(ctx context.Context, state string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := askOnce(ctx, ask)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not %s after %s: %w\n%s", p.name, state, readyWithin, err, p.tail())
		case <-p.ended:
			return fmt.Errorf("%s ended before it was %s: %w\n%s", p.name, state, p.err, p.tail())
		case <-tick.C:
		}
	}
}

func askOnce(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return ask(ctx)
}

// tail is the end of the process's output.
func (p *Process) tail() []byte {
	const most = 4000
	body, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	if len(body) > most {
		body = body[len(body)-most:]
	}
	return bytes.TrimSpace(body)
}

// Ports are taken below those that the kernel gives to connections (ip_local_port_range begins with 32768), since one
// of these could have a port by the time that a process listens on it.
const (
	firstPort = 10_000
	lastPort  = 32_767
)

// FreePorts returns ports that nobody listens on.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := listen()
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// listen tries ports at random.
func listen() (l net.Listener, err error) {
	for range 100 {
		port := firstPort + rand.N(lastPort-firstPort+1)
		l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			return l, nil
		}
	}
	return nil, err
}
