package felix

import (
	"time"

	"github.com/maneki-net/maneki/felix/config"
)

// refresher holds the timers of the slow, full comparisons with the kernel.
type refresher struct {
	rules, sets, routes, links, check *time.Ticker
	config                            *config.Config
}

func newRefresher(c *config.Config) *refresher {
	r := &refresher{check: time.NewTicker(checkInterval)}
	for _, t := range []**time.Ticker{&r.rules, &r.sets, &r.routes, &r.links} {
		*t = time.NewTicker(time.Hour)
	}
	r.adjust(c)
	return r
}

// adjust sets the timers to the configuration; an interval of 0 turns one off.
func (r *refresher) adjust(c *config.Config) {
	if r.config == c {
		return
	}
	r.config = c
	set := func(t *time.Ticker, interval time.Duration) {
		t.Stop()
		if interval > 0 {
			t.Reset(interval)
		}
	}
	set(r.rules, c.IptablesRefreshInterval)
	set(r.sets, c.IpsetsRefreshInterval)
	set(r.routes, c.RouteRefreshInterval)
	set(r.links, c.InterfaceRefreshInterval)
}

func (r *refresher) stop() {
	for _, t := range []*time.Ticker{r.rules, r.sets, r.routes, r.links, r.check} {
		t.Stop()
	}
}
