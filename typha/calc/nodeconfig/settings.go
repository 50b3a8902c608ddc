package nodeconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// settingNames are the settings whose name is not that of the resource's field with a capital letter.
var settingNames = map[string]string{
	"netlinkTimeout":                 "NetlinkTimeoutSecs",
	"iptablesLockProbeInterval":      "IptablesLockProbeIntervalMillis",
	"iptablesPostWriteCheckInterval": "IptablesPostWriteCheckIntervalSecs",
	"endpointReportingDelay":         "EndpointReportingDelaySecs",
	"reportingInterval":              "ReportingIntervalSecs",
	"reportingTTL":                   "ReportingTTLSecs",
	"usageReportingInitialDelay":     "UsageReportingInitialDelaySecs",
	"usageReportingInterval":         "UsageReportingIntervalSecs",
	"externalNodesList":              "ExternalNodesCIDRList",
	"bpfConntrackMode":               "BPFConntrackCleanupMode",
	"ipipEnabled":                    "IpInIpEnabled",
	"ipipMTU":                        "IpInIpMtu",
	"wireguardKeepAlive":             "WireguardPersistentKeepAlive",
}

// durationFields are the fields with a duration ("90s") whose setting is a number: of seconds, and for
// iptablesLockProbeInterval of milliseconds.
var durationFields = []string{
	"bpfIPFragTimeout", "bpfKubeProxyMinSyncPeriod", "dataplaneWatchdogTimeout", "debugSimulateCalcGraphHangAfter",
	"debugSimulateDataplaneApplyDelay", "debugSimulateDataplaneHangAfter", "endpointReportingDelay",
	"flowLogsFlushInterval",
	"interfaceRefreshInterval", "ipsetsRefreshInterval", "iptablesLockProbeInterval", "iptablesPostWriteCheckInterval",
	"iptablesRefreshInterval", "liveMigrationRouteConvergenceTime", "localSubnetL2ReachabilityRefreshInterval",
	"netlinkTimeout", "nftablesRefreshInterval", "reportingInterval", "reportingTTL", "routeRefreshInterval",
	"usageReportingInitialDelay", "usageReportingInterval", "wireguardKeepAlive", "xdpRefreshInterval",
}

// settings returns the fields that are set, by the names of their settings, as the texts that the FELIX_ variables
// have. Fields that cannot be read are left out; the error names them.
func settings(spec *v3.FelixConfigurationSpec) (map[string]string, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	var values map[string]string
	var errs []error
	for _, field := range reflect.VisibleFields(reflect.TypeFor[v3.FelixConfigurationSpec]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		raw, ok := fields[name]
		if !ok || name == "nodeSelector" { // which says where the others apply
			continue
		}
		setting := field.Name
		if other, ok := settingNames[name]; ok {
			setting = other
		}
		text, err := settingText(name, raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("spec.%s: %w", name, err))
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[setting] = text
	}
	return values, errors.Join(errs...)
}

func settingText(field string, raw json.RawMessage) (string, error) {
	switch field {
	case "failsafeInboundHostPorts", "failsafeOutboundHostPorts":
		return protoPorts(raw)
	case "routeTableRange":
		var r v3.RouteTableRange
		err := json.Unmarshal(raw, &r)
		return fmt.Sprintf("%d-%d", r.Min, r.Max), err
	case "routeTableRanges":
		return listText(raw, func(r v3.RouteTableIDRange) string { return fmt.Sprintf("%d-%d", r.Min, r.Max) })
	case "healthTimeoutOverrides":
		return listText(raw, func(o v3.HealthTimeoutOverride) string { return fmt.Sprintf("%v=%v", o.Name, o.Timeout) })
	case "bpfConntrackTimeouts":
		return conntrackTimeouts(raw)
	}
	if slices.Contains(durationFields, field) {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return "", fmt.Errorf("%q is not a duration such as 90s", text)
		}
		unit := time.Second
		if field == "iptablesLockProbeInterval" {
			unit = time.Millisecond
		}
		return strconv.FormatFloat(float64(d)/float64(unit), 'f', -1, 64), nil
	}
	return plainText(raw)
}

// plainText returns the text of a string, number or boolean, of a list of them with commas between, and of
// a map as key=value with commas between.
func plainText(raw json.RawMessage) (string, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		parts := make([]string, len(list))
		for i, item := range list {
			var err error
			parts[i], err = plainText(item)
			if err != nil {
				return "", err
			}
		}
		return strings.Join(parts, ","), nil
	}
	var pairs map[string]json.RawMessage
	if json.Unmarshal(raw, &pairs) == nil {
		var parts []string
		for key, value := range pairs {
			text, err := plainText(value)
			if err != nil {
				return "", err
			}
			parts = append(parts, key+"="+text)
		}
		slices.Sort(parts)
		return strings.Join(parts, ","), nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	return string(raw), nil // a number or a boolean is its own text
}

func listText[T any](raw json.RawMessage, text func(T) string) (string, error) {
	var list []T
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", err
	}
	parts := make([]string, len(list))
	for i, item := range list {
		parts[i] = text(item)
	}
	return strings.Join(parts, ","), nil
}

// protoPorts returns "tcp:22,udp:10.0.0.0/8:68", with IPv6 networks in brackets; "none" for an empty list,
// since an empty setting would be the default.
func protoPorts(raw json.RawMessage) (string, error) {
	var bad error
	text, err := listText(raw, func(p v3.ProtoPort) string {
		protocol := strings.ToLower(p.Protocol)
		if protocol == "" {
			protocol = "tcp"
		}
		if p.Net == "" {
			return fmt.Sprintf("%s:%d", protocol, p.Port)
		}
		cidr, err := netip.ParsePrefix(p.Net)
		if err != nil {
			bad = fmt.Errorf("%q is not a CIDR", p.Net)
		}
		if cidr.Addr().Is6() {
			return fmt.Sprintf("%s:[%s]:%d", protocol, cidr, p.Port)
		}
		return fmt.Sprintf("%s:%s:%d", protocol, cidr, p.Port)
	})
	if err == nil {
		err = bad
	}
	if text == "" {
		text = "none"
	}
	return text, err
}

// conntrackTimeouts returns "TCPEstablished=1h,…".
func conntrackTimeouts(raw json.RawMessage) (string, error) {
	var fields map[string]string
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", err
	}
	var parts []string
	for name, value := range fields {
		name = strings.ToUpper(name[:1]) + name[1:]
		for _, protocol := range []string{"Tcp", "Udp", "Icmp"} {
			if rest, ok := strings.CutPrefix(name, protocol); ok {
				name = strings.ToUpper(protocol) + rest
			}
		}
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ","), nil
}
