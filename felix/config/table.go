package config

import (
	"net/netip"
	"time"
)

// Table is the settings that act.
var Table = []Setting{
	setting("DatastoreType", "kubernetes", oneOf("kubernetes", "etcdv3"), func(c *Config) *string { return &c.DatastoreType },
		"Where the resources are: the Kubernetes API server, or etcd. DATASTORE_TYPE of the environment counts, too.").local(),
	setting("EtcdEndpoints", "", text(), func(c *Config) *string { return &c.EtcdEndpoints },
		"URLs of etcd, with commas between. Empty is ETCD_ENDPOINTS of the environment; the other ETCD_ variables count, too.").local(),
	setting("EtcdCAFile", "", text(), func(c *Config) *string { return &c.EtcdCAFile },
		"PEM file of the authorities that sign etcd's certificates.").local(),
	setting("EtcdCertFile", "", text(), func(c *Config) *string { return &c.EtcdCertFile },
		"PEM file of Felix's certificate for etcd.").local(),
	setting("EtcdKeyFile", "", text(), func(c *Config) *string { return &c.EtcdKeyFile },
		"PEM file of that certificate's key.").local(),
	setting("FelixHostname", "", pattern("a node name", `^[a-zA-Z0-9_.-]*$`), func(c *Config) *string { return &c.FelixHostname },
		"Name of this node in Kubernetes. Empty is NODENAME of the environment, then the host name.").local(),
	setting("TyphaAddr", "", pattern("host:port, or nothing", `^([^:/]+:\d+|\[[0-9a-fA-F:]+\]:\d+)?$`), func(c *Config) *string { return &c.TyphaAddr },
		"Address of Typha.").local(),
	setting("TyphaK8sServiceName", "", text(), func(c *Config) *string { return &c.TyphaK8sServiceName },
		"Name of Typha's Service. Without it and TyphaAddr, Felix computes for itself what Typha would.").local(),
	setting("TyphaK8sNamespace", "kube-system", text(), func(c *Config) *string { return &c.TyphaK8sNamespace },
		"Namespace of Typha's Service.").local(),
	setting("TyphaCAFile", "", text(), func(c *Config) *string { return &c.TyphaCAFile },
		"PEM file of the authorities that sign Typha's certificate.").local(),
	setting("TyphaCertFile", "", text(), func(c *Config) *string { return &c.TyphaCertFile },
		"PEM file of Felix's certificate for Typha.").local(),
	setting("TyphaKeyFile", "", text(), func(c *Config) *string { return &c.TyphaKeyFile },
		"PEM file of that certificate's key.").local(),
	setting("TyphaCN", "", text(), func(c *Config) *string { return &c.TyphaCN },
		"Common name that Typha's certificate must have.").local(),
	setting("TyphaURISAN", "", text(), func(c *Config) *string { return &c.TyphaURISAN },
		"URI that Typha's certificate must have; it is enough that this or TyphaCN agrees.").local(),
	setting("TyphaTokenFile", "", text(), func(c *Config) *string { return &c.TyphaTokenFile },
		"File of the projected service-account token that says to Typha which node this is.").local(),
	setting("TyphaReadTimeout", "30", seconds(), func(c *Config) *time.Duration { return &c.TyphaReadTimeout },
		"How long a silent connection to Typha is trusted.").local(),
	setting("LogSeverityScreen", "INFO", oneOf("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"), func(c *Config) *string { return &c.LogSeverityScreen },
		"The least severity that is written to the standard error."),
	setting("LogPrefix", "calico-packet", pattern("at most 27 printable characters", `^[ -~]{0,27}$`), func(c *Config) *string { return &c.LogPrefix },
		"Begins the kernel log's lines of Log rules."),
	setting("HealthEnabled", "false", boolean(), func(c *Config) *bool { return &c.HealthEnabled },
		"Serve /liveness and /readiness.").atStart(),
	setting("HealthHost", "localhost", pattern("a host name or address", `^[a-zA-Z0-9:._+-]{1,64}$`), func(c *Config) *string { return &c.HealthHost },
		"Address of the health endpoint.").atStart(),
	setting("HealthPort", "9099", port(), func(c *Config) *uint16 { return &c.HealthPort },
		"Port of the health endpoint.").atStart(),
	setting("PrometheusMetricsEnabled", "false", boolean(), func(c *Config) *bool { return &c.PrometheusMetricsEnabled },
		"Serve /metrics for Prometheus.").atStart(),
	setting("PrometheusMetricsHost", "", text(), func(c *Config) *string { return &c.PrometheusMetricsHost },
		"Address of the metrics endpoint; empty is every address.").atStart(),
	setting("PrometheusMetricsPort", "9091", port(), func(c *Config) *uint16 { return &c.PrometheusMetricsPort },
		"Port of the metrics endpoint.").atStart(),
	setting("PrometheusGoMetricsEnabled", "true", boolean(), func(c *Config) *bool { return &c.PrometheusGoMetricsEnabled },
		"Include the Go runtime's metrics.").atStart(),
	setting("PrometheusProcessMetricsEnabled", "true", boolean(), func(c *Config) *bool { return &c.PrometheusProcessMetricsEnabled },
		"Include the process's metrics.").atStart(),
	setting("GoGCThreshold", "40", integer(-1, 1<<31-1), func(c *Config) *int { return &c.GoGCThreshold },
		"Garbage collector's target in percent; -1 is off.").atStart(),
	setting("GoMaxProcs", "-1", integer(-1, 1<<20), func(c *Config) *int { return &c.GoMaxProcs },
		"Number of threads that execute Go code; -1 is the runtime's choice.").atStart(),
	setting("GoMemoryLimitMB", "-1", integer(-1, 1<<31-1), func(c *Config) *int { return &c.GoMemoryLimitMB },
		"Soft limit of memory in MiB; -1 is none.").atStart(),
	setting("DataplaneWatchdogTimeout", "90", seconds(), func(c *Config) *time.Duration { return &c.DataplaneWatchdogTimeout },
		"How long the loop that programs the kernel may take before /liveness fails.").atStart(),
	setting("Ipv6Support", "true", boolean(), func(c *Config) *bool { return &c.Ipv6Support },
		"Program IPv6 as well as IPv4. Without it pods get no IPv6 address, and the host's ends of their interfaces take nothing in IPv6.").atStart(),
	setting("IPForwarding", "Enabled", oneOf("Enabled", "Disabled"), func(c *Config) *string { return &c.IPForwarding },
		"Whether Felix turns on forwarding between interfaces in the kernel."),
	setting("DefaultEndpointToHostAction", "DROP", oneOf("DROP", "RETURN", "ACCEPT"), func(c *Config) *string { return &c.DefaultEndpointToHostAction },
		"What becomes of packets from a pod to its own node, after the pod's policy allowed them."),
	setting("InterfacePrefix", "cali", prefixes(), func(c *Config) *Prefixes { return &c.InterfacePrefix },
		"What the names of the host's ends of workloads begin with. Those of pods, cali, count always."),
	setting("FailsafeInboundHostPorts", "tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667", protoPorts(), func(c *Config) *ProtoPorts { return &c.FailsafeInboundHostPorts },
		"Ports of the node that no policy of a host endpoint closes, each for all peers or for a network."),
	setting("FailsafeOutboundHostPorts", "udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667", protoPorts(), func(c *Config) *ProtoPorts { return &c.FailsafeOutboundHostPorts },
		"Ports of others that the node reaches whatever policy of a host endpoint says."),
	setting("IptablesBackend", "auto", oneOf("auto", "legacy", "nft"), func(c *Config) *string { return &c.IptablesBackend },
		"Which iptables to use; auto is the one that the rest of the node uses.").atStart(),
	setting("IptablesFilterAllowAction", "ACCEPT", oneOf("ACCEPT", "RETURN"), func(c *Config) *string { return &c.IptablesFilterAllowAction },
		"What becomes of packets that policy allows: accepted at once, or left to the rules after Felix's."),
	setting("IptablesFilterDenyAction", "DROP", oneOf("DROP", "REJECT"), func(c *Config) *string { return &c.IptablesFilterDenyAction },
		"What becomes of packets that policy denies."),
	setting("IptablesMarkMask", "0xffff0000", bitmask(), func(c *Config) *uint32 { return &c.IptablesMarkMask },
		"Bits of the packet mark that Felix may use.").atStart(),
	setting("IptablesNATOutgoingInterfaceFilter", "", pattern("an interface name, or nothing", `^[a-zA-Z0-9:._+-]{0,15}$`), func(c *Config) *string { return &c.IptablesNATOutgoingInterfaceFilter },
		"Masquerade only what leaves by this interface."),
	setting("KubeNodePortRanges", "30000:32767", portRanges(), func(c *Config) *PortRanges { return &c.KubeNodePortRanges },
		"Ports of NodePort Services, by which Felix knows what kube-proxy forwards in IPVS mode."),
	setting("IptablesRefreshInterval", "180", seconds(), func(c *Config) *time.Duration { return &c.IptablesRefreshInterval },
		"How often the iptables rules are compared with what they should be."),
	setting("IpsetsRefreshInterval", "90", seconds(), func(c *Config) *time.Duration { return &c.IpsetsRefreshInterval },
		"How often the IP sets are."),
	setting("RouteRefreshInterval", "90", seconds(), func(c *Config) *time.Duration { return &c.RouteRefreshInterval },
		"How often the routes are."),
	setting("InterfaceRefreshInterval", "90", seconds(), func(c *Config) *time.Duration { return &c.InterfaceRefreshInterval },
		"How often the tunnel devices and the settings of interfaces are."),
	setting("DisableConntrackInvalidCheck", "false", boolean(), func(c *Config) *bool { return &c.DisableConntrackInvalidCheck },
		"Let packets through that connection tracking finds invalid."),
	setting("WorkloadSourceSpoofing", "Disabled", oneOf("Disabled", "Any"), func(c *Config) *string { return &c.WorkloadSourceSpoofing },
		"Any lets pods send from addresses that are not theirs."),
	setting("MaxIpsetSize", "1048576", integer(1, 1<<31-1), func(c *Config) *int { return &c.MaxIpsetSize },
		"The most members an IP set may have.").atStart(),
	setting("NATOutgoingAddress", "", address(), func(c *Config) *netip.Addr { return &c.NATOutgoingAddress },
		"Source address of what leaves the pools, in place of that of the outgoing interface."),
	setting("NATOutgoingExclusions", "IPPoolsOnly", oneOf("IPPoolsOnly", "IPPoolsAndHostIPs"), func(c *Config) *string { return &c.NATOutgoingExclusions },
		"Destinations for which natOutgoing does nothing."),
	setting("DeviceRouteProtocol", "80", integer(4, 254), func(c *Config) *int { return &c.DeviceRouteProtocol },
		"Routing protocol number by which Felix knows its routes.").atStart(),
	setting("DeviceRouteSourceAddress", "", address(), func(c *Config) *netip.Addr { return &c.DeviceRouteSourceAddress },
		"Preferred source address of IPv4 routes to pods."),
	setting("DeviceRouteSourceAddressIPv6", "", address(), func(c *Config) *netip.Addr { return &c.DeviceRouteSourceAddressIPv6 },
		"Preferred source address of IPv6 routes to pods."),
	setting("ProgramClusterRoutes", "EnabledIPIPOnly", oneOf("Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled"), func(c *Config) *string { return &c.ProgramClusterRoutes },
		"Whether Felix programs the routes to other nodes of the subnet also for pools without encapsulation. It does so as well when programClusterRoutes of the BGPConfiguration says that BGP does not, and without BGP."),
	setting("BGPMaxPrefixes", "20000", integer(0, 1<<31-1), func(c *Config) *int { return &c.BGPMaxPrefixes },
		"How many routes a BGP peer may announce; with one more its session is closed for a while. 0 is any number.").local(),
	setting("MTUIfacePattern", `^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)`, regularExpression(), func(c *Config) *string { return &c.MTUIfacePattern },
		"Interfaces whose least MTU is the network's."),
	setting("VXLANMTU", "0", integer(0, 65535), func(c *Config) *int { return &c.VXLANMTU },
		"MTU of the IPv4 VXLAN device; 0 derives it from the network's."),
	setting("VXLANMTUV6", "0", integer(0, 65535), func(c *Config) *int { return &c.VXLANMTUV6 },
		"MTU of the IPv6 VXLAN device; 0 derives it from the network's."),
	setting("VXLANPort", "4789", port(), func(c *Config) *uint16 { return &c.VXLANPort },
		"UDP port of VXLAN."),
	setting("VXLANVNI", "4096", integer(1, 1<<24-1), func(c *Config) *int { return &c.VXLANVNI },
		"VXLAN network identifier."),
}

// withoutEffect are Calico's other settings, in lower case: accepted, so that a configuration written for it
// applies, and doing nothing.
const withoutEffect = `
allowipippacketsfromworkloads allowvxlanpacketsfromworkloads awssrcdstcheck bpfattachtype
bpfconnecttimeloadbalancing bpfconnecttimeloadbalancingenabled bpfconntrackcleanupmode bpfconntrackloglevel
bpfconntracktimeouts bpfctlblogfilter bpfdataifacepattern bpfdisablegroforifaces bpfdisableunprivileged
bpfdsroptoutcidrs bpfenabled bpfenforcerpf bpfexcludecidrsfromnat bpfexportbuffersizemb bpfexternalservicemode
bpfexttoserviceconnmark bpfforcetrackpacketsfromifaces bpfhostconntrackbypass bpfhostnetworkednatwithoutctlb
bpfipfragmentreassemblyenabled bpfipfragtimeout bpfjithardening bpfkubeproxyhealthzport
bpfkubeproxyiptablescleanupenabled bpfkubeproxyminsyncperiod bpfl3ifacepattern bpflogfilters bpfloglevel
bpfmaglevmaxendpointsperservice bpfmaglevmaxservices bpfmapsizeconntrack bpfmapsizeconntrackcleanupqueue
bpfmapsizeconntrackscaling bpfmapsizeifstate bpfmapsizeipsets bpfmapsizenataffinity bpfmapsizenatbackend
bpfmapsizenatfrontend bpfmapsizepercpuconntrack bpfmapsizeroute bpfoverlayhostsourceip bpfpolicydebugenabled
bpfprofiling bpfpsnatports bpfredirecttopeer cgroupv2path chaininsertmode dataplanedriver debugbpfcgroupv2
debugcpuprofilepath debugdisablelogdropping debughost debugmemoryprofilepath debugpanicafter debugport
debugsimulatecalcgraphhangafter debugsimulatedataplaneapplydelay debugsimulatedataplanehangafter
debugsimulatedatarace endpointreportingdelaysecs endpointreportingenabled endpointstatuspathprefix etcdaddr
etcdscheme externalnodescidrlist
featuredetectoverride featuregates floatingips flowlogscollectordebugtrace
flowlogsflushinterval flowlogsgoldmaneserver flowlogslocalreporter flowlogspolicyevaluationmode
genericxdpenabled healthtimeoutoverrides interfaceexclude ipinipenabled ipinipmtu
iptableslockprobeintervalmillis iptablesmangleallowaction iptablespostwritecheckintervalsecs
ipv4elevatedroutepriority ipv4normalroutepriority ipv6elevatedroutepriority ipv6normalroutepriority
istioambientmode istiodscpmark livemigrationrouteconvergencetime localsubnetl2reachability
localsubnetl2reachabilityrefreshinterval logactionratelimit logactionratelimitburst logdebugfilenameregex
logfilepath logseverityfile logseveritysys metadataaddr metadataport natportrange netlinktimeoutsecs
nftablesfilterallowaction nftablesfilterdenyaction nftablesflowtabledataifacepattern nftablesflowtableoffload
nftablesmangleallowaction nftablesmarkmask nftablesmode nftablesrefreshinterval openstackregion
policysyncpathprefix prometheusmetricscafile prometheusmetricscertfile prometheusmetricsclientauth
prometheusmetricskeyfile prometheuswireguardmetricsenabled removeexternalroutes reportingintervalsecs
reportingttlsecs requiremtufile routesource routesyncdisabled routetablerange routetableranges
serviceloopprevention sidecaraccelerationenabled typhawritetimeout usagereportingenabled
usagereportinginitialdelaysecs usagereportingintervalsecs useinternaldataplanedriver vxlanenabled
windowsmanagefirewallrules wireguardenabled wireguardenabledv6 wireguardhostencryptionenabled
wireguardinterfacename wireguardinterfacenamev6 wireguardlisteningport wireguardlisteningportv6 wireguardmtu
wireguardmtuv6 wireguardpersistentkeepalive wireguardroutingrulepriority wireguardthreadingenabled xdpenabled
xdprefreshinterval
`
