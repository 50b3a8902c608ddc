package nodeinit

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is what a process gets between SIGTERM and SIGKILL.
const stopTimeout = 10 * time.Second

// request is one message of a Client, answered by one reply.
type request struct {
	Ensure *Process `json:",omitempty"`
	Stop   string   `json:",omitempty"`
}

type reply struct {
	Error     string `json:",omitempty"`
	Started   bool
	Processes map[string]Status
}

// server is process 1: it starts processes on request and reaps all others
// that the kernel hands to it.
type server struct {
	listener net.Listener
	requests sync.Mutex // one request at a time

	mu        sync.Mutex // guards below
	processes map[string]*entry
}

type entry struct {
	status Status
	exited chan struct{} // closed by the reaper
}

func newServer(l net.Listener) *server {
	return &server{listener: l, processes: map[string]*entry{}}
}

func (s *server) serve() error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			s.reap()
		}
	}()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go s.answer(conn)
	}
}

func (s *server) answer(conn net.Conn) {
	defer conn.Close()
	var req request
	var rep reply
	err := json.NewDecoder(conn).Decode(&req)
	if err == nil {
		rep.Started, err = s.handle(req)
	}
	if err != nil {
		rep.Error = err.Error()
	}
	rep.Processes = s.statuses()
	// The client may have gone; nothing is owed to it then.
	_ = json.NewEncoder(conn).Encode(rep)
}

func (s *server) handle(req request) (started bool, err error) {
	s.requests.Lock()
	defer s.requests.Unlock()
	switch {
	case req.Ensure != nil:
		return s.ensure(*req.Ensure)
	case req.Stop != "":
		return false, s.stop(req.Stop)
	}
	return false, nil
}

// ensure starts the process unless it runs already as asked for.
func (s *server) ensure(p Process) (started bool, err error) {
	s.mu.Lock()
	e := s.processes[p.Name]
	same := e != nil && e.status.PID != 0 && e.status.Revision == p.Revision && slices.Equal(e.status.Argv, p.Argv)
	s.mu.Unlock()
	if same {
		return false, nil
	}
	if err := s.stop(p.Name); err != nil {
		return false, err
	}
	return true, s.start(p)
}

func (s *server) start(p Process) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.Name, err)
	}
	defer log.Close()
	s.mu.Lock() // held until the entry exists, so that the reaper finds it
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(p.Argv[0], p.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   p.Env,
		Files: []uintptr{devNull(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	s.processes[p.Name] = &entry{status: Status{Process: p, PID: pid}, exited: make(chan struct{})}
	return nil
}

var devNull = sync.OnceValue(func() uintptr {
	fd, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(fmt.Sprintf("open /dev/null: %v", err))
	}
	return uintptr(fd)
})

// stop ends the process if it runs, and waits for its end.
func (s *server) stop(name string) error {
	s.mu.Lock()
	e := s.processes[name]
	if e == nil || e.status.PID == 0 {
		s.mu.Unlock()
		return nil
	}
	err := syscall.Kill(e.status.PID, syscall.SIGTERM)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	select {
	case <-e.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	s.mu.Lock()
	if e.status.PID != 0 {
		err = syscall.Kill(e.status.PID, syscall.SIGKILL)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-e.exited
	return nil
}

// reap collects every ended child, known or orphaned.
func (s *server) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		for _, e := range s.processes {
			if e.status.PID != pid {
				continue
			}
			e.status.PID = 0
			e.status.Exit = describe(ws)
			fmt.Printf("%s %s: %s\n", time.Now().UTC().Format(time.RFC3339), e.status.Name, e.status.Exit)
			close(e.exited)
		}
	}
}

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "killed by " + ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

func (s *server) statuses() map[string]Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Status, len(s.processes))
	for name, e := range s.processes {
		all[name] = e.status
	}
	return all
}
