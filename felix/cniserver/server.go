// Package cniserver answers the CNI plugin of its node over a unix socket: it gives pods
// their addresses and interfaces and takes them back.
//
// It owns the socket, the records on disk of the pods' interfaces, and the spool of DELs that came
// while Felix was down. It does not decide policy and programs nothing but the pods' own
// interfaces: the agent does the rest through Endpoints, and an ADD is answered only when that is done. Each
// connection has its goroutine, bounded in number; those of one pod exclude each other. One more
// goroutine owns all traffic with IPAM, so that requests that wait together share a write. It also writes
// the addresses of the pods that run again, should the datastore have lost them.
package cniserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/wire"
)

// DefaultRecords is the directory of the records.
const DefaultRecords = "/var/lib/calico/felix/workloads"

// Limits of the server.
const (
	maxConnections = 64
	// requestLimit bounds the work on one request; the plugin waits a little longer.
	requestLimit = 80 * time.Second
	// spoolInterval is how often the spool is read while Felix runs: a DEL lands there also
	// when Felix was too slow.
	spoolInterval = 30 * time.Second
)

// Options of a Server. Those without a default are required.
type Options struct {
	Node    string // this node's name
	Socket  string // default protocol.DefaultSocket
	Spool   string // default protocol.DefaultSpool
	Records string // default DefaultRecords
	// IPAM gives and takes addresses; it is called by one goroutine.
	IPAM IPAM
	// Links makes the pods' interfaces; called concurrently for different pods. Default: the kernel.
	Links Links
	// Endpoints is the agent's side; called concurrently.
	Endpoints Endpoints
	// State gives what the agent knows at this moment; called concurrently.
	State func() State
	Log   *slog.Logger
}

// State is what the agent knows of the node; immutable.
type State struct {
	// NotReady is why the node cannot network pods now; STATUS answers it.
	NotReady error
	// Refused is why an ADD fails at once because waiting would not help. It is nil if it does not.
	Refused error
	Pools   []ipam.Pool
	// Limits restrict the assignment of addresses beside the pools.
	Limits ipam.Limits
	// Host is this node's addresses; nil while they are unknown.
	Host *wire.Host
	// NoIPv6 is set if Felix does not program IPv6 (Ipv6Support). A pod with an IPv6 address would be cut off.
	NoIPv6 bool
	// Labels of this node choose the pools.
	Labels map[string]string
	// MTU of a new interface, in octets; 0 is the kernel's default. The configuration's mtu wins.
	MTU int
}

// IPAM is the part of ipam.Client that the server uses.
type IPAM interface {
	Assign(ctx context.Context, host ipam.Host, pools []ipam.Pool, requests []ipam.Request) []ipam.Result
	Release(ctx context.Context, node string, handles ...string) ([]block.Lease, error)
	Reassert(ctx context.Context, host ipam.Host, pools []ipam.Pool, requests []ipam.Request) []error
}

// Workload is a pod's interface as the agent needs to know it.
type Workload struct {
	Namespace, Pod, UID string
	ContainerID         string
	HostIface           string           // the host's end: "cali…"
	MAC                 net.HardwareAddr // of the pod's end
	Addrs               []netip.Addr     // at most one of each family
}

// Endpoints is what the server needs of the agent.
type Endpoints interface {
	// Endpoint returns what is known of the pod. It waits until the pod is known on this node or ctx ends. An empty uid
	// matches any.
	Endpoint(ctx context.Context, namespace, pod, uid string) (*wire.Endpoint, error)
	// Add returns when the kernel has the routes and the policy of the workload, whose interface exists.
	// Repeating it is harmless.
	Add(ctx context.Context, w Workload) error
	// Remove forgets a workload, whose host interface is about to go. It does not wait.
	Remove(w Workload)
	// Conflicts reports the pods that have an address that IPAM does not assign to them, with the reasons. It replaces
	// the former report.
	Conflicts(problems []string)
	// WithoutEffect reports the keys of the CNI configuration that have no effect, with the reasons. It replaces the
	// former report.
	WithoutEffect(keys []string)
}

// Server answers the CNI plugin.
type Server struct {
	opts     Options
	records  *recordStore
	pods     keyedLocks // by record.pod
	assigner *assigner

	ineffective ineffective
}

// New reads the records; Run starts the server.
func New(opts Options) (*Server, error) {
	opts.Socket = cmp.Or(opts.Socket, protocol.DefaultSocket)
	opts.Spool = cmp.Or(opts.Spool, protocol.DefaultSpool)
	opts.Records = cmp.Or(opts.Records, DefaultRecords)
	if opts.Links == nil {
		opts.Links = veth.Open()
	}
	records, err := openRecords(opts.Records, opts.Log)
	if err != nil {
		return nil, err
	}
	return &Server{opts: opts, records: records, assigner: newAssigner(opts.IPAM, opts.Node, opts.Log)}, nil
}

// Workloads returns the interfaces that exist according to the records. The agent knows them by
// it before anything else happens after a restart; call it before Run.
func (s *Server) Workloads() ([]Workload, error) {
	var workloads []Workload
	for _, r := range s.records.all() {
		if r.State != stateReady {
			continue
		}
		exists, err := s.opts.Links.Exists(r.HostIface)
		if err != nil {
			return nil, fmt.Errorf("look for interface %s: %w", r.HostIface, err)
		}
		if exists {
			workloads = append(workloads, r.workload())
		}
	}
	return workloads, nil
}

// Run serves until ctx ends, which is no error.
func (s *Server) Run(ctx context.Context) error {
	listener, err := listen(s.opts.Socket)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.assigner.run(ctx) })
	s.recover(ctx) // connections wait in the listener's queue meanwhile
	s.opts.Log.Info("cni server listens", "socket", s.opts.Socket)
	group.Go(func() error { return s.watchSpool(ctx) })
	group.Go(func() error { return s.watchLeases(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		return listener.Close()
	})
	group.Go(func() error { return s.accept(ctx, listener) })
	return group.Wait()
}

// listen makes the socket, in place of one that a dead process left, for root alone.
func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen for the CNI plugin: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for the CNI plugin: remove old socket: %w", err)
	}
	// The socket gets its name only when it has its mode: nobody else can connect in between.
	temporary := path + ".new"
	_ = os.Remove(temporary) // of a process that died here
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the CNI plugin: %w", err)
	}
	listener.SetUnlinkOnClose(false) // the name may belong to a successor by then
	err = os.Chmod(temporary, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("listen for the CNI plugin: %w", err)
	}
	return listener, nil
}

func (s *Server) accept(ctx context.Context, listener *net.UnixListener) error {
	var connections errgroup.Group
	connections.SetLimit(maxConnections)
	for {
		conn, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return connections.Wait()
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			s.opts.Log.Warn("cni connection not accepted", "error", err)
			wait(ctx, 100*time.Millisecond)
		case err != nil:
			return fmt.Errorf("accept CNI connection: %w", err)
		default:
			connections.Go(func() error {
				s.serve(ctx, conn)
				return nil
			})
		}
	}
}

// serve answers one connection. When ctx ends in the middle it closes without an answer: the plugin
// then repeats an ADD and spools a DEL.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	deadline := time.Now().Add(requestLimit)
	if err := conn.SetDeadline(deadline); err != nil {
		s.opts.Log.Warn("cni connection failed", "error", err)
		return
	}
	request, netns, err := protocol.ReadRequest(conn)
	if err != nil {
		s.opts.Log.Warn("cni request refused", "error", err)
		return
	}
	if netns != nil {
		defer netns.Close()
	}
	work, cancel := context.WithDeadline(ctx, deadline.Add(-time.Second)) // leaves time to answer
	defer cancel()
	result, err := s.handle(work, request, netns)
	if ctx.Err() != nil {
		return
	}
	log := s.opts.Log.With("command", request.Command, "container", request.ContainerID, "args", request.Args)
	if err != nil {
		log.Warn("cni request failed", "error", err)
	}
	response := &protocol.Response{Result: result, Error: errorObject(err)}
	if err := protocol.WriteResponse(conn, response); err != nil {
		log.Warn("cni response not delivered", "error", err)
	}
}

func (s *Server) handle(ctx context.Context, request *protocol.Request, netns *os.File) ([]byte, error) {
	if request.Command == "DEL" {
		return nil, s.del(ctx, request, "")
	}
	config, err := parseConfig(request.Config)
	if err != nil {
		return nil, err
	}
	s.note(config)
	switch request.Command {
	case "ADD":
		return s.add(ctx, request, config, netns)
	case "CHECK":
		return nil, s.check(ctx, request, netns)
	case "STATUS":
		return nil, s.status()
	case "GC":
		return nil, s.collect(ctx, config)
	}
	return nil, &protocol.Error{Code: protocol.CodeInvalidEnvironment,
		Msg: fmt.Sprintf("command %q is unknown", request.Command)}
}

// errorObject returns the CNI error object of an error.
func errorObject(err error) *protocol.Error {
	var object *protocol.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &object):
		return object
	case errors.Is(err, context.DeadlineExceeded):
		return &protocol.Error{Code: protocol.CodeTryAgain, Msg: err.Error()}
	}
	return &protocol.Error{Code: protocol.CodeInternal, Msg: err.Error()}
}

// wait sleeps, or returns early when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
