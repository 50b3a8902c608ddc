package felix_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// lastAnswer returns what the agent reported last, and how often since the last call.
func (r *rig) lastAnswer(t *testing.T) (s v3.CalicoNodeStatusStatus, answers int) {
	t.Helper()
	answers = len(r.source.answers)
	if answers > 0 {
		text, err := wire.UnpackStatus(r.source.answers[answers-1].Status)
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.source.answers = nil
	return s, answers
}

// TestStatusIsReportedWhenAsked: when something has changed, after the period also when nothing has, and only while
// somebody asks for it.
func TestStatusIsReportedWhenAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		peer := netip.MustParseAddr("172.30.0.12")
		own := &wire.Route{Dst: netip.MustParsePrefix("10.65.0.0/26"), Node: "n1", Pool: "p"}
		r.speaker.status = bgp.Status{ASNumber: 64512, Peers: []bgp.PeerStatus{{Addr: peer, State: bgp.Active}}}
		r.commit(pool, own)
		r.later(t, time.Minute)
		if _, n := r.lastAnswer(t); n > 0 {
			t.Errorf("%d answers, and nobody asked", n)
		}

		r.commit(&wire.StatusRequest{Node: "n1", BGP: true, Routes: true, PeriodSeconds: 10})
		r.later(t, 2*time.Second)
		s, n := r.lastAnswer(t)
		blackhole := v3.CalicoNodeRoute{Type: "FIB", Destination: "10.65.0.0/26", Gateway: "N/A",
			Interface:   "blackhole",
			LearnedFrom: v3.CalicoNodeRouteLearnedFrom{SourceType: "Static"}}
		if n != 1 || s.BGP.NumberNotEstablishedV4 != 1 || !slices.Contains(s.Routes.RoutesV4, blackhole) ||
			s.Agent.BIRDV4.State != "" {
			t.Errorf("%d answers, the last is %+v", n, s)
		}
		r.later(t, 30*time.Second)
		_, n = r.lastAnswer(t)
		if n != 3 {
			t.Errorf("%d answers in 30 s without a change", n)
		}
		r.speaker.status.Peers = []bgp.PeerStatus{{Addr: peer, State: bgp.Established}}
		r.later(t, 1500*time.Millisecond)
		s, n = r.lastAnswer(t)
		if n != 1 || s.BGP.NumberEstablishedV4 != 1 {
			t.Errorf("%d answers after a change, the last is %+v", n, s)
		}

		r.source.commits <- wire.Commit{Number: 9, InSync: true,
			Deletes: []wire.ID{{Kind: wire.KindStatusRequest, Name: "n1"}}}
		synctest.Wait()
		r.lastAnswer(t)
		r.later(t, time.Minute)
		if _, n := r.lastAnswer(t); n > 0 {
			t.Errorf("%d answers when nobody asks any more", n)
		}
	})
}
