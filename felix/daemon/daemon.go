// Package daemon composes the Felix process: settings, drivers, stream, BGP speaker, CNI server and agent; its health,
// metrics and debug endpoints; and its command line.
//
// It decides nothing about the network. Run is called once a process, and joins every goroutine it starts.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/api/build"
	"github.com/maneki-net/maneki/bgp/speaker"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/etcd/nodeview"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/typha/metric"
)

// The files of the process.
const (
	journalPath = "/var/lib/calico/felix/stream"
	lockPath    = "/var/lib/calico/felix/lock"
	writtenFile = "/var/lib/calico/felix/node-addresses"
	debugSocket = "/var/run/calico/felix-debug.sock"
)

// Run is the agent's process until ctx ends. felix.ErrRestart (wrapped) asks the supervisor to start it again.
func Run(ctx context.Context, level *slog.LevelVar, log *slog.Logger) error {
	unlock, err := lockNode(ctx, lockPath, log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	p, err := newProcess(log)
	if err != nil {
		return err
	}
	p.level, p.log = level, log
	defer p.journal.Close()
	p.tuneRuntime()
	p.setLevel(p.config)
	store, err := openDatastore(p.config, os.Getenv)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	return p.run(ctx, store)
}

// openDatastore opens what the settings name, and otherwise the environment.
func openDatastore(c *config.Config, getenv func(string) string) (*connect.Datastore, error) {
	found, err := connect.FromEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	if c.DatastoreType == string(connect.Etcd) {
		found.Type = connect.Etcd
	}
	found.Etcd = etcd.Config{Endpoints: c.EtcdEndpoints, CAFile: c.EtcdCAFile, CertFile: c.EtcdCertFile,
		KeyFile: c.EtcdKeyFile}.FromEnvironment(getenv)
	return connect.Open(found)
}

// process is what the parts are made of.
type process struct {
	node    string
	local   []config.Source
	config  *config.Config
	journal *journal.Journal
	level   *slog.LevelVar
	log     *slog.Logger
}

// newProcess reads what the process itself is given, and opens the journal, whose FelixConfigurations count
// from the start.
func newProcess(log *slog.Logger) (*process, error) {
	local, err := localSources()
	if err != nil {
		return nil, err
	}
	p := &process{local: local}
	own, err := config.Resolve(p.local...)
	if err != nil {
		log.Error("settings partly ignored", "error", err)
	}
	for _, unused := range unusedVariables(os.Getenv) {
		log.Warn("environment variable has no effect", "name", unused.Name, "reason", unused.Why)
	}
	p.node, err = nodeName(own)
	if err != nil {
		return nil, err
	}
	p.journal = journal.Open(journalPath)
	p.config, _ = felix.ResolveConfig(p.local, p.journal.State(), p.node) // the agent logs the error
	return p, nil
}

// localSources are what is set on this node, the most important first.
func localSources() ([]config.Source, error) {
	file, err := config.ReadFile(config.DefaultFile)
	return []config.Source{config.Environment(os.Environ()), file, config.Defaults(os.Environ())}, err
}

func nodeName(c *config.Config) (string, error) {
	if c.FelixHostname != "" {
		return c.FelixHostname, nil
	}
	if name := os.Getenv("NODENAME"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this node: set FELIX_FELIXHOSTNAME: %w", err)
	}
	return name, nil
}

func (p *process) tuneRuntime() {
	debug.SetGCPercent(p.config.GoGCThreshold)
	if p.config.GoMaxProcs > 0 {
		runtime.GOMAXPROCS(p.config.GoMaxProcs)
	}
	if p.config.GoMemoryLimitMB >= 0 {
		debug.SetMemoryLimit(int64(p.config.GoMemoryLimitMB) << 20)
	}
}

// setLevel applies LogSeverityScreen.
func (p *process) setLevel(c *config.Config) {
	switch c.LogSeverityScreen {
	case "TRACE", "DEBUG":
		p.level.Set(slog.LevelDebug)
	case "WARNING":
		p.level.Set(slog.LevelWarn)
	case "ERROR", "FATAL":
		p.level.Set(slog.LevelError)
	default:
		p.level.Set(slog.LevelInfo)
	}
}

func (p *process) run(ctx context.Context, store *connect.Datastore) error {
	kernel, err := linux.Open(ctx, p.config)
	if err != nil {
		return err
	}
	defer kernel.Close()
	events, err := monitor.Open()
	if err != nil {
		return err
	}
	mtu, err := regexp.Compile(p.config.MTUIfacePattern)
	if err != nil {
		return fmt.Errorf("MTUIfacePattern: %w", err)
	}
	learned, err := kernel.LearnedRoutes()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	p.log = metric.CountLog(p.log, registry, "felix")
	registry.MustRegister(kernel.Metrics)
	registerHost(registry, p.node)
	if p.config.PrometheusGoMetricsEnabled {
		registry.MustRegister(collectors.NewGoCollector())
	}
	if p.config.PrometheusProcessMetricsEnabled {
		registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	source, err := p.openSource(store, registry)
	if err != nil {
		return err
	}
	client := ipam.New(store)
	watcher := node.NewWatcher(node.Options{Node: p.node, Store: nodeStore(store), IPAM: client,
		Interfaces: kernel.Links,
		Families:   kernel.Dataplane.Families(), MTUPattern: mtu, Written: writtenFile, Log: p.log})
	bgpSpeaker := speaker.New(p.log, speaker.Options{})
	agent := felix.NewAgent(onKernel(kernel, felix.Options{
		Node: p.node, Source: source.Source, Whole: source.whole, Journal: p.journal, Events: events.Events(),
		Speaker: bgpSpeaker, Facts: watcher, FirstFacts: p.firstFacts(kernel, mtu), Learned: learned,
		Local: p.local, Config: p.config, Configured: p.setLevel, Metrics: felix.NewMetrics(registry), Log: p.log,
	}))
	cni, err := cniserver.New(cniserver.Options{Node: p.node, IPAM: client, Endpoints: agent, State: agent.CNIState,
		Log: p.log})
	if err != nil {
		return err
	}
	client.SetLimits(func() ipam.Limits { return agent.CNIState().Limits })
	client.SetLive(func() []block.Lease { return append(cni.Leases(), watcher.Leases()...) })
	workloads, err := cni.Workloads()
	if err != nil {
		return err
	}
	agent.Restore(workloads)
	p.log.Info("felix starts", "node", p.node, "version", build.Version(), "workloads", len(workloads), "iptables",
		kernel.Variant)
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{source.run, watcher.Run, bgpSpeaker.Run, events.Run, cni.Run,
		agent.Run,
		func(ctx context.Context) error { return p.serveHealth(ctx, agent) },
		func(ctx context.Context) error { return p.serveMetrics(ctx, registry) },
		func(ctx context.Context) error { return serveDebug(ctx, agent) },
	} {
		group.Go(func() error { return part(ctx) })
	}
	if store.Type == connect.Etcd { // in Kubernetes, kube-controllers does
		group.Go(func() error { return makeInitial(ctx, store, p.log) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	p.log.Info("felix ends, leaving the kernel as it is")
	return nil
}

// onKernel adds to the options of an agent what programs and reads the kernel.
func onKernel(kernel *linux.Kernel, opts felix.Options) felix.Options {
	opts.Dataplane, opts.Interfaces = kernel.Dataplane, kernel.Interfaces
	opts.Underlay = map[dataplane.Family]felix.Underlay{}
	for family, underlay := range kernel.Underlay {
		opts.Underlay[family] = underlay
	}
	return opts
}

// nodeStore has the Node of Kubernetes for this node, on etcd as a view of Calico's.
func nodeStore(store *connect.Datastore) datastore.Store {
	if store.Type == connect.Etcd {
		return nodeview.New(store.Store)
	}
	return store
}

// firstFacts are what the journal knew of the node, as far as its interfaces still agree.
func (p *process) firstFacts(kernel *linux.Kernel, mtu *regexp.Regexp) node.Facts {
	facts, err := felix.FactsOf(kernel.Links, p.journal.State(), p.node, mtu)
	if err != nil {
		p.log.Info("what was known of this node does not hold any more", "error", err)
		return node.Facts{Name: p.node}
	}
	return facts
}
