package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// FelixConfiguration configures Felix: the one named default for all nodes, one named node.NAME for that node.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=felixconfigurations
type FelixConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FelixConfigurationSpec `json:"spec,omitempty"`
}

// FelixConfigurationList is a list of FelixConfiguration.
//
// +kubebuilder:object:root=true
type FelixConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []FelixConfiguration `json:"items"`
}

// FelixConfigurationSpec is the configuration. What is absent has the default of Felix; an empty list is not absent.
//
// +kubebuilder:validation:XValidation:rule="!has(self.routeTableRange) || !has(self.routeTableRanges)",fieldPath=".routeTableRange",message="cannot be combined with routeTableRanges: use the latter alone"
// +kubebuilder:validation:XValidation:rule="!has(self.natOutgoingAddress) || size(self.natOutgoingAddress) == 0 || (isIP(self.natOutgoingAddress) && ip(self.natOutgoingAddress).family() == 4)",fieldPath=".natOutgoingAddress",messageExpression="self.natOutgoingAddress + ' must be an IPv4 address, for example 192.0.2.1'"
// +kubebuilder:validation:XValidation:rule="!has(self.deviceRouteSourceAddress) || size(self.deviceRouteSourceAddress) == 0 || (isIP(self.deviceRouteSourceAddress) && ip(self.deviceRouteSourceAddress).family() == 4)",fieldPath=".deviceRouteSourceAddress",messageExpression="self.deviceRouteSourceAddress + ' must be an IPv4 address, for example 192.0.2.1'"
// +kubebuilder:validation:XValidation:rule="!has(self.deviceRouteSourceAddressIPv6) || size(self.deviceRouteSourceAddressIPv6) == 0 || (isIP(self.deviceRouteSourceAddressIPv6) && ip(self.deviceRouteSourceAddressIPv6).family() == 6)",fieldPath=".deviceRouteSourceAddressIPv6",messageExpression="self.deviceRouteSourceAddressIPv6 + ' must be an IPv6 address, for example 2001:db8::1'"
type FelixConfigurationSpec struct {
	// AllowIPIPPacketsFromWorkloads lets pods send IPIP packets. Default false.
	AllowIPIPPacketsFromWorkloads *bool `json:"allowIPIPPacketsFromWorkloads,omitempty"`
	// AllowVXLANPacketsFromWorkloads lets pods send VXLAN packets to the VXLAN port. Default false.
	AllowVXLANPacketsFromWorkloads *bool `json:"allowVXLANPacketsFromWorkloads,omitempty"`
	// AWSSrcDstCheck sets the source/destination check of the node's AWS interface: DoNothing, Enable or Disable.
	// Default DoNothing.
	// +kubebuilder:validation:Enum="DoNothing";"Enable";"Disable"
	AWSSrcDstCheck *string `json:"awsSrcDstCheck,omitempty"`
	// BPFAttachType is how eBPF programs are attached to interfaces: TC, TCX or Netkit. Default Netkit.
	// +kubebuilder:validation:Enum="TC";"TCX";"Netkit"
	BPFAttachType *string `json:"bpfAttachType,omitempty"`
	// BPFCTLBLogFilter turns on the log of the connect-time load balancer: all.
	BPFCTLBLogFilter *string `json:"bpfCTLBLogFilter,omitempty"`
	// BPFConnectTimeLoadBalancing says for which protocols a Service's endpoint is chosen at connect time. Default
	// TCP.
	// +kubebuilder:validation:Enum="TCP";"Enabled";"Disabled"
	BPFConnectTimeLoadBalancing *string `json:"bpfConnectTimeLoadBalancing,omitempty"`
	// BPFConnectTimeLoadBalancingEnabled chooses a Service's endpoint at connect time. Deprecated: use
	// bpfConnectTimeLoadBalancing.
	BPFConnectTimeLoadBalancingEnabled *bool `json:"bpfConnectTimeLoadBalancingEnabled,omitempty"`
	// BPFConntrackLogLevel is the log level of the eBPF conntrack cleaner: Off or Debug. Default Off.
	// +kubebuilder:validation:Enum="Off";"Debug"
	BPFConntrackLogLevel *string `json:"bpfConntrackLogLevel,omitempty"`
	// BPFConntrackMode is where old eBPF conntrack entries are cleaned: Auto, Userspace or BPFProgram. Default Auto.
	// +kubebuilder:validation:Enum="Auto";"Userspace";"BPFProgram"
	BPFConntrackMode *string `json:"bpfConntrackMode,omitempty"`
	// BPFConntrackTimeouts are the times after which eBPF conntrack entries expire.
	BPFConntrackTimeouts *BPFConntrackTimeouts `json:"bpfConntrackTimeouts,omitempty"`
	// BPFDSROptoutCIDRs are client networks for which direct server return is not used.
	// +optional
	BPFDSROptoutCIDRs []string `json:"bpfDSROptoutCIDRs,omitzero"`
	// BPFDataIfacePattern matches the interfaces that carry traffic of the node, as a regular expression. Absent
	// means the usual names of physical interfaces and bonds.
	BPFDataIfacePattern *string `json:"bpfDataIfacePattern,omitempty"`
	// BPFDisableGROForIfaces matches interfaces whose generic receive offload is turned off, as a regular expression.
	BPFDisableGROForIfaces *string `json:"bpfDisableGROForIfaces,omitempty"`
	// BPFDisableUnprivileged keeps unprivileged users from eBPF, by a sysctl. Default true.
	BPFDisableUnprivileged *bool `json:"bpfDisableUnprivileged,omitempty"`
	// BPFEnabled selects the eBPF dataplane. Default false.
	BPFEnabled *bool `json:"bpfEnabled,omitempty"`
	// BPFEnforceRPF is the reverse-path check of the eBPF dataplane: Disabled, Strict or Loose. Default Loose.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|Strict|Loose)?$`
	BPFEnforceRPF *string `json:"bpfEnforceRPF,omitempty"`
	// BPFExcludeCIDRsFromNAT are networks whose Services the eBPF dataplane leaves alone.
	// +optional
	BPFExcludeCIDRsFromNAT []string `json:"bpfExcludeCIDRsFromNAT,omitzero"`
	// BPFExportBufferSizeMB is the size of the buffer for events from eBPF programs, in MB. Default 1.
	BPFExportBufferSizeMB *int `json:"bpfExportBufferSizeMB,omitempty"`
	// BPFExtToServiceConnmark is a connection mark for traffic from outside to Services. Default 0, which is none.
	BPFExtToServiceConnmark *int `json:"bpfExtToServiceConnmark,omitempty"`
	// BPFExternalServiceMode is how traffic from outside reaches endpoints on other nodes: Tunnel or DSR. Default
	// Tunnel.
	// +kubebuilder:validation:Pattern=`^(?i)(Tunnel|DSR)?$`
	BPFExternalServiceMode *string `json:"bpfExternalServiceMode,omitempty"`
	// BPFForceTrackPacketsFromIfaces are interfaces whose traffic also goes through the kernel's conntrack. Default
	// docker+.
	// +optional
	BPFForceTrackPacketsFromIfaces []string `json:"bpfForceTrackPacketsFromIfaces,omitzero"`
	// BPFHostConntrackBypass lets traffic of the node skip the kernel's conntrack. Default false.
	BPFHostConntrackBypass *bool `json:"bpfHostConntrackBypass,omitempty"`
	// BPFHostNetworkedNATWithoutCTLB gives host-networked pods Services without connect-time load balancing. Default
	// Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	BPFHostNetworkedNATWithoutCTLB *string `json:"bpfHostNetworkedNATWithoutCTLB,omitempty"`
	// BPFIPFragTimeout is how long fragments wait for the rest.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	BPFIPFragTimeout *string `json:"bpfIPFragTimeout,omitempty"`
	// BPFIPFragmentReassemblyEnabled puts fragments of UDP and ICMP packets together before policy. Default true.
	BPFIPFragmentReassemblyEnabled *bool `json:"bpfIPFragmentReassemblyEnabled,omitempty"`
	// BPFJITHardening sets the kernel's hardening of compiled eBPF: Auto or Strict. Default Auto.
	// +kubebuilder:validation:Enum="Auto";"Strict"
	BPFJITHardening *string `json:"bpfJITHardening,omitempty"`
	// BPFKubeProxyHealthzPort is the port of the health endpoint of the built-in kube-proxy. Default 10256.
	BPFKubeProxyHealthzPort *int `json:"bpfKubeProxyHealthzPort,omitempty"`
	// BPFKubeProxyIptablesCleanupEnabled removes kube-proxy's iptables rules in eBPF mode. Default true.
	BPFKubeProxyIptablesCleanupEnabled *bool `json:"bpfKubeProxyIptablesCleanupEnabled,omitempty"`
	// BPFKubeProxyMinSyncPeriod is the least time between updates of Services. Default 1s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	BPFKubeProxyMinSyncPeriod *string `json:"bpfKubeProxyMinSyncPeriod,omitempty"`
	// BPFL3IfacePattern matches interfaces without a link layer, as a regular expression.
	BPFL3IfacePattern *string `json:"bpfL3IfacePattern,omitempty"`
	// BPFLogFilters are packet filters in pcap syntax, by interface, for the eBPF log.
	BPFLogFilters map[string]string `json:"bpfLogFilters,omitempty"`
	// BPFLogLevel is the log level of eBPF programs: Off, Info or Debug. Default Off.
	// +kubebuilder:validation:Pattern=`^(?i)(Off|Info|Debug)?$`
	BPFLogLevel *string `json:"bpfLogLevel,omitempty"`
	// BPFMaglevMaxEndpointsPerService is the most endpoints that a Service with consistent hashing has. Default 100.
	BPFMaglevMaxEndpointsPerService *int `json:"bpfMaglevMaxEndpointsPerService,omitempty"`
	// BPFMaglevMaxServices is the most Services with consistent hashing. Default 100.
	BPFMaglevMaxServices *int `json:"bpfMaglevMaxServices,omitempty"`
	// BPFMapSizeConntrack is the number of entries of the conntrack map. Default 512000.
	BPFMapSizeConntrack *int `json:"bpfMapSizeConntrack,omitempty"`
	// BPFMapSizeConntrackCleanupQueue is the number of entries of the conntrack cleaner's queue. Default 100000.
	// +kubebuilder:validation:Minimum=1
	BPFMapSizeConntrackCleanupQueue *int `json:"bpfMapSizeConntrackCleanupQueue,omitempty"`
	// BPFMapSizeConntrackScaling says what happens when the conntrack map is full: Disabled or DoubleIfFull. Default
	// DoubleIfFull.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|DoubleIfFull)?$`
	BPFMapSizeConntrackScaling *string `json:"bpfMapSizeConntrackScaling,omitempty"`
	// BPFMapSizeIPSets is the number of entries of the IP set map. Default 1048576.
	BPFMapSizeIPSets *int `json:"bpfMapSizeIPSets,omitempty"`
	// BPFMapSizeIfState is the number of entries of the interface map. Default 1000.
	BPFMapSizeIfState *int `json:"bpfMapSizeIfState,omitempty"`
	// BPFMapSizeNATAffinity is the number of entries of the Service affinity map. Default 65536.
	BPFMapSizeNATAffinity *int `json:"bpfMapSizeNATAffinity,omitempty"`
	// BPFMapSizeNATBackend is the number of entries of the Service endpoint map. Default 262144.
	BPFMapSizeNATBackend *int `json:"bpfMapSizeNATBackend,omitempty"`
	// BPFMapSizeNATFrontend is the number of entries of the Service map. Default 65536.
	BPFMapSizeNATFrontend *int `json:"bpfMapSizeNATFrontend,omitempty"`
	// BPFMapSizePerCpuConntrack is the number of entries of the conntrack map for each CPU; 0 leaves it to
	// bpfMapSizeConntrack.
	BPFMapSizePerCpuConntrack *int `json:"bpfMapSizePerCpuConntrack,omitempty"`
	// BPFMapSizeRoute is the number of entries of the route map. Default 262144.
	BPFMapSizeRoute *int `json:"bpfMapSizeRoute,omitempty"`
	// BPFOverlayHostSourceIP is the source of traffic from the node through a tunnel: TunnelAddress or HostAddress.
	// Default TunnelAddress.
	// +kubebuilder:validation:Enum="TunnelAddress";"HostAddress"
	BPFOverlayHostSourceIP *string `json:"bpfOverlayHostSourceIP,omitempty"`
	// BPFPSNATPorts is the range of ports for source port NAT when ports collide, for example "20000:29999".
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	BPFPSNATPorts *intstr.IntOrString `json:"bpfPSNATPorts,omitempty"`
	// BPFPolicyDebugEnabled records which rules eBPF policy programs consist of. Default true.
	BPFPolicyDebugEnabled *bool `json:"bpfPolicyDebugEnabled,omitempty"`
	// BPFProfiling measures eBPF programs: Enabled or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	BPFProfiling *string `json:"bpfProfiling,omitempty"`
	// BPFRedirectToPeer hands packets to the pod's side of its interface at once: Enabled or Disabled. Default
	// Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	BPFRedirectToPeer *string `json:"bpfRedirectToPeer,omitempty"`
	// CgroupV2Path is where cgroup v2 is mounted, if not where it usually is.
	CgroupV2Path *string `json:"cgroupV2Path,omitempty"`
	// ChainInsertMode says where the jump to our chains stands in the kernel's: Insert, first, or Append, last.
	// Default Insert.
	// +kubebuilder:validation:Pattern=`^(?i)(Insert|Append)?$`
	ChainInsertMode *string `json:"chainInsertMode,omitempty"`
	// DataplaneDriver is the program of an external dataplane. Default calico-iptables-plugin.
	DataplaneDriver *string `json:"dataplaneDriver,omitempty"`
	// DataplaneWatchdogTimeout is how long the dataplane may make no progress before liveness fails. Deprecated: use
	// healthTimeoutOverrides. Default 1m30s.
	DataplaneWatchdogTimeout *string `json:"dataplaneWatchdogTimeout,omitempty"`
	// DebugDisableLogDropping makes logging wait rather than drop. Default false.
	DebugDisableLogDropping *bool `json:"debugDisableLogDropping,omitempty"`
	// DebugHost is the address of the debug server. Default localhost.
	DebugHost *string `json:"debugHost,omitempty"`
	// DebugMemoryProfilePath is the file that a memory profile is written to on SIGUSR1.
	DebugMemoryProfilePath *string `json:"debugMemoryProfilePath,omitempty"`
	// DebugPort is the port of the debug server; absent means none.
	DebugPort *int `json:"debugPort,omitempty"`
	// DebugSimulateCalcGraphHangAfter makes the calculation hang after a time, for tests of liveness.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	DebugSimulateCalcGraphHangAfter *string `json:"debugSimulateCalcGraphHangAfter,omitempty"`
	// DebugSimulateDataplaneApplyDelay makes every write to the dataplane slow, for tests.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	DebugSimulateDataplaneApplyDelay *string `json:"debugSimulateDataplaneApplyDelay,omitempty"`
	// DebugSimulateDataplaneHangAfter makes the dataplane hang after a time, for tests of liveness.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	DebugSimulateDataplaneHangAfter *string `json:"debugSimulateDataplaneHangAfter,omitempty"`
	// DefaultEndpointToHostAction is what happens to traffic from pods to their own node: Drop, Return or Accept.
	// Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Accept|Return)?$`
	DefaultEndpointToHostAction *string `json:"defaultEndpointToHostAction,omitempty"`
	// DeviceRouteProtocol marks routes as ours, by the kernel's route protocol number. Default 80.
	DeviceRouteProtocol *int `json:"deviceRouteProtocol,omitempty"`
	// DeviceRouteSourceAddress is the IPv4 source address that the node prefers towards pods.
	// +kubebuilder:validation:MaxLength=45
	DeviceRouteSourceAddress *string `json:"deviceRouteSourceAddress,omitempty"`
	// DeviceRouteSourceAddressIPv6 is the IPv6 source address that the node prefers towards pods.
	// +kubebuilder:validation:MaxLength=45
	DeviceRouteSourceAddressIPv6 *string `json:"deviceRouteSourceAddressIPv6,omitempty"`
	// DisableConntrackInvalidCheck lets packets pass that conntrack calls invalid. Default false.
	DisableConntrackInvalidCheck *bool `json:"disableConntrackInvalidCheck,omitempty"`
	// EndpointReportingDelay is how long reports of endpoint status are held back to be batched. Default 1s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	EndpointReportingDelay *string `json:"endpointReportingDelay,omitempty"`
	// EndpointReportingEnabled reports the status of endpoints to the datastore. Default false.
	EndpointReportingEnabled *bool `json:"endpointReportingEnabled,omitempty"`
	// EndpointStatusPathPrefix is the folder for status files of endpoints. Default /var/run/calico.
	EndpointStatusPathPrefix *string `json:"endpointStatusPathPrefix,omitempty"`
	// ExternalNodesList are networks of nodes outside the cluster that may send tunnelled packets.
	// +optional
	ExternalNodesList []string `json:"externalNodesList,omitzero"`
	// FailsafeInboundHostPorts are ports of the node that no policy closes. Absent means SSH, DHCP, BGP, etcd and the
	// Kubernetes API; an empty list means none.
	// +optional
	FailsafeInboundHostPorts []ProtoPort `json:"failsafeInboundHostPorts,omitzero"`
	// FailsafeOutboundHostPorts are ports that the node reaches whatever policy says. Absent means DNS, DHCP, BGP,
	// etcd and the Kubernetes API; an empty list means none.
	// +optional
	FailsafeOutboundHostPorts []ProtoPort `json:"failsafeOutboundHostPorts,omitzero"`
	// FeatureDetectOverride replaces what is detected of the kernel, for example "ChecksumOffloadBroken=true".
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9-_]+=(true|false|),)*([a-zA-Z0-9-_]+=(true|false|))?$`
	FeatureDetectOverride *string `json:"featureDetectOverride,omitempty"`
	// FeatureGates turns features on and off, for example "Feature=true".
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9-_]+=([^=]+),)*([a-zA-Z0-9-_]+=([^=]+))?$`
	FeatureGates *string `json:"featureGates,omitempty"`
	// FloatingIPs gives pods the floating addresses of their annotations: Enabled or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	FloatingIPs *string `json:"floatingIPs,omitempty"`
	// FlowLogsCollectorDebugTrace logs the collector of flow logs in detail. Default false.
	FlowLogsCollectorDebugTrace *bool `json:"flowLogsCollectorDebugTrace,omitempty"`
	// FlowLogsFlushInterval is the time between writes of flow logs. Default 5m.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	FlowLogsFlushInterval *string `json:"flowLogsFlushInterval,omitempty"`
	// FlowLogsGoldmaneServer is the address of the server that flow logs are sent to.
	FlowLogsGoldmaneServer *string `json:"flowLogsGoldmaneServer,omitempty"`
	// FlowLogsLocalReporter offers flow logs on a socket of the node: Enabled or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="Disabled";"Enabled"
	FlowLogsLocalReporter *string `json:"flowLogsLocalReporter,omitempty"`
	// FlowLogsPolicyEvaluationMode says when the policies of a flow are worked out: None, when it starts, or
	// Continuous. Default Continuous.
	// +kubebuilder:validation:Enum="None";"Continuous"
	FlowLogsPolicyEvaluationMode *string `json:"flowLogsPolicyEvaluationMode,omitempty"`
	// GenericXDPEnabled uses XDP on interfaces whose driver does not support it; slow, for tests. Default false.
	GenericXDPEnabled *bool `json:"genericXDPEnabled,omitempty"`
	// GoGCThreshold is the target of Go's garbage collector, in percent. Default 40; -1 turns it off.
	GoGCThreshold *int `json:"goGCThreshold,omitempty"`
	// GoMaxProcs is the number of CPUs used; -1 means all. Default -1.
	GoMaxProcs *int `json:"goMaxProcs,omitempty"`
	// GoMemoryLimitMB is the soft limit of Go's memory, in MB; -1 means none. Default -1.
	GoMemoryLimitMB *int `json:"goMemoryLimitMB,omitempty"`
	// HealthEnabled offers liveness and readiness over HTTP. Default false.
	HealthEnabled *bool `json:"healthEnabled,omitempty"`
	// HealthHost is the address of the health server. Default localhost.
	HealthHost *string `json:"healthHost,omitempty"`
	// HealthPort is the port of the health server. Default 9099.
	HealthPort *int `json:"healthPort,omitempty"`
	// HealthTimeoutOverrides replaces the times after which parts of Felix count as hung.
	// +listType=atomic
	HealthTimeoutOverrides []HealthTimeoutOverride `json:"healthTimeoutOverrides,omitempty"`
	// InterfaceExclude are interfaces that are never the node's own, comma-separated, as /regular expressions/ or
	// names. Default kube-ipvs0.
	InterfaceExclude *string `json:"interfaceExclude,omitempty"`
	// InterfacePrefix is what names of pods' interfaces start with; several are comma-separated. Default cali.
	InterfacePrefix *string `json:"interfacePrefix,omitempty"`
	// InterfaceRefreshInterval is the time between full reads of interfaces; 0 means never. Default 90s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	InterfaceRefreshInterval *string `json:"interfaceRefreshInterval,omitempty"`
	// IPForwarding turns on the kernel's forwarding: Enabled or Disabled. Default Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	IPForwarding *string `json:"ipForwarding,omitempty"`
	// IPIPEnabled makes the IPIP device; absent means when a pool needs it.
	IPIPEnabled *bool `json:"ipipEnabled,omitempty"`
	// IPIPMTU is the MTU of the IPIP device; 0 or absent means found out.
	IPIPMTU *int `json:"ipipMTU,omitempty"`
	// IpsetsRefreshInterval is the time between full reads of IP sets; 0 means never. Default 90s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	IpsetsRefreshInterval *string `json:"ipsetsRefreshInterval,omitempty"`
	// IptablesBackend is the kind of iptables: Legacy, NFT or Auto. Default Auto.
	// +kubebuilder:validation:Enum="Legacy";"NFT";"Auto"
	// +kubebuilder:validation:Pattern=`^(?i)(Auto|Legacy|NFT)?$`
	IptablesBackend *string `json:"iptablesBackend,omitempty"`
	// IptablesFilterAllowAction is what happens to packets that policy allows: Accept or Return, to the kernel's
	// other rules. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	IptablesFilterAllowAction *string `json:"iptablesFilterAllowAction,omitempty"`
	// IptablesFilterDenyAction is what happens to packets that policy denies: Drop or Reject. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject)?$`
	IptablesFilterDenyAction *string `json:"iptablesFilterDenyAction,omitempty"`
	// IptablesLockProbeInterval is the time between attempts to get the iptables lock. Default 50ms.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	IptablesLockProbeInterval *string `json:"iptablesLockProbeInterval,omitempty"`
	// IptablesMangleAllowAction is what happens to packets that pre-DNAT policy allows: Accept or Return. Default
	// Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	IptablesMangleAllowAction *string `json:"iptablesMangleAllowAction,omitempty"`
	// IptablesMarkMask are the bits of the packet mark that we may use; at least 8, better 16. Default 0xffff0000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	IptablesMarkMask *int64 `json:"iptablesMarkMask,omitempty"`
	// IptablesNATOutgoingInterfaceFilter restricts outgoing NAT to packets that leave by this interface; + at the end
	// stands for any characters.
	IptablesNATOutgoingInterfaceFilter *string `json:"iptablesNATOutgoingInterfaceFilter,omitempty"`
	// IptablesPostWriteCheckInterval is how soon after a write rules are read back. Default 5s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	IptablesPostWriteCheckInterval *string `json:"iptablesPostWriteCheckInterval,omitempty"`
	// IptablesRefreshInterval is the time between full reads of rules; 0 means never. Default 180s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	IptablesRefreshInterval *string `json:"iptablesRefreshInterval,omitempty"`
	// IPv4ElevatedRoutePriority is the metric of IPv4 routes that must win for a time. Default 512.
	IPv4ElevatedRoutePriority *int `json:"ipv4ElevatedRoutePriority,omitempty"`
	// IPv4NormalRoutePriority is the metric of IPv4 routes. Default 1024.
	IPv4NormalRoutePriority *int `json:"ipv4NormalRoutePriority,omitempty"`
	// IPv6ElevatedRoutePriority is the metric of IPv6 routes that must win for a time. Default 512.
	IPv6ElevatedRoutePriority *int `json:"ipv6ElevatedRoutePriority,omitempty"`
	// IPv6NormalRoutePriority is the metric of IPv6 routes. Default 1024.
	IPv6NormalRoutePriority *int `json:"ipv6NormalRoutePriority,omitempty"`
	// IPv6Support programs IPv6. Default true.
	IPv6Support *bool `json:"ipv6Support,omitempty"`
	// IstioAmbientMode supports Istio's ambient mode: Enabled or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	IstioAmbientMode *string `json:"istioAmbientMode,omitempty"`
	// IstioDSCPMark is the DSCP value that marks Istio's own traffic: 0 to 63 or a name such as EF. Default 23.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	IstioDSCPMark *intstr.IntOrString `json:"istioDSCPMark,omitempty"`
	// KubeNodePortRanges are the ports of NodePort Services, for example "30000:32767".
	// +kubebuilder:validation:MaxItems=7
	// +kubebuilder:validation:items:Pattern=`^.*`
	// +kubebuilder:validation:items:XIntOrString
	// +optional
	KubeNodePortRanges []intstr.IntOrString `json:"kubeNodePortRanges,omitzero"`
	// LiveMigrationRouteConvergenceTime is how long routes of both nodes are kept when a virtual machine moves.
	// Default 30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$`
	LiveMigrationRouteConvergenceTime *string `json:"liveMigrationRouteConvergenceTime,omitempty"`
	// LocalSubnetL2Reachability answers ARP and NDP for addresses of the node's own subnet: Disabled or
	// PodsAndLoadBalancers. Default Disabled.
	// +kubebuilder:validation:Enum="Disabled";"PodsAndLoadBalancers"
	LocalSubnetL2Reachability *string `json:"localSubnetL2Reachability,omitempty"`
	// LocalSubnetL2ReachabilityRefreshInterval is the time between announcements of those addresses. Default 2m.
	LocalSubnetL2ReachabilityRefreshInterval *string `json:"localSubnetL2ReachabilityRefreshInterval,omitempty"`
	// LogActionRateLimit limits what rules with action Log write, for example 10/minute.
	// +kubebuilder:validation:Pattern=`^[1-9]\d{0,3}/(?:second|minute|hour|day)$`
	LogActionRateLimit *string `json:"logActionRateLimit,omitempty"`
	// LogActionRateLimitBurst is how many packets are logged before the limit counts. Default 5.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9999
	LogActionRateLimitBurst *int `json:"logActionRateLimitBurst,omitempty"`
	// LogDebugFilenameRegex restricts debug logs to source files whose names match.
	LogDebugFilenameRegex *string `json:"logDebugFilenameRegex,omitempty"`
	// LogFilePath is the log file; "none" means no file. Default /var/log/calico/felix.log.
	LogFilePath *string `json:"logFilePath,omitempty"`
	// LogPrefix starts the lines that rules with action Log write. Default calico-packet.
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9%: /_-])*$`
	LogPrefix *string `json:"logPrefix,omitempty"`
	// LogSeverityFile is the least severity that is logged to the file. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	LogSeverityFile *string `json:"logSeverityFile,omitempty"`
	// LogSeverityScreen is the least severity that is logged to standard output. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	LogSeverityScreen *string `json:"logSeverityScreen,omitempty"`
	// LogSeveritySys is the least severity that is logged to syslog. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	LogSeveritySys *string `json:"logSeveritySys,omitempty"`
	// MaxIpsetSize is the most members of an IP set. Default 1048576.
	MaxIpsetSize *int `json:"maxIpsetSize,omitempty"`
	// MetadataAddr is the address of the metadata server of OpenStack. Default 127.0.0.1.
	MetadataAddr *string `json:"metadataAddr,omitempty"`
	// MetadataPort is the port of the metadata server of OpenStack. Default 8775.
	MetadataPort *int `json:"metadataPort,omitempty"`
	// MTUIfacePattern matches the interfaces whose MTU bounds that of pods, as a regular expression. Absent means the
	// usual names of physical interfaces.
	MTUIfacePattern *string `json:"mtuIfacePattern,omitempty"`
	// NATOutgoingAddress is the source address of outgoing NAT; absent means the address of the interface that
	// packets leave by.
	// +kubebuilder:validation:MaxLength=45
	NATOutgoingAddress *string `json:"natOutgoingAddress,omitempty"`
	// NATOutgoingExclusions says what is not outside for outgoing NAT: IPPoolsOnly or IPPoolsAndHostIPs. Default
	// IPPoolsOnly.
	// +kubebuilder:validation:Enum="IPPoolsOnly";"IPPoolsAndHostIPs"
	NATOutgoingExclusions *string `json:"natOutgoingExclusions,omitempty"`
	// NATPortRange is the range of source ports of outgoing NAT, for example "32768:65535"; absent leaves it to the
	// kernel.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	NATPortRange *intstr.IntOrString `json:"natPortRange,omitempty"`
	// NetlinkTimeout is how long an answer of the kernel is waited for. Default 10s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	NetlinkTimeout *string `json:"netlinkTimeout,omitempty"`
	// NftablesFilterAllowAction is what happens to packets that policy allows, with nftables: Accept or Return.
	// Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	NftablesFilterAllowAction *string `json:"nftablesFilterAllowAction,omitempty"`
	// NftablesFilterDenyAction is what happens to packets that policy denies, with nftables: Drop or Reject. Default
	// Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject)?$`
	NftablesFilterDenyAction *string `json:"nftablesFilterDenyAction,omitempty"`
	// NftablesFlowTableDataIfacePattern matches the interfaces of the flow table, as a regular expression.
	NftablesFlowTableDataIfacePattern *string `json:"nftablesFlowTableDataIfacePattern,omitempty"`
	// NftablesFlowTableOffload puts established flows into a flow table: All or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="All";"Disabled"
	// +kubebuilder:default="Disabled"
	NftablesFlowTableOffload *string `json:"nftablesFlowTableOffload,omitempty"`
	// NftablesMangleAllowAction is what happens to packets that pre-DNAT policy allows, with nftables: Accept or
	// Return. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	NftablesMangleAllowAction *string `json:"nftablesMangleAllowAction,omitempty"`
	// NftablesMarkMask are the bits of the packet mark that we may use with nftables. Default 0xffff0000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	NftablesMarkMask *int64 `json:"nftablesMarkMask,omitempty"`
	// NftablesMode selects nftables rather than iptables: Enabled, Disabled or Auto. Default Auto.
	// +kubebuilder:validation:Enum="Disabled";"Enabled";"Auto"
	// +kubebuilder:default="Auto"
	NftablesMode *string `json:"nftablesMode,omitempty"`
	// NftablesRefreshInterval is the time between full reads of nftables; 0 means never. Default 180s.
	NftablesRefreshInterval *string `json:"nftablesRefreshInterval,omitempty"`
	// NodeSelector selects the nodes that this configuration is for, by their labels.
	// +kubebuilder:validation:MaxLength=1024
	NodeSelector *string `json:"nodeSelector,omitempty"`
	// OpenstackRegion is the region of OpenStack that the node is in.
	OpenstackRegion *string `json:"openstackRegion,omitempty"`
	// PolicySyncPathPrefix is the folder for sockets over which pods may follow their policy.
	PolicySyncPathPrefix *string `json:"policySyncPathPrefix,omitempty"`
	// ProgramClusterRoutes says which routes to pools on other nodes Felix programs, rather than BGP. Default
	// EnabledIPIPOnly.
	// +kubebuilder:validation:Enum="Enabled";"Disabled";"EnabledIPIPOnly";"EnabledNoEncapOnly"
	ProgramClusterRoutes *string `json:"programClusterRoutes,omitempty"`
	// PrometheusGoMetricsEnabled offers metrics of the Go runtime. Default true.
	PrometheusGoMetricsEnabled *bool `json:"prometheusGoMetricsEnabled,omitempty"`
	// PrometheusMetricsCAFile is the file with the CA that clients of the metrics are checked by.
	PrometheusMetricsCAFile *string `json:"prometheusMetricsCAFile,omitempty"`
	// PrometheusMetricsCertFile is the file with the certificate of the metrics server.
	PrometheusMetricsCertFile *string `json:"prometheusMetricsCertFile,omitempty"`
	// PrometheusMetricsClientAuth says which certificates clients of the metrics must show. Default NoClientCert.
	// +kubebuilder:validation:Enum="RequireAndVerifyClientCert";"RequireAnyClientCert";"VerifyClientCertIfGiven";"NoClientCert"
	PrometheusMetricsClientAuth *string `json:"prometheusMetricsClientAuth,omitempty"`
	// PrometheusMetricsEnabled offers metrics over HTTP. Default false.
	PrometheusMetricsEnabled *bool `json:"prometheusMetricsEnabled,omitempty"`
	// PrometheusMetricsHost is the address of the metrics server; absent means all.
	PrometheusMetricsHost *string `json:"prometheusMetricsHost,omitempty"`
	// PrometheusMetricsKeyFile is the file with the key of the metrics server.
	PrometheusMetricsKeyFile *string `json:"prometheusMetricsKeyFile,omitempty"`
	// PrometheusMetricsPort is the port of the metrics server. Default 9091.
	PrometheusMetricsPort *int `json:"prometheusMetricsPort,omitempty"`
	// PrometheusProcessMetricsEnabled offers metrics of the process. Default true.
	PrometheusProcessMetricsEnabled *bool `json:"prometheusProcessMetricsEnabled,omitempty"`
	// PrometheusWireGuardMetricsEnabled offers metrics of WireGuard. Default true.
	PrometheusWireGuardMetricsEnabled *bool `json:"prometheusWireGuardMetricsEnabled,omitempty"`
	// RemoveExternalRoutes removes routes on pods' interfaces that we did not make. Default true.
	RemoveExternalRoutes *bool `json:"removeExternalRoutes,omitempty"`
	// ReportingInterval is the time between status reports; 0 means none. Default 30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	ReportingInterval *string `json:"reportingInterval,omitempty"`
	// ReportingTTL is how long a status report counts. Default 90s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	ReportingTTL *string `json:"reportingTTL,omitempty"`
	// RequireMTUFile makes the MTU file needed that the installer writes. Default false.
	RequireMTUFile *bool `json:"requireMTUFile,omitempty"`
	// RouteRefreshInterval is the time between full reads of routes; 0 means never. Default 90s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	RouteRefreshInterval *string `json:"routeRefreshInterval,omitempty"`
	// RouteSource says where routes to other nodes come from: CalicoIPAM or WorkloadIPs. Default CalicoIPAM.
	// +kubebuilder:validation:Pattern=`^(?i)(WorkloadIPs|CalicoIPAM)?$`
	RouteSource *string `json:"routeSource,omitempty"`
	// RouteSyncDisabled keeps Felix from programming routes at all. Default false.
	RouteSyncDisabled *bool `json:"routeSyncDisabled,omitempty"`
	// RouteTableRange are the route tables that we may use. Deprecated: use routeTableRanges.
	// +kubebuilder:validation:XValidation:rule="self.min >= 1 && self.max >= self.min && self.max <= 250",message="must be from 1 to 250, and min not greater than max"
	RouteTableRange *RouteTableRange `json:"routeTableRange,omitempty"`
	// RouteTableRanges are the route tables that we may use. Absent means 1 to 250.
	// +optional
	RouteTableRanges []RouteTableIDRange `json:"routeTableRanges,omitzero"`
	// ServiceLoopPrevention is what happens to packets to Services' networks that no Service wants: Drop, Reject or
	// Disabled. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject|Disabled)?$`
	ServiceLoopPrevention *string `json:"serviceLoopPrevention,omitempty"`
	// SidecarAccelerationEnabled lets pods' traffic with their own sidecar skip the network stack. Default false.
	SidecarAccelerationEnabled *bool `json:"sidecarAccelerationEnabled,omitempty"`
	// UsageReportingEnabled reports the version and the cluster's size. Default true in Calico; Maneki reports
	// nothing.
	UsageReportingEnabled *bool `json:"usageReportingEnabled,omitempty"`
	// UsageReportingInitialDelay is the time before the first usage report. Default 300s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	UsageReportingInitialDelay *string `json:"usageReportingInitialDelay,omitempty"`
	// UsageReportingInterval is the time between usage reports. Default 86400s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	UsageReportingInterval *string `json:"usageReportingInterval,omitempty"`
	// UseInternalDataplaneDriver uses the built-in dataplane. Default true.
	UseInternalDataplaneDriver *bool `json:"useInternalDataplaneDriver,omitempty"`
	// VXLANEnabled makes the VXLAN device; absent means when a pool needs it.
	VXLANEnabled *bool `json:"vxlanEnabled,omitempty"`
	// VXLANMTU is the MTU of the IPv4 VXLAN device; 0 or absent means found out.
	VXLANMTU *int `json:"vxlanMTU,omitempty"`
	// VXLANMTUV6 is the MTU of the IPv6 VXLAN device; 0 or absent means found out.
	VXLANMTUV6 *int `json:"vxlanMTUV6,omitempty"`
	// VXLANPort is the UDP port of VXLAN. Default 4789.
	VXLANPort *int `json:"vxlanPort,omitempty"`
	// VXLANVNI is the network identifier of VXLAN. Default 4096.
	VXLANVNI *int `json:"vxlanVNI,omitempty"`
	// WindowsManageFirewallRules opens Windows' firewall for us: Enabled or Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	WindowsManageFirewallRules *string `json:"windowsManageFirewallRules,omitempty"`
	// WireguardEnabled encrypts IPv4 traffic between nodes. Default false.
	WireguardEnabled *bool `json:"wireguardEnabled,omitempty"`
	// WireguardEnabledV6 encrypts IPv6 traffic between nodes. Default false.
	WireguardEnabledV6 *bool `json:"wireguardEnabledV6,omitempty"`
	// WireguardHostEncryptionEnabled encrypts traffic of the nodes themselves too. Default false.
	WireguardHostEncryptionEnabled *bool `json:"wireguardHostEncryptionEnabled,omitempty"`
	// WireguardInterfaceName is the name of the IPv4 WireGuard device. Default wireguard.cali.
	WireguardInterfaceName *string `json:"wireguardInterfaceName,omitempty"`
	// WireguardInterfaceNameV6 is the name of the IPv6 WireGuard device. Default wg-v6.cali.
	WireguardInterfaceNameV6 *string `json:"wireguardInterfaceNameV6,omitempty"`
	// WireguardKeepAlive is the time between keepalive packets; 0 means none. Default 0.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	WireguardKeepAlive *string `json:"wireguardKeepAlive,omitempty"`
	// WireguardListeningPort is the port of IPv4 WireGuard. Default 51820.
	WireguardListeningPort *int `json:"wireguardListeningPort,omitempty"`
	// WireguardListeningPortV6 is the port of IPv6 WireGuard. Default 51821.
	WireguardListeningPortV6 *int `json:"wireguardListeningPortV6,omitempty"`
	// WireguardMTU is the MTU of the IPv4 WireGuard device; 0 or absent means found out.
	WireguardMTU *int `json:"wireguardMTU,omitempty"`
	// WireguardMTUV6 is the MTU of the IPv6 WireGuard device; 0 or absent means found out.
	WireguardMTUV6 *int `json:"wireguardMTUV6,omitempty"`
	// WireguardRoutingRulePriority is the priority of WireGuard's routing rule. Default 99.
	WireguardRoutingRulePriority *int `json:"wireguardRoutingRulePriority,omitempty"`
	// WireguardThreadingEnabled lets the kernel use threads for WireGuard. Default false.
	WireguardThreadingEnabled *bool `json:"wireguardThreadingEnabled,omitempty"`
	// WorkloadSourceSpoofing lets pods send from addresses that their annotations ask for: Disabled or Any. Default
	// Disabled.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|Any)?$`
	WorkloadSourceSpoofing *string `json:"workloadSourceSpoofing,omitempty"`
	// XDPEnabled uses XDP for deny rules of host endpoints. Default true.
	XDPEnabled *bool `json:"xdpEnabled,omitempty"`
	// XDPRefreshInterval is the time between full reads of XDP state; 0 means never. Default 90s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	XDPRefreshInterval *string `json:"xdpRefreshInterval,omitempty"`
}
