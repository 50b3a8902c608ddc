package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/kube-controllers/uninstall"
)

// awaitDaemonSet is the subcommand that the chart's clean-up waits with.
func awaitDaemonSet(ctx context.Context, environ, args []string) error {
	flags := flag.NewFlagSet("await-daemonset", flag.ContinueOnError)
	namespace := flags.String("namespace", "kube-system", "namespace of the DaemonSet")
	name := flags.String("name", "", "name of the DaemonSet")
	timeout := flags.Duration("timeout", 3*time.Minute, "how long to wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *name == "" {
		return fmt.Errorf("await-daemonset: --name is required")
	}
	kubeconfig, _ := lookup(environ, "KUBECONFIG")
	config, err := kubernetes.Config(kubeconfig)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := appsv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register API types: %w", err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register API types: %w", err)
	}
	if err := v3.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register API types: %w", err)
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	err = uninstall.AwaitDaemonSet(waiting, api, types.NamespacedName{Namespace: *namespace, Name: *name})
	return errors.Join(err, uninstall.ReleasePools(ctx, api))
}
