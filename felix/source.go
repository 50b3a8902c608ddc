package felix

import (
	"fmt"
	"net/netip"

	"github.com/maneki-net/maneki/felix/cniserver"
)

// deviceSettings are what the settings of a workload's device follow from.
type deviceSettings struct {
	addrs    []netip.Addr
	rpFilter string // of net/ipv4/conf/DEVICE
}

// mostNoticed is how many workloads a notice is about; one more says how many there are beside them.
const mostNoticed = 5

// allowedSources returns the networks that a workload may send from beside its addresses: those that it asks for, if
// workloadSourceSpoofing permits that.
func (a *Agent) allowedSources(w cniserver.Workload) []netip.Prefix {
	e := a.state.endpointOf(w)
	if e == nil || a.config.WorkloadSourceSpoofing != "Any" {
		return nil
	}
	return e.AllowedSources
}

// rpFilterOf returns the rp_filter of a workload's device. 1 drops packets whose source is not routed to the device.
// So does 2 on a device without an address. With 0 the raw table alone decides.
func rpFilterOf(allowed []netip.Prefix) string {
	if len(allowed) > 0 {
		return "0"
	}
	return "1"
}

// rpFilterOfAll applies to a device where it is greater than the device's own.
const rpFilterOfAll = "net/ipv4/conf/all/rp_filter"

// ignoredSources says which workloads ask to send from further networks in vain.
func (a *Agent) ignoredSources() (notices []string) {
	more, reason := 0, ""
	for _, w := range a.sortedWorkloads() {
		e := a.state.endpointOf(w)
		if e == nil || len(e.AllowedSources) == 0 {
			continue
		}
		if reason == "" {
			reason = a.whyIgnored()
		}
		switch {
		case reason == "":
			return nil
		case len(notices) == mostNoticed:
			more++
		default:
			notices = append(notices, fmt.Sprintf("%s/%s: allowed source prefixes %v have no effect: %s",
				w.Namespace, w.Pod, e.AllowedSources, reason))
		}
	}
	if more > 0 {
		notices = append(notices,
			fmt.Sprintf("allowed source prefixes of %d more workloads have no effect: %s", more, reason))
	}
	return notices
}

// whyIgnored returns why allowed source prefixes have no effect, or nothing if they have.
func (a *Agent) whyIgnored() string {
	if a.config.WorkloadSourceSpoofing != "Any" {
		return "workloadSourceSpoofing is Disabled on this node; Any permits them"
	}
	if value, err := a.opts.Drivers.Sysctls.Read(rpFilterOfAll); err == nil && value != "0" {
		return fmt.Sprintf("net.ipv4.conf.all.rp_filter is %s on this node, "+
			"so the kernel drops such IPv4 packets; set it to 0", value)
	}
	return ""
}
