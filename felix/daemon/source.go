package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/stream"
	"github.com/maneki-net/maneki/typha/sync"
)

// source is where commits come from, and what has to run for it.
type source struct {
	stream.Source
	whole bool // the first commit is everything
	run   func(context.Context) error
}

// openSource makes a client of Typha if one is configured, and otherwise Typha's parts in this process.
func (p *process) openSource(store *connect.Datastore, registry prometheus.Registerer) (source, error) {
	c := p.config
	if c.TyphaAddr == "" && c.TyphaK8sServiceName == "" {
		local := typha.NewLocal(typha.LocalOptions{Store: store, Kinds: kinds(store.Type), Logger: p.log, Metrics: stream.NewMetrics(registry)})
		return source{local.Source(p.node), true, local.Run}, nil
	}
	addresses := func(context.Context) ([]string, error) { return []string{c.TyphaAddr}, nil }
	if c.TyphaAddr == "" {
		if store.API == nil {
			return source{}, fmt.Errorf("find Typha: a Service (TyphaK8sServiceName) needs Kubernetes, and the datastore is %s: set TyphaAddr", store.Type)
		}
		client, err := rest.HTTPClientFor(store.API)
		if err != nil {
			return source{}, fmt.Errorf("make API client: %w", err)
		}
		addresses = (&service{client: client, host: store.API.Host, namespace: c.TyphaK8sNamespace, name: c.TyphaK8sServiceName}).addresses
	}
	known := p.journal.State()
	client, err := stream.NewClient(stream.ClientOptions{
		Node: p.node, Addresses: addresses, TokenFile: c.TyphaTokenFile, ReadTimeout: c.TyphaReadTimeout, Logger: p.log,
		TLS: stream.TLS{CAFile: c.TyphaCAFile, CertFile: c.TyphaCertFile, KeyFile: c.TyphaKeyFile,
			PeerCN: c.TyphaCN, PeerURISAN: c.TyphaURISAN},
		Held: known.Objects, Versions: known.Versions,
	})
	if err != nil {
		return source{}, err
	}
	return source{client, false, client.Run}, nil
}

// kinds are what Typha's part reads of a datastore.
func kinds(t connect.Type) []datastore.Kind {
	if t == connect.Etcd {
		return sync.EtcdKinds()
	}
	return sync.KubernetesKinds()
}

// discoveryTimeout bounds one question for Typha's endpoints.
const discoveryTimeout = 10 * time.Second

// typhaPort is the name of the port in Typha's Service.
const typhaPort = "calico-typha"

// endpointSlices is what is read of a list of EndpointSlices (discovery.k8s.io/v1).
type endpointSlices struct {
	Items []struct {
		Endpoints []struct {
			Addresses  []string `json:"addresses"`
			Conditions struct {
				Ready *bool `json:"ready"`
			} `json:"conditions"`
		} `json:"endpoints"`
		Ports []struct {
			Name *string `json:"name"`
			Port *int32  `json:"port"`
		} `json:"ports"`
	} `json:"items"`
}

// service finds the replicas behind a Service. It does not go by the Service's own address: that needs
// kube-proxy, which may need this node's routes. One goroutine uses it.
type service struct {
	client          *http.Client
	host            string // the API server's
	namespace, name string
	last            []string // what the API server answered last
}

// addresses gives the ready endpoints, as host:port. While the API server cannot be asked it gives those of the last
// answer, so that a node finds back to a Typha that still runs.
func (s *service) addresses(ctx context.Context) ([]string, error) {
	found, err := s.ask(ctx)
	switch {
	case err == nil:
		s.last = found
	case len(s.last) > 0 && !errors.Is(err, errNoEndpoint):
		return s.last, nil
	}
	return found, err
}

func (s *service) ask(ctx context.Context) ([]string, error) {
	namespace, name := s.namespace, s.name
	address, err := url.JoinPath(s.host, "apis/discovery.k8s.io/v1/namespaces", namespace, "endpointslices")
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	address += "?labelSelector=" + url.QueryEscape("kubernetes.io/service-name="+name)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for endpoints of Service %s/%s: %w", namespace, name, err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask for endpoints of Service %s/%s: %w", namespace, name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for endpoints of Service %s/%s: %s", namespace, name, response.Status)
	}
	var slices endpointSlices
	if err := json.NewDecoder(response.Body).Decode(&slices); err != nil {
		return nil, fmt.Errorf("read endpoints of Service %s/%s: %w", namespace, name, err)
	}
	found := slices.addresses()
	if len(found) == 0 {
		return nil, fmt.Errorf("Service %s/%s: %w", namespace, name, errNoEndpoint)
	}
	return found, nil
}

var errNoEndpoint = errors.New("it has no ready endpoint")

func (s *endpointSlices) addresses() []string {
	var found []string
	for _, slice := range s.Items {
		for _, port := range slice.Ports {
			if port.Port == nil || len(slice.Ports) > 1 && (port.Name == nil || *port.Name != typhaPort) {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
					continue
				}
				for _, addr := range endpoint.Addresses {
					found = append(found, net.JoinHostPort(addr, strconv.Itoa(int(*port.Port))))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
