// Package daemon is the program kube-controllers: it reads the configuration, connects to
// the cluster and runs the controllers until told to stop.
//
// It decides nothing about the cluster; each controller is a package beside it. The
// controllers run on the leader only, the admission webhook on every replica.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/go-logr/logr"
	registration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/maneki-net/maneki/api/build"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/kube-controllers/admission"
	"github.com/maneki-net/maneki/kube-controllers/clusterinfo"
	"github.com/maneki-net/maneki/kube-controllers/defaults"
	"github.com/maneki-net/maneki/kube-controllers/effects"
	"github.com/maneki-net/maneki/kube-controllers/hostendpoint"
	"github.com/maneki-net/maneki/kube-controllers/ipamgc"
	"github.com/maneki-net/maneki/kube-controllers/ippool"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
	"github.com/maneki-net/maneki/kube-controllers/status"
	"github.com/maneki-net/maneki/kube-controllers/tier"
	"github.com/maneki-net/maneki/kube-controllers/typhascale"
	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/transport"
)

// leaseName is the Lease by which one replica becomes the leader.
const leaseName = "calico-kube-controllers"

// Main runs the program and gives its exit status. args are without the program's name.
func Main(ctx context.Context, environ, args []string, stderr io.Writer) int {
	program := func() error { return run(ctx, environ, args, stderr) }
	if len(args) > 0 && args[0] == "await-daemonset" {
		program = func() error { return awaitDaemonSet(ctx, environ, args[1:]) }
	}
	if err := program(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stderr, "kube-controllers:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, environ, args []string, stderr io.Writer) error {
	config, err := ParseConfig(environ, args)
	if err != nil {
		return err
	}
	config.Level = &slog.LevelVar{}
	if level, given := runconfig.Level(config.LogLevel); given {
		config.Level.Set(level)
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: config.Level}))
	for _, problem := range unusedVariables(environ) {
		log.Warn("environment variable has no effect", "name", problem.name, "reason", problem.reason)
	}
	cluster, err := kubernetes.Config(config.Kubeconfig)
	if err != nil {
		return err
	}
	return Run(ctx, cluster, config, log)
}

// Run runs the controllers against a cluster until ctx ends, or leadership is lost.
func Run(ctx context.Context, cluster *rest.Config, config Config, log *slog.Logger) error {
	logger := logr.FromSlogHandler(log.Handler())
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	mgr, err := newManager(cluster, config, log)
	if err != nil {
		return err
	}
	running := runconfig.New(config.environment(), mgr.GetAPIReader(), log)
	if config.Level != nil {
		running.OnChange(func() { config.Level.Set(running.Config().Level) })
	}
	if err := running.Add(mgr); err != nil {
		return err
	}
	var hook *admission.Server
	ready := healthz.Ping
	for _, name := range config.enabled() {
		log := log.With("controller", name)
		switch {
		case slices.Contains(foreign, name):
			log.Warn("there is no such controller", "reason", whyNot(name))
		case name == controllerAdmission:
			hook, err = addAdmission(mgr, config, log)
			if err == nil {
				ready = hook.Ready
			}
		default:
			err = add(mgr, name, config, running, log)
		}
		if err != nil {
			return err
		}
	}
	if err := addCertificates(mgr, config, hook, log); err != nil {
		return err
	}
	if err := serve(ctx, mgr, config.MetricsAddress, ready, running, log); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run the controllers: %w", err)
	}
	return nil
}

func newManager(cluster *rest.Config, config Config, log *slog.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, register := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, autoscalingv1.AddToScheme, registration.AddToScheme,
		networkingv1.AddToScheme, policyv1alpha2.Install, v3.AddToScheme} {
		if err := register(scheme); err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
	}
	store, err := kubernetes.New(cluster)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Logger: logr.FromSlogHandler(log.Handler()),
		Cache: cache.Options{
			NewInformer:      informers(store, scheme, log),
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Pod{}:          {Transform: trimPod},
				&corev1.Node{}:         {Transform: trimNode},
				&corev1.Namespace{}:    {Transform: trimMetadata},
				&corev1.Service{}:      {Transform: trimMetadata},
				&v3.CalicoNodeStatus{}: {Transform: status.TrimNodeStatus},
			},
		},
		// serve has limits that its server lacks
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0", // health is served beside the metrics
		LeaderElection:                config.LeaderElection,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       config.PodNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return mgr, nil
}

// add sets up one controller.
func add(mgr ctrl.Manager, name string, config Config, running *runconfig.Running, log *slog.Logger) error {
	switch name {
	case controllerNode:
		store, err := kubernetes.New(mgr.GetConfig())
		if err != nil {
			return err
		}
		return ipamgc.Add(mgr, ipamgc.Options{
			IPAM:      ipam.New(store),
			Config:    running.Node,
			Changed:   running.Source(),
			NodeGrace: config.NodeGracePeriod,
			Log:       log,
		})
	case controllerIPPool:
		store, err := kubernetes.New(mgr.GetConfig())
		if err != nil {
			return err
		}
		return ippool.Add(mgr, store, log)
	case controllerClusterInfo:
		return clusterinfo.Add(mgr, build.Version(), log)
	case controllerTier:
		return tier.Add(mgr, log)
	case controllerDefaults:
		return defaults.Add(mgr, log)
	case controllerHostEndpoint:
		return hostendpoint.Add(mgr, running.Node, running.Source(), log)
	case controllerEffects:
		store, err := kubernetes.New(mgr.GetConfig())
		if err != nil {
			return err
		}
		return effects.Add(mgr, effects.Options{Store: store, Log: log})
	case controllerTyphaScale:
		if config.TyphaDeployment == "" {
			log.Info("no deployment of typha to scale")
			return nil
		}
		return typhascale.Add(mgr, types.NamespacedName{Namespace: config.PodNamespace, Name: config.TyphaDeployment},
			log)
	case controllerStatus:
		if config.TyphaService == "" {
			log.Info("no typha to follow")
			return nil
		}
		return addStatus(mgr, config, log)
	}
	return fmt.Errorf("there is no controller %q", name)
}

func addStatus(mgr ctrl.Manager, config Config, log *slog.Logger) error {
	store, err := kubernetes.New(mgr.GetConfig())
	if err != nil {
		return err
	}
	replicas, err := discovery.New(discovery.Options{API: mgr.GetConfig(), Log: log, Port: discovery.PortName,
		Namespace: cmp.Or(config.TyphaNamespace, config.PodNamespace), Service: config.TyphaService})
	if err != nil {
		return err
	}
	observe := func(ctx context.Context, address string, each func(hub.Observed)) error {
		return transport.Observe(ctx, transport.ObserverOptions{Address: address, TLS: config.TyphaTLS,
			TokenFile: config.TyphaTokenFile}, each)
	}
	return status.Add(mgr, status.Options{Replicas: replicas, Observe: observe, Store: store, Log: log})
}

// addAdmission sets up the webhooks. They answer once they have a certificate.
func addAdmission(mgr ctrl.Manager, config Config, log *slog.Logger) (*admission.Server, error) {
	direct, err := uncached(mgr)
	if err != nil {
		return nil, err
	}
	server := admission.New(admission.Options{
		Client:        direct,
		Cache:         mgr.GetClient(),
		Scheme:        mgr.GetScheme(),
		Configuration: config.WebhookConfiguration,
		Port:          config.WebhookPort,
		Budget:        config.Budget,
		Log:           log,
	})
	return server, mgr.Add(server)
}

// uncached returns a client that reads and writes the API directly.
func uncached(mgr ctrl.Manager) (client.Client, error) {
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("make a client without a cache: %w", err)
	}
	return direct, nil
}
