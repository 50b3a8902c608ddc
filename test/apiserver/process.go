package apiserver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// process is a running program whose output goes to a file.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	// ended is closed when the process is gone; err is how it ended, then.
	ended chan struct{}
	err   error
}

func launch(log, program string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: filepath.Base(program), log: log, cmd: exec.Command(program, args...), ended: make(chan struct{})}
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

// kill ends the process and waits until it is gone. It may be called twice.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only if it is gone already
	<-p.ended
}

// until repeats a question until its answer is no error.
func (p *process) until(ctx context.Context, state string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := ask(ctx)
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

// tail is the end of the process's output.
func (p *process) tail() []byte {
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
