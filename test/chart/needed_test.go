package chart

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/process"
	"github.com/maneki-net/maneki/typha"
	typhadaemon "github.com/maneki-net/maneki/typha/daemon"
	"github.com/maneki-net/maneki/typha/discovery"
	typhasync "github.com/maneki-net/maneki/typha/sync"
)

// request is one that a component made.
type request struct{ method, uri, contentType, body string }

// recorder passes requests on to an API server, with the token of an account, and keeps each once. Its clients need
// none, which many would not send to a server without TLS.
type recorder struct {
	client    *rest.Config
	as        *rest.Config
	transport http.RoundTripper

	mu   sync.Mutex
	seen map[request]bool
}

func record(t *testing.T, server, as *rest.Config) *recorder {
	t.Helper()
	target, err := url.Parse(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(server))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{as: as, transport: transport, seen: map[request]bool{}}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Header.Set("Authorization", "Bearer "+as.BearerToken)
		}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.seen[request{q.Method, q.URL.RequestURI(), q.Header.Get("Content-Type"), string(body)}] = true
		r.mu.Unlock()
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(front.Close)
	r.client = &rest.Config{Host: front.URL, QPS: -1}
	return r
}

func (r *recorder) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.seen), func(a, b request) int {
		return strings.Compare(a.method+a.uri+a.body, b.method+b.uri+b.body)
	})
}

// awaitWatches waits until a watch of each of the resources has been asked for.
func (r *recorder) awaitWatches(t *testing.T, resources []string) {
	t.Helper()
	var wanted []string
	for _, resource := range resources {
		wanted = append(wanted, "GET .*/"+resource+`\?.*watch=(1|true)`)
	}
	r.await(t, wanted...)
}

// await waits until a request has been made for each expression: it matches the beginning of "METHOD URI BODY".
func (r *recorder) await(t *testing.T, wanted ...string) {
	t.Helper()
	missing := ""
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, within, true,
		func(context.Context) (bool, error) {
			requests := r.requests()
			for _, missing = range wanted {
				like := regexp.MustCompile("(?s)^" + missing)
				if !slices.ContainsFunc(requests, func(q request) bool {
					return like.MatchString(q.method + " " + q.uri +
						" " + q.body)
				}) {
					return false, nil
				}
			}
			return true, nil
		})
	if err != nil {
		t.Fatalf("nobody asks for %s", missing)
	}
}

// forbidden repeats a request, without effect, and reports whether RBAC refuses it.
func (r *recorder) forbidden(t *testing.T, server *rest.Config, q request) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	uri := q.uri
	if q.method != http.MethodGet {
		uri += map[bool]string{true: "&", false: "?"}[strings.Contains(uri, "?")] + "dryRun=All"
	}
	repeated, err := http.NewRequestWithContext(ctx, q.method, server.Host+uri, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	repeated.Header.Set("Authorization", "Bearer "+r.as.BearerToken)
	repeated.Header.Set("Content-Type", q.contentType)
	response, err := r.transport.RoundTrip(repeated)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusForbidden {
		return false
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "cannot ")
}

// right is one verb on one thing.
type right struct{ group, resource, name, url, verb string }

func (r right) rule() rbacv1.PolicyRule {
	if r.url != "" {
		return rbacv1.PolicyRule{NonResourceURLs: []string{r.url}, Verbs: []string{r.verb}}
	}
	rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}}
	if r.name != "" {
		rule.ResourceNames = []string{r.name}
	}
	return rule
}

// concerns reports whether a request may need the right.
func (r right) concerns(q request) bool {
	path, _, _ := strings.Cut(q.uri, "?")
	if r.resource == "" {
		return path == r.url
	}
	parts := strings.Split(path, "/")
	resource, sub, _ := strings.Cut(r.resource, "/")
	return slices.Contains(parts, resource) && (sub == "" || parts[len(parts)-1] == sub)
}

// rightsOf takes rules apart.
func rightsOf(rules []rbacv1.PolicyRule) (rights []right) {
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, at := range rule.NonResourceURLs {
				rights = append(rights, right{url: at, verb: verb})
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						rights = append(rights, right{group: group, resource: resource, name: name, verb: verb})
					}
				}
			}
		}
	}
	slices.SortFunc(rights, func(a, b right) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(rights)
}

// removeEach takes every right of a role away in turn, and fails where no request of the component is refused then.
func (in *installed) removeEach(t *testing.T, r *recorder, role client.Object, rules *[]rbacv1.PolicyRule) {
	t.Helper()
	requests := slices.DeleteFunc(r.requests(), func(q request) bool {
		refused := r.forbidden(t, in.server.Config, q)
		if refused {
			t.Errorf("%s %s is refused with all rights", q.method, q.uri)
		}
		return refused
	})
	if err := in.Get(t.Context(), client.ObjectKeyFromObject(role), role); err != nil {
		t.Fatal(err)
	}
	write := func(rights []right) {
		*rules = nil
		for _, right := range rights {
			*rules = append(*rules, right.rule())
		}
		if err := in.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	all := rightsOf(*rules)
	for i, gone := range all {
		write(slices.Delete(slices.Clone(all), i, i+1))
		var refused *request
		// Where nothing needs the right this lasts as long as it may.
		_ = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 5*time.Second, true,
			func(context.Context) (bool, error) {
				for _, q := range requests {
					if gone.concerns(q) && r.forbidden(t, in.server.Config, q) {
						refused = &q
						return true, nil
					}
				}
				return false, nil
			})
		write(all)
		if refused == nil {
			t.Errorf("%T %s: nothing is refused without %+v: remove it from the chart, or have the test do what "+
				"needs it",
				role, role.GetName(), gone)
			continue
		}
		err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, within, true,
			func(context.Context) (bool, error) {
				return !r.forbidden(t, in.server.Config, *refused), nil
			})
		if err != nil {
			t.Fatalf("%s %s stays refused: %v", refused.method, refused.uri, err)
		}
	}
	t.Logf("%T %s: looked for each of %d rights among %d requests", role, role.GetName(), len(all), len(requests))
}

// TestEveryRightOfNodesAndTyphaIsNeeded: without any one right of the roles, something that the component does is
// refused.
func TestEveryRightOfNodesAndTyphaIsNeeded(t *testing.T) {
	t.Run("with Typha", func(t *testing.T) {
		in := install(t, []string{"n1", "n2"})
		r := record(t, in.server.Config, in.nodeToken(t, "n1"))
		in.work(t, r.client)
		findTypha(t, r)
		cluster, own := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "calico-node"}},
			&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "calico-node"}}
		in.removeEach(t, r, cluster, &cluster.Rules)
		in.removeEach(t, r, own, &own.Rules)

		r = record(t, in.server.Config, in.stolen(t, "calico-typha", ""))
		in.compute(t, r, func() { runTypha(t, r.client) }, datastore.CalicoNodeStatuses)
		// Kubernetes lets every service account read the keys of tokens, where nobody has taken that back.
		if err := in.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{
			Name: "system:service-account-issuer-discovery"}}); err != nil {
			t.Fatal(err)
		}
		cluster = &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "calico-typha"}}
		in.removeEach(t, r, cluster, &cluster.Rules)
	})
	t.Run("without Typha", func(t *testing.T) {
		in := install(t, []string{"n1", "n2"}, "typha.enabled=false")
		r := record(t, in.server.Config, in.nodeToken(t, "n1"))
		in.work(t, r.client)
		in.compute(t, r, func() {
			local := typha.NewLocal(typha.LocalOptions{Store: storeOf(t, r.client)})
			inBackground(t, local.Run)
		})
		cluster := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "calico-node"}}
		in.removeEach(t, r, cluster, &cluster.Rules)
	})
}

func storeOf(t *testing.T, config *rest.Config) *kubernetes.Store {
	t.Helper()
	store, err := kubernetes.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// inBackground runs something until stop is called, or the test ends.
func inBackground(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// assigning returns a client of the kind that Felix has, which learns from the stream what is reserved.
func assigning(store datastore.Store) *ipam.Client {
	client := ipam.New(store)
	client.SetLimits(func() ipam.Limits { return ipam.Limits{} })
	return client
}

// work does what Felix does with addresses and its Node, in each way that ends in another request.
func (in *installed) work(t *testing.T, config *rest.Config) {
	t.Helper()
	ctx, store := t.Context(), storeOf(t, config)
	host, pool := ipam.Host{Name: "n1"}, ipam.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/28"), BlockSize: 28}
	assign := func(c *ipam.Client) {
		t.Helper()
		r := c.Assign(ctx, host, []ipam.Pool{pool}, []ipam.Request{{Handle: "h",
			Families: []ipam.Family{ipam.IPv4}}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	addresses := assigning(store)
	assign(addresses)
	assign(addresses) // reads the block again
	affinity := &v3.BlockAffinity{ObjectMeta: metav1.ObjectMeta{Name: ipam.AffinityName("n1", pool.CIDR)}}
	in.change(t, affinity, func() { affinity.Spec.State = v3.StatePending })
	assign(assigning(store)) // confirms the affinity
	block := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: v3.BlockName(pool.CIDR)}}
	in.change(t, block, func() { block.Spec.Affinity = "" })
	// The affinity goes, because the block has another one, and the block, because nothing is left in it.
	addresses = assigning(store)
	addresses.Assign(ctx, host, nil, nil)
	if freed, err := addresses.Release(ctx, "n1", "h"); err != nil || len(freed) != 1 {
		t.Fatalf("release: %v, %v", freed, err)
	}

	watcher := node.NewWatcher(node.Options{Node: "n1", Store: store, IPAM: addresses,
		Interfaces: card(address(0) + "/24"),
		Families:   []dataplane.Family{dataplane.IPv4}, MTUPattern: regexp.MustCompile("eth"),
		Log: slog.New(slog.DiscardHandler)})
	inBackground(t, watcher.Run)
	for {
		select {
		case <-watcher.Facts():
			continue
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		if err := in.Get(ctx, client.ObjectKeyFromObject(n), n); err != nil {
			t.Fatal(err)
		}
		if n.Annotations[v3.NodeIPv4Address] != "" {
			return
		}
	}
}

// change changes an object as an administrator.
func (in *installed) change(t *testing.T, o client.Object, change func()) {
	t.Helper()
	if err := in.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	change()
	if err := in.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// card is an interface that carries an address.
type card string

// LinkList implements node.Interfaces.
func (card) LinkList() ([]netlink.Link, error) {
	return []netlink.Link{&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500}}}, nil
}

// AddrList implements node.Interfaces.
func (c card) AddrList(_ netlink.Link, family int) ([]netlink.Addr, error) {
	ip, subnet, err := net.ParseCIDR(string(c))
	if err != nil || family != netlink.FAMILY_V4 {
		return nil, err
	}
	return []netlink.Addr{{IPNet: &net.IPNet{IP: ip, Mask: subnet.Mask}}}, nil
}

// findTypha follows the replicas of Typha until they are watched.
func findTypha(t *testing.T, r *recorder) {
	t.Helper()
	watcher, err := discovery.New(discovery.Options{API: r.client, Namespace: namespace, Service: "calico-typha",
		Port: discovery.PortName, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, watcher.Run)
	r.awaitWatches(t, []string{"endpointslices"})
}

// compute reads what policy is computed from, and the kinds of more, until all of it is watched: without
// ClusterNetworkPolicies, and with them.
func (in *installed) compute(t *testing.T, r *recorder, start func(), more ...datastore.Kind) {
	t.Helper()
	if _, err := storeOf(t, r.client).List(t.Context(), datastore.ClusterNetworkPolicies,
		datastore.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	in.server.OfferClusterNetworkPolicies(t)
	start()
	var watched []string
	for _, kind := range append(typhasync.KubernetesKinds(), more...) {
		watched = append(watched, kind.Plural)
	}
	r.awaitWatches(t, watched)
}

// runTypha runs Typha as its chart does, as far as there is one without a Service.
func runTypha(t *testing.T, config *rest.Config) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.New("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("typha-server", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Write(dir, pair); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{CurrentContext: "c",
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: config.Host}},
		Contexts: map[string]*clientcmdapi.Context{"c": {Cluster: "c"}}}, kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := typhadaemon.ParseConfig([]string{"TYPHA_KUBECONFIG=" + kubeconfig, "TYPHA_CAFILE=" + dir + "/ca.crt",
		"TYPHA_SERVERCERTFILE=" + dir + "/tls.crt", "TYPHA_SERVERKEYFILE=" + dir + "/tls.key",
		"TYPHA_CLIENTCN=typha-client",
		"TYPHA_CLIENTSERVICEACCOUNTS=" + namespace + ":calico-node",
		fmt.Sprint("TYPHA_SERVERPORT=", ports[0]), "TYPHA_SERVERHOST=127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, func(ctx context.Context) error {
		err := typhadaemon.Run(ctx, parsed, slog.New(slog.DiscardHandler))
		if ctx.Err() == nil {
			t.Errorf("typha ended: %v", err)
		}
		return err
	})
}
