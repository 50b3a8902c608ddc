package felix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/typha/wire"
)

// sync hands what changed to the dataplane, which also tries again what failed. Its error ends the agent.
func (a *Agent) sync(ctx context.Context) error {
	if err := a.reconfigure(); err != nil {
		return err
	}
	a.publish() // before an ADD goes on, which takes an address out of these pools
	a.waiters.answerEndpoints(a.state, a.start.programming)
	if !a.mayProgram() {
		a.guard(ctx)
		return nil
	}
	a.endGuard()
	interfaces := a.readInterfaces(ctx)
	desired := a.changes()
	began := time.Now()
	result := a.opts.Dataplane.Apply(ctx, desired)
	if ctx.Err() != nil {
		return nil // an apply that was cut short says nothing
	}
	a.opts.Metrics.apply(time.Since(began))
	a.start.programmed, a.endpoints.running = true, true
	a.waiters.answerAdds(a.opts.Dataplane.InPlace)
	a.account(result, errors.Join(interfaces, errors.Join(result.Failures...)))
	a.publish()
	return nil
}

// mayProgram reports whether the kernel is ours to change now.
func (a *Agent) mayProgram() bool {
	known := a.facts.IPv4.Addr.IsValid() || a.facts.IPv6.Addr.IsValid()
	return a.start.programming && (known || !a.start.waiting)
}

// reconfigure resolves the settings when a source changed.
func (a *Agent) reconfigure() error {
	if !a.state.dirty.config {
		return nil
	}
	a.state.dirty.config = false
	sources := sourcesOf(a.opts.Local, a.state.configs, a.opts.Node)
	c, err := config.Resolve(sources...)
	if config.NeedsRestart(a.opts.Config, c) {
		return fmt.Errorf("felix configuration: %w", ErrRestart)
	}
	a.settings.config, a.settings.given = c, config.GivenBy(sources...)
	a.settings.ignored.replace(ignoredOf(err, sources), a.opts.Log)
	if a.opts.Configured != nil {
		a.opts.Configured(c)
	}
	a.endpoints.configure(c)
	a.state.dirty.hosts, a.state.dirty.routes, a.state.dirty.settings = true, true, true
	return nil
}

// pending reports whether anything has changed that was not handed to the dataplane.
func (a *Agent) pending() bool {
	if a.state.dirty.any() || a.endpoints.pending() {
		return true
	}
	for _, t := range a.network.tables {
		if t.Changed() {
			return true
		}
	}
	return false
}

// changes returns what has changed, all of it the first time, which is then the dataplane's to remember.
func (a *Agent) changes() boundary.Desired {
	d := boundary.Desired{Whole: !a.start.handed}
	a.start.handed = true
	dirty := &a.state.dirty
	if dirty.hosts {
		dirty.hosts = false
		d.HostEndpoints = a.hosts.change(a.state.hostEndpoints, a.opts.Interfaces, a.settings.config)
	}
	if dirty.settings {
		dirty.settings = false
		settings := a.settingsNow()
		if d.Whole || !reflect.DeepEqual(settings, a.settings.handed) {
			d.Settings, a.settings.handed = &settings, settings
		}
	}
	a.endpoints.refresh()
	if dirty.routes {
		dirty.routes = false
		d.Tunnels, d.Networks = a.network.compute(view{a.state, a.facts, a.settings.config, a.mayProgram()})
	}
	d.Routes = a.network.changeRoutes()
	d.Endpoints, d.Forget = a.endpoints.changes, a.endpoints.forget
	a.endpoints.changes, a.endpoints.forget = boundary.Delta[string, boundary.Endpoint]{}, nil
	d.Policies, d.Sets = dirty.policies, dirty.sets
	dirty.policies, dirty.sets = boundary.Delta[string, *wire.Policy]{}, boundary.Delta[string, boundary.SetChange]{}
	return d
}

// settings are what the sources of settings come to.
type settings struct {
	config  *config.Config
	given   []config.Given
	ignored ignored // what is asked for on this node and does not happen
	// ipvs is set if kube-proxy is in IPVS mode, and own are then the node's networks without those of Services.
	ipvs   bool
	own    []netip.Prefix
	handed boundary.Settings // to the dataplane
}

// settingsNow returns the settings in the dataplane's terms.
func (a *Agent) settingsNow() boundary.Settings {
	s := boundary.Settings{Config: a.settings.config, IPVS: a.settings.ipvs, Own: a.settings.own}
	if a.state.bgp != nil {
		s.BGPPort = a.state.bgp.ListenPort
	}
	return s
}

// ipvsDevice is the interface on which kube-proxy in IPVS mode has the addresses of Services.
const ipvsDevice = "kube-ipvs0"

// ownNets are networks whose addresses belong to every node, whether an interface has them or not.
var ownNets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10")}

// interfacesChanged marks what depends on the interfaces and addresses that the node has. It reports whether anything
// does.
func (a *Agent) interfacesChanged() bool {
	if !a.state.followsInterfaces() {
		return false
	}
	a.state.dirty.hosts = true
	a.endpoints.interfacesChanged()
	return true
}

// readInterfaces reads the changes of the node's interfaces, and notices whether kube-proxy is in IPVS mode.
func (a *Agent) readInterfaces(ctx context.Context) error {
	interfaces := a.opts.Interfaces
	listed, err := interfaces.Apply(ctx)
	if listed {
		a.interfacesChanged()
	}
	on, nets := interfaces.Exists(ipvsDevice), []netip.Prefix(nil)
	if on {
		nets = slices.Clone(ownNets)
		for _, addr := range interfaces.AddrsBut(ipvsDevice) {
			if !slices.ContainsFunc(ownNets, func(n netip.Prefix) bool { return n.Contains(addr) }) {
				nets = append(nets, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	if on != a.settings.ipvs {
		a.opts.Log.Info("mode of kube-proxy", "ipvs", on)
		a.opts.Metrics.ipvs.Set(map[bool]float64{true: 1}[on])
	}
	if on != a.settings.ipvs || !slices.Equal(nets, a.settings.own) {
		a.settings.ipvs, a.settings.own = on, nets
		a.state.dirty.settings = true
	}
	return err
}
