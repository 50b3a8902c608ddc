package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// What flannel uses when its configuration does not say (its documentation of the vxlan backend; the port is Linux').
const (
	flannelVNI  = 1
	flannelPort = 8472
)

// flannelBackends say how a pool carries traffic, always and where nodes are not on one link, as flannel's backends do.
// The type of the encapsulation is empty where there is none.
var flannelBackends = map[string]string{"vxlan": "vxlanMode", "ipip": "ipipMode", "host-gw": ""}

// flannel converts net-conf.json.
func (r *Result) flannel(text string) {
	config := fields{}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode((*map[string]any)(&config)); err != nil {
		r.Err = fmt.Errorf("data: net-conf.json: %w", err)
		return
	}
	backend := config.object("Backend")
	name := strings.ToLower(backend.text("Type"))
	mode, ok := flannelBackends[name]
	if !ok {
		r.Err = fmt.Errorf("net-conf.json: Backend.Type %q has no counterpart; those that have are %s",
			name, strings.Join(slices.Sorted(maps.Keys(flannelBackends)), ", "))
		return
	}
	encapsulation := fields{"ipipMode": string(v3.IPIPModeNever), "vxlanMode": string(v3.VXLANModeNever)}
	if direct := backend.text("DirectRouting") == "true"; mode != "" && direct {
		encapsulation[mode] = string(v3.IPIPModeCrossSubnet)
	} else if mode != "" {
		encapsulation[mode] = string(v3.IPIPModeAlways)
	}
	if config.text("EnableIPv4") != "false" {
		r.flannelPool(config, encapsulation, "default-ipv4-ippool", "", 20)
	}
	if config.text("EnableIPv6") == "true" {
		r.flannelPool(config, encapsulation, "default-ipv6-ippool", "IPv6", 116)
	}
	if name == "vxlan" {
		r.add("FelixConfiguration", fields{"name": "default"}, fields{
			"vxlanVNI":  number(backend, "VNI", flannelVNI),
			"vxlanPort": number(backend, "Port", flannelPort),
			"vxlanMTU":  number(backend, "MTU", nil),
		})
	}
	r.leftOver("net-conf.json", config)
}

// flannelPool makes the pool of a family, whose settings have a prefix. Blocks are as large as flannel's subnets of
// nodes, where they can be.
func (r *Result) flannelPool(config, encapsulation fields, name, prefix string, shortest int) {
	spec := maps.Clone(encapsulation)
	spec["cidr"], spec["natOutgoing"] = config.text(prefix+"Network"), true
	if length, err := strconv.Atoi(fmt.Sprint(config[prefix+"SubnetLen"])); err == nil && length >= shortest {
		spec["blockSize"] = length
		config.take(prefix + "SubnetLen")
	}
	r.add("IPPool", fields{"name": name}, spec)
}

func number(from fields, key string, otherwise any) any {
	if value := from.take(key); value != nil {
		return value
	}
	return otherwise
}
