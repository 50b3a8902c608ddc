package felix

import (
	"bytes"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/nodestatus"
	"github.com/maneki-net/maneki/typha/wire"
)

// answerer reports the node's status upward while a wire.StatusRequest asks for it: when it has changed, and after the
// period. The loop owns it.
type answerer struct {
	version string
	last    []byte // the status that was reported
	said    time.Time
}

func newAnswerer() answerer { return answerer{version: nodestatus.Version()} }

// turn reports if that is due. It is called about every second.
func (r *answerer) turn(a *Agent) {
	asked := a.state.statusRequest
	if asked == nil || !a.start.inSync {
		r.last = nil
		return
	}
	answer, err := nodestatus.Answer(r.input(a, *asked))
	if err != nil {
		a.opts.Log.Error("status not reported", "error", err)
		return
	}
	period := time.Duration(asked.PeriodSeconds) * time.Second
	if bytes.Equal(answer.Status, r.last) && time.Since(r.said) < period {
		return
	}
	r.last, r.said = answer.Status, time.Now()
	answer.Status, err = wire.PackStatus(answer.Status)
	if err != nil {
		a.opts.Log.Error("status not reported", "error", err)
		return
	}
	a.opts.Source.Answer(answer)
}

func (r *answerer) input(a *Agent, asked wire.StatusRequest) nodestatus.Input {
	in := nodestatus.Input{Asked: asked, Version: r.version, Speaker: a.opts.Speaker.Status(),
		Peers: a.network.bgp.Peers}
	for _, f := range a.opts.Dataplane.Families() {
		if own := a.facts.Of(f); own.Addr.IsValid() {
			in.Subnets = append(in.Subnets, nodestatus.Subnet{CIDR: own.Addr, Device: own.Device})
		}
		if !asked.Routes {
			continue
		}
		for _, desired := range a.network.tables[f].Routes() {
			key := route.Key{Dst: desired.Dst, Priority: desired.Priority}
			in.Programmed = append(in.Programmed,
				nodestatus.Programmed{Route: desired, InUse: a.opts.Dataplane.RouteInPlace(key)})
		}
		in.Others = append(in.Others, a.network.underlay[f]...)
	}
	if asked.Routes {
		in.Learned = a.opts.Speaker.Routes()
	}
	return in
}
