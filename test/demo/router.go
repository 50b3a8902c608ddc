package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// Autonomous systems of the demo: the cluster's is Calico's default.
const (
	clusterAS = 64512
	torAS     = 64513
)

// birdConfig makes tor a top-of-rack router: it waits for the nodes of every rack, imports what they announce
// into the kernel, and announces the network that its own clients are in.
var birdConfig = template.Must(template.New("bird").Parse(`router id {{.RouterID}};
log stderr all;
protocol device { scan time 1; }
{{- range .Families}}
protocol direct outside{{.Version}} { ipv{{.Version}}; interface "eth0"; }
protocol kernel kernel{{.Version}} { ipv{{.Version}} { export where source = RTS_BGP; }; }
{{- end}}
{{- range .Peers}}
protocol bgp {{.Name}} {
  local {{.Local}} as {{$.AS}};
  neighbor range {{.Range}} as {{$.ClusterAS}};
  dynamic name "{{.Name}}_";
  graceful restart on;
  ipv{{.Version}} { import all; export where source = RTS_DEVICE; next hop self; };
}
{{- end}}
`))

type birdFamily struct{ Version int }

type birdPeer struct {
	Name         string
	Version      int
	Local, Range string
}

// bgp connects the router, and checks that it learns the networks of the pods and that a client behind it reaches them.
func (d *Demo) bgp(ctx context.Context) error {
	control, err := d.ConnectRouter(ctx)
	if err != nil {
		return err
	}
	if _, err := d.shell.show(ctx, "calicoctl node status"); err != nil {
		return err
	}
	if err := d.routerLearns(ctx, control); err != nil {
		return err
	}
	return d.clientReaches(ctx)
}

// ConnectRouter starts BIRD on the router outside the cluster and makes every node peer with it. It returns BIRD's
// control socket when every session is established.
func (d *Demo) ConnectRouter(ctx context.Context) (control string, err error) {
	plan := d.cluster.Plan()
	control, err = d.startBird(ctx)
	if err != nil {
		return "", err
	}
	var manifest strings.Builder
	for i, subnet := range plan.Subnets {
		for _, local := range subnet.Tor {
			fmt.Fprintf(&manifest, "---\napiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata:\n  name: "+
				"tor-rack%d-%s\nspec:\n  peerIP: %q\n  asNumber: %d\n"+
				"  nodeSelector: topology.kubernetes.io/zone == '%s'\n", i+1, familyName(local.Addr()), local.Addr(),
				torAS, subnet.Name)
		}
	}
	if _, err := d.shell.showInput(ctx, "calicoctl apply -f -", manifest.String()); err != nil {
		return "", err
	}
	_, err = d.shell.until(ctx, 90*time.Second, "birdc -s "+control+" show protocols", func(output string) error {
		sessions := 0
		for _, n := range plan.Nodes {
			sessions += len(n.Addrs)
		}
		if up := strings.Count(output, "Established"); up < sessions {
			return fmt.Errorf("%d of %d BGP sessions are established", up, sessions)
		}
		return nil
	})
	if err != nil {
		err = d.check("every node has a session with the router", err)
	}
	return control, err
}

// startBird starts the router's BGP daemon in tor, unless one of a run before is there, and
// gives its control socket.
func (d *Demo) startBird(ctx context.Context) (string, error) {
	dir := d.cluster.Dir()
	file, control := filepath.Join(dir, "bird.conf"), filepath.Join(dir, "bird.ctl")
	var text strings.Builder
	if err := birdConfig.Execute(&text, d.birdSettings()); err != nil {
		return "", fmt.Errorf("write BIRD configuration: %w", err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return "", fmt.Errorf("write BIRD configuration: %w", err)
	}
	if _, err := d.shell.run(ctx, "birdc -s "+control+" configure", ""); err == nil {
		d.say("BIRD runs in tor already, from a run before.")
		return control, nil
	}
	d.say("tor is a router outside the cluster; BIRD runs on it as AS %d, configured in %s.", torAS, file)
	// It daemonises; the cluster ends what runs in its namespaces when it goes down.
	if _, err := d.shell.show(ctx, fmt.Sprintf("ip netns exec %s bird -c %s -s %s -P %s", d.cluster.TorNamespace(),
		file, control, filepath.Join(dir, "bird.pid"))); err != nil {
		return "", err
	}
	_, err := d.shell.until(ctx, 10*time.Second, "birdc -s "+control+" show status", contains("Daemon is up"))
	return control, err
}

func (d *Demo) birdSettings() any {
	plan := d.cluster.Plan()
	var families []birdFamily
	for _, a := range plan.Outside {
		families = append(families, birdFamily{Version: version(a.Addr())})
	}
	var peers []birdPeer
	for i, subnet := range plan.Subnets {
		for _, local := range subnet.Tor {
			peers = append(peers, birdPeer{Name: fmt.Sprintf("rack%dv%d", i+1, version(local.Addr())),
				Version: version(local.Addr()),
				Local:   local.Addr().String(), Range: local.Masked().String()})
		}
	}
	return struct {
		RouterID      string
		AS, ClusterAS int
		Families      []birdFamily
		Peers         []birdPeer
	}{"172.31.255.254", torAS, clusterAS, families, peers}
}

// routerLearns waits until the router has a route to the block of every shop pod's address.
func (d *Demo) routerLearns(ctx context.Context, control string) error {
	pods, err := d.shopPods(ctx)
	if err != nil {
		return err
	}
	_, err = d.shell.until(ctx, 60*time.Second, "birdc -s "+control+" show route", func(output string) error {
		for _, p := range pods {
			for _, a := range p.addresses {
				if !covered(output, netip.MustParseAddr(a)) {
					return fmt.Errorf("the router has no route to %s of %s", a, p.label())
				}
			}
		}
		return nil
	})
	if _, showErr := d.shell.show(ctx, "birdc -s "+control+" show route | grep -v '^BIRD'"); showErr != nil {
		err = errors.Join(err, showErr)
	}
	return d.check("the router learned a route to every pod's block", err)
}

// covered reports whether birdc's routes contain one that covers an address.
func covered(routes string, address netip.Addr) bool {
	for line := range strings.Lines(routes) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if prefix, err := netip.ParsePrefix(fields[0]); err == nil && prefix.Bits() > 0 && prefix.Contains(address) {
			return true
		}
	}
	return false
}

// clientReaches connects from tor's own network to a web pod.
func (d *Demo) clientReaches(ctx context.Context) error {
	pods, err := d.pods(ctx, "-n shop -l app=web")
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("no web pod runs")
	}
	for _, a := range pods[0].addresses {
		source, ok := address(d.cluster.Plan().Outside, netip.MustParseAddr(a).Is4())
		if !ok {
			continue
		}
		line := fmt.Sprintf("ip netns exec %s curl -sS --max-time 5 --interface %s 'http://%s:8080/hostname'",
			d.cluster.TorNamespace(), source, hostPort(netip.MustParseAddr(a)))
		output, err := d.shell.until(ctx, 20*time.Second, line, contains(pods[0].name))
		d.say("$ %s\n    %s", line, output)
		if err := d.check("a client outside the cluster reaches pod "+a, err); err != nil {
			return err
		}
	}
	return nil
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

func familyName(a netip.Addr) string { return fmt.Sprintf("ipv%d", version(a)) }

// hostPort returns an address as it stands before :port.
func hostPort(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}
