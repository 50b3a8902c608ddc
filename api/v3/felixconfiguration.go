package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// FelixConfiguration is a FelixConfiguration resource of projectcalico.org/v3.
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

// FelixConfigurationSpec is what the user wants of a FelixConfiguration.
// +kubebuilder:validation:XValidation:rule="!has(self.routeTableRange) || !has(self.routeTableRanges)",message="must hold: !has(self.routeTableRange) || !has(self.routeTableRanges)"
// +kubebuilder:validation:XValidation:rule="!has(self.natOutgoingAddress) || size(self.natOutgoingAddress) == 0 || (isIP(self.natOutgoingAddress) && ip(self.natOutgoingAddress).family() == 4)",message="must hold: !has(self.natOutgoingAddress) || size(self.natOutgoingAddress) == 0 || (isIP(self.natOutgoingAddress) && ip(self.natOutgoingAddress).family() == 4)"
// +kubebuilder:validation:XValidation:rule="!has(self.deviceRouteSourceAddress) || size(self.deviceRouteSourceAddress) == 0 || (isIP(self.deviceRouteSourceAddress) && ip(self.deviceRouteSourceAddress).family() == 4)",message="must hold: !has(self.deviceRouteSourceAddress) || size(self.deviceRouteSourceAddress) == 0 || (isIP(self.deviceRouteSourceAddress) && ip(self.deviceRouteSourceAddress).family() == 4)"
// +kubebuilder:validation:XValidation:rule="!has(self.deviceRouteSourceAddressIPv6) || size(self.deviceRouteSourceAddressIPv6) == 0 || (isIP(self.deviceRouteSourceAddressIPv6) && ip(self.deviceRouteSourceAddressIPv6).family() == 6)",message="must hold: !has(self.deviceRouteSourceAddressIPv6) || size(self.deviceRouteSourceAddressIPv6) == 0 || (isIP(self.deviceRouteSourceAddressIPv6) && ip(self.deviceRouteSourceAddressIPv6).family() == 6)"
type FelixConfigurationSpec struct {
	// AllowIPIPPacketsFromWorkloads: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	AllowIPIPPacketsFromWorkloads *bool `json:"allowIPIPPacketsFromWorkloads,omitempty"`
	// AllowVXLANPacketsFromWorkloads: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	AllowVXLANPacketsFromWorkloads *bool `json:"allowVXLANPacketsFromWorkloads,omitempty"`
	// AWSSrcDstCheck: One of: Disable, DoNothing, Enable. Default DoNothing.
	// +kubebuilder:validation:Enum="DoNothing";"Enable";"Disable"
	// +optional
	AWSSrcDstCheck *string `json:"awsSrcDstCheck,omitempty"`
	// BPFAttachType: One of: Netkit, TCX, TC. Default Netkit.
	// +kubebuilder:validation:Enum="TC";"TCX";"Netkit"
	// +optional
	BPFAttachType *string `json:"bpfAttachType,omitempty"`
	// BPFCTLBLogFilter: One of: all.
	// +optional
	BPFCTLBLogFilter *string `json:"bpfCTLBLogFilter,omitempty"`
	// BPFConnectTimeLoadBalancing: One of: Disabled, Enabled, TCP. Default TCP.
	// +kubebuilder:validation:Enum="TCP";"Enabled";"Disabled"
	// +optional
	BPFConnectTimeLoadBalancing *string `json:"bpfConnectTimeLoadBalancing,omitempty"`
	// BPFConnectTimeLoadBalancingEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False.
	// +optional
	BPFConnectTimeLoadBalancingEnabled *bool `json:"bpfConnectTimeLoadBalancingEnabled,omitempty"`
	// BPFConntrackLogLevel: One of: debug, off. Default off.
	// +kubebuilder:validation:Enum="Off";"Debug"
	// +optional
	BPFConntrackLogLevel *string `json:"bpfConntrackLogLevel,omitempty"`
	// BPFConntrackMode: One of: Auto, BPFProgram, Userspace. Default Auto.
	// +kubebuilder:validation:Enum="Auto";"Userspace";"BPFProgram"
	// +optional
	BPFConntrackMode *string `json:"bpfConntrackMode,omitempty"`
	// BPFConntrackTimeouts: Comma-delimited list of key=value pairs. Default CreationGracePeriod=10s,TCPSynSent=20s,TCPEstablished=1h,TCPFinsSeen=Auto,TCPResetSeen=40s,UDPTimeout=60s,GenericTimeout=10m,ICMPTimeout=5s.
	// +optional
	BPFConntrackTimeouts *BPFConntrackTimeouts `json:"bpfConntrackTimeouts,omitempty"`
	// BPFDSROptoutCIDRs: Comma-delimited list of CIDRs.
	// +optional
	BPFDSROptoutCIDRs []string `json:"bpfDSROptoutCIDRs,omitempty"`
	// BPFDataIfacePattern: Regular expression. Default ^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*).
	// +optional
	BPFDataIfacePattern *string `json:"bpfDataIfacePattern,omitempty"`
	// BPFDisableGROForIfaces: Regular expression.
	// +optional
	BPFDisableGROForIfaces *string `json:"bpfDisableGROForIfaces,omitempty"`
	// BPFDisableUnprivileged: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	BPFDisableUnprivileged *bool `json:"bpfDisableUnprivileged,omitempty"`
	// BPFEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	BPFEnabled *bool `json:"bpfEnabled,omitempty"`
	// BPFEnforceRPF: One of: Disabled, Loose, Strict. Default Loose.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|Strict|Loose)?$`
	// +optional
	BPFEnforceRPF *string `json:"bpfEnforceRPF,omitempty"`
	// BPFExcludeCIDRsFromNAT: Comma-delimited list of CIDRs.
	// +optional
	BPFExcludeCIDRsFromNAT []string `json:"bpfExcludeCIDRsFromNAT,omitempty"`
	// BPFExportBufferSizeMB: Integer. Default 1.
	// +optional
	BPFExportBufferSizeMB *int `json:"bpfExportBufferSizeMB,omitempty"`
	// BPFExtToServiceConnmark: Integer. Default 0.
	// +optional
	BPFExtToServiceConnmark *int `json:"bpfExtToServiceConnmark,omitempty"`
	// BPFExternalServiceMode: One of: dsr, tunnel. Default Tunnel.
	// +kubebuilder:validation:Pattern=`^(?i)(Tunnel|DSR)?$`
	// +optional
	BPFExternalServiceMode *string `json:"bpfExternalServiceMode,omitempty"`
	// BPFForceTrackPacketsFromIfaces: Comma-delimited list of strings, each matching the regex ^[a-zA-Z0-9:._+-]{1,15}$. Default ["docker+"].
	// +optional
	BPFForceTrackPacketsFromIfaces []string `json:"bpfForceTrackPacketsFromIfaces,omitempty"`
	// BPFHostConntrackBypass: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	BPFHostConntrackBypass *bool `json:"bpfHostConntrackBypass,omitempty"`
	// BPFHostNetworkedNATWithoutCTLB: One of: Disabled, Enabled. Default Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	BPFHostNetworkedNATWithoutCTLB *string `json:"bpfHostNetworkedNATWithoutCTLB,omitempty"`
	// BPFIPFragTimeout: Seconds (floating point). Default 0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	BPFIPFragTimeout *string `json:"bpfIPFragTimeout,omitempty"`
	// BPFIPFragmentReassemblyEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	BPFIPFragmentReassemblyEnabled *bool `json:"bpfIPFragmentReassemblyEnabled,omitempty"`
	// BPFJITHardening: One of: Auto, Strict. Default Auto.
	// +kubebuilder:validation:Enum="Auto";"Strict"
	// +optional
	BPFJITHardening *string `json:"bpfJITHardening,omitempty"`
	// BPFKubeProxyHealthzPort: Integer. Default 10256.
	// +optional
	BPFKubeProxyHealthzPort *int `json:"bpfKubeProxyHealthzPort,omitempty"`
	// BPFKubeProxyIptablesCleanupEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	BPFKubeProxyIptablesCleanupEnabled *bool `json:"bpfKubeProxyIptablesCleanupEnabled,omitempty"`
	// BPFKubeProxyMinSyncPeriod: Seconds (floating point). Default 1s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	BPFKubeProxyMinSyncPeriod *string `json:"bpfKubeProxyMinSyncPeriod,omitempty"`
	// BPFL3IfacePattern: Regular expression.
	// +optional
	BPFL3IfacePattern *string `json:"bpfL3IfacePattern,omitempty"`
	// BPFLogFilters: Comma-delimited list of key=value pairs.
	// +optional
	BPFLogFilters map[string]string `json:"bpfLogFilters,omitempty"`
	// BPFLogLevel: One of: debug, info, off. Default Off.
	// +kubebuilder:validation:Pattern=`^(?i)(Off|Info|Debug)?$`
	// +optional
	BPFLogLevel *string `json:"bpfLogLevel,omitempty"`
	// BPFMaglevMaxEndpointsPerService: Integer: [1,3000]. Default 100.
	// +optional
	BPFMaglevMaxEndpointsPerService *int `json:"bpfMaglevMaxEndpointsPerService,omitempty"`
	// BPFMaglevMaxServices: Integer: [1,3000]. Default 100.
	// +optional
	BPFMaglevMaxServices *int `json:"bpfMaglevMaxServices,omitempty"`
	// BPFMapSizeConntrack: Integer. Default 512000.
	// +optional
	BPFMapSizeConntrack *int `json:"bpfMapSizeConntrack,omitempty"`
	// BPFMapSizeConntrackCleanupQueue: Integer. Default 100000.
	// +kubebuilder:validation:Minimum=1
	// +optional
	BPFMapSizeConntrackCleanupQueue *int `json:"bpfMapSizeConntrackCleanupQueue,omitempty"`
	// BPFMapSizeConntrackScaling: One of: Disabled, DoubleIfFull. Default DoubleIfFull.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|DoubleIfFull)?$`
	// +optional
	BPFMapSizeConntrackScaling *string `json:"bpfMapSizeConntrackScaling,omitempty"`
	// BPFMapSizeIPSets: Integer. Default 1048576.
	// +optional
	BPFMapSizeIPSets *int `json:"bpfMapSizeIPSets,omitempty"`
	// BPFMapSizeIfState: Integer. Default 1000.
	// +optional
	BPFMapSizeIfState *int `json:"bpfMapSizeIfState,omitempty"`
	// BPFMapSizeNATAffinity: Integer. Default 65536.
	// +optional
	BPFMapSizeNATAffinity *int `json:"bpfMapSizeNATAffinity,omitempty"`
	// BPFMapSizeNATBackend: Integer. Default 262144.
	// +optional
	BPFMapSizeNATBackend *int `json:"bpfMapSizeNATBackend,omitempty"`
	// BPFMapSizeNATFrontend: Integer. Default 65536.
	// +optional
	BPFMapSizeNATFrontend *int `json:"bpfMapSizeNATFrontend,omitempty"`
	// BPFMapSizePerCpuConntrack: Integer. Default 0.
	// +optional
	BPFMapSizePerCpuConntrack *int `json:"bpfMapSizePerCpuConntrack,omitempty"`
	// BPFMapSizeRoute: Integer. Default 262144.
	// +optional
	BPFMapSizeRoute *int `json:"bpfMapSizeRoute,omitempty"`
	// BPFOverlayHostSourceIP: One of: HostAddress, TunnelAddress. Default TunnelAddress.
	// +kubebuilder:validation:Enum="TunnelAddress";"HostAddress"
	// +optional
	BPFOverlayHostSourceIP *string `json:"bpfOverlayHostSourceIP,omitempty"`
	// BPFPSNATPorts: Port range: either a single number in [0,65535] or a range of numbers n:m. Default 20000:29999.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	// +optional
	BPFPSNATPorts *intstr.IntOrString `json:"bpfPSNATPorts,omitempty"`
	// BPFPolicyDebugEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	BPFPolicyDebugEnabled *bool `json:"bpfPolicyDebugEnabled,omitempty"`
	// BPFProfiling: One of: Disabled, Enabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	BPFProfiling *string `json:"bpfProfiling,omitempty"`
	// BPFRedirectToPeer: One of: Disabled, Enabled, L2Only. Default Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	BPFRedirectToPeer *string `json:"bpfRedirectToPeer,omitempty"`
	// CgroupV2Path: String.
	// +optional
	CgroupV2Path *string `json:"cgroupV2Path,omitempty"`
	// ChainInsertMode: One of: append, insert. Default Insert.
	// +kubebuilder:validation:Pattern=`^(?i)(Insert|Append)?$`
	// +optional
	ChainInsertMode *string `json:"chainInsertMode,omitempty"`
	// DataplaneDriver: Path to executable, which must exist. If not an absolute path, the directory containing this binary and the system path will be searched. Default calico-iptables-plugin.
	// +optional
	DataplaneDriver *string `json:"dataplaneDriver,omitempty"`
	// DataplaneWatchdogTimeout: Seconds (floating point). Default 1m30s.
	// +optional
	DataplaneWatchdogTimeout *string `json:"dataplaneWatchdogTimeout,omitempty"`
	// DebugDisableLogDropping: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	DebugDisableLogDropping *bool `json:"debugDisableLogDropping,omitempty"`
	// DebugHost: String matching regex ^[a-zA-Z0-9:._+-]{1,64}$. Default localhost.
	// +optional
	DebugHost *string `json:"debugHost,omitempty"`
	// DebugMemoryProfilePath: Path to file.
	// +optional
	DebugMemoryProfilePath *string `json:"debugMemoryProfilePath,omitempty"`
	// DebugPort: Integer: [0,65535].
	// +optional
	DebugPort *int `json:"debugPort,omitempty"`
	// DebugSimulateCalcGraphHangAfter: Seconds (floating point). Default 0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	DebugSimulateCalcGraphHangAfter *string `json:"debugSimulateCalcGraphHangAfter,omitempty"`
	// DebugSimulateDataplaneApplyDelay: Seconds (floating point). Default 0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	DebugSimulateDataplaneApplyDelay *string `json:"debugSimulateDataplaneApplyDelay,omitempty"`
	// DebugSimulateDataplaneHangAfter: Seconds (floating point). Default 0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	DebugSimulateDataplaneHangAfter *string `json:"debugSimulateDataplaneHangAfter,omitempty"`
	// DefaultEndpointToHostAction: One of: ACCEPT, DROP, RETURN. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Accept|Return)?$`
	// +optional
	DefaultEndpointToHostAction *string `json:"defaultEndpointToHostAction,omitempty"`
	// DeviceRouteProtocol: Integer. Default 3.
	// +optional
	DeviceRouteProtocol *int `json:"deviceRouteProtocol,omitempty"`
	// DeviceRouteSourceAddress: IPv4 address.
	// +kubebuilder:validation:MaxLength=45
	// +optional
	DeviceRouteSourceAddress *string `json:"deviceRouteSourceAddress,omitempty"`
	// DeviceRouteSourceAddressIPv6: IPv6 address.
	// +kubebuilder:validation:MaxLength=45
	// +optional
	DeviceRouteSourceAddressIPv6 *string `json:"deviceRouteSourceAddressIPv6,omitempty"`
	// DisableConntrackInvalidCheck: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	DisableConntrackInvalidCheck *bool `json:"disableConntrackInvalidCheck,omitempty"`
	// EndpointReportingDelay: Seconds (floating point). Default 1s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	EndpointReportingDelay *string `json:"endpointReportingDelay,omitempty"`
	// EndpointReportingEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	EndpointReportingEnabled *bool `json:"endpointReportingEnabled,omitempty"`
	// EndpointStatusPathPrefix: Path to file. Default /var/run/calico.
	// +optional
	EndpointStatusPathPrefix *string `json:"endpointStatusPathPrefix,omitempty"`
	// ExternalNodesList: Comma-delimited list of CIDRs.
	// +optional
	ExternalNodesList []string `json:"externalNodesList,omitempty"`
	// FailsafeInboundHostPorts: Comma-delimited list of numeric ports with optional protocol and CIDR:(tcp|udp):<cidr>:<port>, (tcp|udp):<port> or <port>. IPv6 CIDRs must be enclosed in square brackets. Default [{"protocol":"tcp","port":22},{"protocol":"udp","port":68},{"protocol":"tcp","port":179},{"protocol":"tcp","port":2379},{"protocol":"tcp","port":2380},{"protocol":"tcp","port":5473},{"protocol":"tcp","port":6443},{"protocol":"tcp","port":6666},{"protocol":"tcp","port":6667}].
	// +optional
	FailsafeInboundHostPorts []ProtoPort `json:"failsafeInboundHostPorts,omitempty"`
	// FailsafeOutboundHostPorts: Comma-delimited list of numeric ports with optional protocol and CIDR:(tcp|udp):<cidr>:<port>, (tcp|udp):<port> or <port>. IPv6 CIDRs must be enclosed in square brackets. Default [{"protocol":"udp","port":53},{"protocol":"udp","port":67},{"protocol":"tcp","port":179},{"protocol":"tcp","port":2379},{"protocol":"tcp","port":2380},{"protocol":"tcp","port":5473},{"protocol":"tcp","port":6443},{"protocol":"tcp","port":6666},{"protocol":"tcp","port":6667}].
	// +optional
	FailsafeOutboundHostPorts []ProtoPort `json:"failsafeOutboundHostPorts,omitempty"`
	// FeatureDetectOverride: Comma-delimited list of key=value pairs.
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9-_]+=(true|false|),)*([a-zA-Z0-9-_]+=(true|false|))?$`
	// +optional
	FeatureDetectOverride *string `json:"featureDetectOverride,omitempty"`
	// FeatureGates: Comma-delimited list of key=value pairs.
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9-_]+=([^=]+),)*([a-zA-Z0-9-_]+=([^=]+))?$`
	// +optional
	FeatureGates *string `json:"featureGates,omitempty"`
	// FloatingIPs: One of: Disabled, Enabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	FloatingIPs *string `json:"floatingIPs,omitempty"`
	// FlowLogsCollectorDebugTrace: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	FlowLogsCollectorDebugTrace *bool `json:"flowLogsCollectorDebugTrace,omitempty"`
	// FlowLogsFlushInterval: Seconds (floating point). Default 5m0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	FlowLogsFlushInterval *string `json:"flowLogsFlushInterval,omitempty"`
	// FlowLogsGoldmaneServer: String.
	// +optional
	FlowLogsGoldmaneServer *string `json:"flowLogsGoldmaneServer,omitempty"`
	// FlowLogsLocalReporter: One of: Disabled, Enabled. Default Disabled.
	// +kubebuilder:validation:Enum="Disabled";"Enabled"
	// +optional
	FlowLogsLocalReporter *string `json:"flowLogsLocalReporter,omitempty"`
	// FlowLogsPolicyEvaluationMode: One of: Continuous, None. Default Continuous.
	// +kubebuilder:validation:Enum="None";"Continuous"
	// +optional
	FlowLogsPolicyEvaluationMode *string `json:"flowLogsPolicyEvaluationMode,omitempty"`
	// GenericXDPEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	GenericXDPEnabled *bool `json:"genericXDPEnabled,omitempty"`
	// GoGCThreshold: Integer: [-1,2^63-1]. Default 40.
	// +optional
	GoGCThreshold *int `json:"goGCThreshold,omitempty"`
	// GoMaxProcs: Integer: [-1,2^63-1]. Default -1.
	// +optional
	GoMaxProcs *int `json:"goMaxProcs,omitempty"`
	// GoMemoryLimitMB: Integer: [-1,2^63-1]. Default -1.
	// +optional
	GoMemoryLimitMB *int `json:"goMemoryLimitMB,omitempty"`
	// HealthEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	HealthEnabled *bool `json:"healthEnabled,omitempty"`
	// HealthHost: String matching regex ^[a-zA-Z0-9:._+-]{1,64}$. Default localhost.
	// +optional
	HealthHost *string `json:"healthHost,omitempty"`
	// HealthPort: Integer: [0,65535]. Default 9099.
	// +optional
	HealthPort *int `json:"healthPort,omitempty"`
	// HealthTimeoutOverrides: Comma-delimited list of <key>=<duration> pairs, where durations use Go's standard format (e.g. 1s, 1m, 1h3m2s).
	// +listType=atomic
	// +optional
	HealthTimeoutOverrides []HealthTimeoutOverride `json:"healthTimeoutOverrides,omitempty"`
	// InterfaceExclude: Comma-delimited list of Linux interface names/regex patterns. Regex patterns must start/end with /. Default kube-ipvs0.
	// +optional
	InterfaceExclude *string `json:"interfaceExclude,omitempty"`
	// InterfacePrefix: String matching regex ^[a-zA-Z0-9_-]{1,15}(,[a-zA-Z0-9_-]{1,15})*$. Default cali.
	// +optional
	InterfacePrefix *string `json:"interfacePrefix,omitempty"`
	// InterfaceRefreshInterval: Seconds (floating point). Default 1m30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	InterfaceRefreshInterval *string `json:"interfaceRefreshInterval,omitempty"`
	// IPForwarding: One of: Disabled, Enabled. Default Enabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	IPForwarding *string `json:"ipForwarding,omitempty"`
	// IPIPEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False.
	// +optional
	IPIPEnabled *bool `json:"ipipEnabled,omitempty"`
	// IPIPMTU: Integer. Default 0.
	// +optional
	IPIPMTU *int `json:"ipipMTU,omitempty"`
	// IpsetsRefreshInterval: Seconds (floating point). Default 1m30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	IpsetsRefreshInterval *string `json:"ipsetsRefreshInterval,omitempty"`
	// IptablesBackend: One of: auto, legacy, nft. Default auto.
	// +kubebuilder:validation:Enum="Legacy";"NFT";"Auto"
	// +kubebuilder:validation:Pattern=`^(?i)(Auto|Legacy|NFT)?$`
	// +optional
	IptablesBackend *string `json:"iptablesBackend,omitempty"`
	// IptablesFilterAllowAction: One of: ACCEPT, RETURN. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	// +optional
	IptablesFilterAllowAction *string `json:"iptablesFilterAllowAction,omitempty"`
	// IptablesFilterDenyAction: One of: DROP, REJECT. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject)?$`
	// +optional
	IptablesFilterDenyAction *string `json:"iptablesFilterDenyAction,omitempty"`
	// IptablesLockProbeInterval: Milliseconds (floating point). Default 50ms.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	IptablesLockProbeInterval *string `json:"iptablesLockProbeInterval,omitempty"`
	// IptablesMangleAllowAction: One of: ACCEPT, RETURN. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	// +optional
	IptablesMangleAllowAction *string `json:"iptablesMangleAllowAction,omitempty"`
	// IptablesMarkMask: 32-bit bitmask (hex or deccimal allowed) with at least 2 bits set, example: 0xffff0000. Default 0xffff0000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	IptablesMarkMask *int64 `json:"iptablesMarkMask,omitempty"`
	// IptablesNATOutgoingInterfaceFilter: String matching regex ^[a-zA-Z0-9:._+-]{1,15}$.
	// +optional
	IptablesNATOutgoingInterfaceFilter *string `json:"iptablesNATOutgoingInterfaceFilter,omitempty"`
	// IptablesPostWriteCheckInterval: Seconds (floating point). Default 5s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	IptablesPostWriteCheckInterval *string `json:"iptablesPostWriteCheckInterval,omitempty"`
	// IptablesRefreshInterval: Seconds (floating point). Default 3m0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	IptablesRefreshInterval *string `json:"iptablesRefreshInterval,omitempty"`
	// IPv4ElevatedRoutePriority: Integer: [1,2147483646]. Default 512.
	// +optional
	IPv4ElevatedRoutePriority *int `json:"ipv4ElevatedRoutePriority,omitempty"`
	// IPv4NormalRoutePriority: Integer: [1,2147483646]. Default 1024.
	// +optional
	IPv4NormalRoutePriority *int `json:"ipv4NormalRoutePriority,omitempty"`
	// IPv6ElevatedRoutePriority: Integer: [1,2147483646]. Default 512.
	// +optional
	IPv6ElevatedRoutePriority *int `json:"ipv6ElevatedRoutePriority,omitempty"`
	// IPv6NormalRoutePriority: Integer: [1,2147483646]. Default 1024.
	// +optional
	IPv6NormalRoutePriority *int `json:"ipv6NormalRoutePriority,omitempty"`
	// IPv6Support: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	IPv6Support *bool `json:"ipv6Support,omitempty"`
	// IstioAmbientMode: One of: Disabled, Enabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	IstioAmbientMode *string `json:"istioAmbientMode,omitempty"`
	// IstioDSCPMark: Numeric value: An integer from 0 to 63, representing the 6-bit DSCP code directly; Named value: A case-insensitive string corresponding to a standardized DSCP name (e.g., "CS0", "AF11", "AF21", "EF", etc.) as defined in the IANA registry for Differentiated Services Field Codepoints. Default 23.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	// +optional
	IstioDSCPMark *intstr.IntOrString `json:"istioDSCPMark,omitempty"`
	// KubeNodePortRanges: List of port ranges: comma-delimited list of either single numbers in range [0,65535] or a ranges of numbers n:m. Default ["30000:32767"].
	// +kubebuilder:validation:MaxItems=7
	// +kubebuilder:validation:items:Pattern=`^.*`
	// +kubebuilder:validation:items:XIntOrString
	// +optional
	KubeNodePortRanges []intstr.IntOrString `json:"kubeNodePortRanges,omitempty"`
	// LiveMigrationRouteConvergenceTime: Seconds (floating point). Default 30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	LiveMigrationRouteConvergenceTime *string `json:"liveMigrationRouteConvergenceTime,omitempty"`
	// LocalSubnetL2Reachability: One of: Disabled, PodsAndLoadBalancers. Default Disabled.
	// +kubebuilder:validation:Enum="Disabled";"PodsAndLoadBalancers"
	// +optional
	LocalSubnetL2Reachability *string `json:"localSubnetL2Reachability,omitempty"`
	// LocalSubnetL2ReachabilityRefreshInterval: Seconds (floating point). Default 2m0s.
	// +optional
	LocalSubnetL2ReachabilityRefreshInterval *string `json:"localSubnetL2ReachabilityRefreshInterval,omitempty"`
	// LogActionRateLimit: String matching regex ^([1-9]\d{0,3}/(?:second|minute|hour|day))?$.
	// +kubebuilder:validation:Pattern=`^[1-9]\d{0,3}/(?:second|minute|hour|day)$`
	// +optional
	LogActionRateLimit *string `json:"logActionRateLimit,omitempty"`
	// LogActionRateLimitBurst: Integer: [0,2^63-1], [9999,2^63-1]. Default 5.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9999
	// +optional
	LogActionRateLimitBurst *int `json:"logActionRateLimitBurst,omitempty"`
	// LogDebugFilenameRegex: Regular expression.
	// +optional
	LogDebugFilenameRegex *string `json:"logDebugFilenameRegex,omitempty"`
	// LogFilePath: Path to file. Default /var/log/calico/felix.log.
	// +optional
	LogFilePath *string `json:"logFilePath,omitempty"`
	// LogPrefix: String. Default calico-packet.
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9%: /_-])*$`
	// +optional
	LogPrefix *string `json:"logPrefix,omitempty"`
	// LogSeverityFile: One of: DEBUG, ERROR, FATAL, INFO, TRACE, WARNING. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	// +optional
	LogSeverityFile *string `json:"logSeverityFile,omitempty"`
	// LogSeverityScreen: One of: DEBUG, ERROR, FATAL, INFO, TRACE, WARNING. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	// +optional
	LogSeverityScreen *string `json:"logSeverityScreen,omitempty"`
	// LogSeveritySys: One of: DEBUG, ERROR, FATAL, INFO, TRACE, WARNING. Default Info.
	// +kubebuilder:validation:Pattern=`^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$`
	// +optional
	LogSeveritySys *string `json:"logSeveritySys,omitempty"`
	// MaxIpsetSize: Integer. Default 1048576.
	// +optional
	MaxIpsetSize *int `json:"maxIpsetSize,omitempty"`
	// MetadataAddr: String matching regex ^[a-zA-Z0-9_.-]+$. Default 127.0.0.1.
	// +optional
	MetadataAddr *string `json:"metadataAddr,omitempty"`
	// MetadataPort: Integer: [0,65535]. Default 8775.
	// +optional
	MetadataPort *int `json:"metadataPort,omitempty"`
	// MTUIfacePattern: Regular expression. Default ^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*).
	// +optional
	MTUIfacePattern *string `json:"mtuIfacePattern,omitempty"`
	// NATOutgoingAddress: IPv4 address.
	// +kubebuilder:validation:MaxLength=45
	// +optional
	NATOutgoingAddress *string `json:"natOutgoingAddress,omitempty"`
	// NATOutgoingExclusions: One of: IPPoolsAndHostIPs, IPPoolsOnly. Default IPPoolsOnly.
	// +kubebuilder:validation:Enum="IPPoolsOnly";"IPPoolsAndHostIPs"
	// +optional
	NATOutgoingExclusions *string `json:"natOutgoingExclusions,omitempty"`
	// NATPortRange: Port range: either a single number in [0,65535] or a range of numbers n:m. Default 0.
	// +kubebuilder:validation:Pattern=`^.*`
	// +kubebuilder:validation:XIntOrString
	// +optional
	NATPortRange *intstr.IntOrString `json:"natPortRange,omitempty"`
	// NetlinkTimeout: Seconds (floating point). Default 10s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	NetlinkTimeout *string `json:"netlinkTimeout,omitempty"`
	// NftablesFilterAllowAction: One of: ACCEPT, RETURN. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	// +optional
	NftablesFilterAllowAction *string `json:"nftablesFilterAllowAction,omitempty"`
	// NftablesFilterDenyAction: One of: DROP, REJECT. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject)?$`
	// +optional
	NftablesFilterDenyAction *string `json:"nftablesFilterDenyAction,omitempty"`
	// NftablesFlowTableDataIfacePattern: Regular expression.
	// +optional
	NftablesFlowTableDataIfacePattern *string `json:"nftablesFlowTableDataIfacePattern,omitempty"`
	// NftablesFlowTableOffload: One of: All, Disabled. Default Disabled.
	// +kubebuilder:validation:Enum="All";"Disabled"
	// +kubebuilder:default="Disabled"
	// +optional
	NftablesFlowTableOffload *string `json:"nftablesFlowTableOffload,omitempty"`
	// NftablesMangleAllowAction: One of: ACCEPT, RETURN. Default Accept.
	// +kubebuilder:validation:Pattern=`^(?i)(Accept|Return)?$`
	// +optional
	NftablesMangleAllowAction *string `json:"nftablesMangleAllowAction,omitempty"`
	// NftablesMarkMask: 32-bit bitmask (hex or deccimal allowed) with at least 2 bits set, example: 0xffff0000. Default 0xffff0000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	NftablesMarkMask *int64 `json:"nftablesMarkMask,omitempty"`
	// NftablesMode: One of: Auto, Disabled, Enabled. Default Auto.
	// +kubebuilder:validation:Enum="Disabled";"Enabled";"Auto"
	// +kubebuilder:default="Auto"
	// +optional
	NftablesMode *string `json:"nftablesMode,omitempty"`
	// NftablesRefreshInterval: Seconds (floating point). Default 3m0s.
	// +optional
	NftablesRefreshInterval *string `json:"nftablesRefreshInterval,omitempty"`
	// NodeSelector is the field nodeSelector of the API.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	NodeSelector *string `json:"nodeSelector,omitempty"`
	// OpenstackRegion: OpenStack region name (must be a valid DNS label).
	// +optional
	OpenstackRegion *string `json:"openstackRegion,omitempty"`
	// PolicySyncPathPrefix: Path to file.
	// +optional
	PolicySyncPathPrefix *string `json:"policySyncPathPrefix,omitempty"`
	// ProgramClusterRoutes: One of: Disabled, EnabledIPIPOnly, EnabledNoEncapOnly, Enabled. Default EnabledIPIPOnly.
	// +kubebuilder:validation:Enum="Enabled";"Disabled";"EnabledIPIPOnly";"EnabledNoEncapOnly"
	// +optional
	ProgramClusterRoutes *string `json:"programClusterRoutes,omitempty"`
	// PrometheusGoMetricsEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	PrometheusGoMetricsEnabled *bool `json:"prometheusGoMetricsEnabled,omitempty"`
	// PrometheusMetricsCAFile: String.
	// +optional
	PrometheusMetricsCAFile *string `json:"prometheusMetricsCAFile,omitempty"`
	// PrometheusMetricsCertFile: String.
	// +optional
	PrometheusMetricsCertFile *string `json:"prometheusMetricsCertFile,omitempty"`
	// PrometheusMetricsClientAuth: One of: NoClientCert, RequireAndVerifyClientCert, RequireAnyClientCert, VerifyClientCertIfGiven. Default NoClientCert.
	// +kubebuilder:validation:Enum="RequireAndVerifyClientCert";"RequireAnyClientCert";"VerifyClientCertIfGiven";"NoClientCert"
	// +optional
	PrometheusMetricsClientAuth *string `json:"prometheusMetricsClientAuth,omitempty"`
	// PrometheusMetricsEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	PrometheusMetricsEnabled *bool `json:"prometheusMetricsEnabled,omitempty"`
	// PrometheusMetricsHost: String matching regex ^[a-zA-Z0-9:._+-]{1,64}$.
	// +optional
	PrometheusMetricsHost *string `json:"prometheusMetricsHost,omitempty"`
	// PrometheusMetricsKeyFile: String.
	// +optional
	PrometheusMetricsKeyFile *string `json:"prometheusMetricsKeyFile,omitempty"`
	// PrometheusMetricsPort: Integer: [0,65535]. Default 9091.
	// +optional
	PrometheusMetricsPort *int `json:"prometheusMetricsPort,omitempty"`
	// PrometheusProcessMetricsEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	PrometheusProcessMetricsEnabled *bool `json:"prometheusProcessMetricsEnabled,omitempty"`
	// PrometheusWireGuardMetricsEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	PrometheusWireGuardMetricsEnabled *bool `json:"prometheusWireGuardMetricsEnabled,omitempty"`
	// RemoveExternalRoutes: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	RemoveExternalRoutes *bool `json:"removeExternalRoutes,omitempty"`
	// ReportingInterval: Seconds (floating point). Default 30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	ReportingInterval *string `json:"reportingInterval,omitempty"`
	// ReportingTTL: Seconds (floating point). Default 1m30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	ReportingTTL *string `json:"reportingTTL,omitempty"`
	// RequireMTUFile: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	RequireMTUFile *bool `json:"requireMTUFile,omitempty"`
	// RouteRefreshInterval: Seconds (floating point). Default 1m30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	RouteRefreshInterval *string `json:"routeRefreshInterval,omitempty"`
	// RouteSource: One of: CalicoIPAM, WorkloadIPs. Default CalicoIPAM.
	// +kubebuilder:validation:Pattern=`^(?i)(WorkloadIPs|CalicoIPAM)?$`
	// +optional
	RouteSource *string `json:"routeSource,omitempty"`
	// RouteSyncDisabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	RouteSyncDisabled *bool `json:"routeSyncDisabled,omitempty"`
	// RouteTableRange: Range of route table indices n-m, where n and m are integers in [0,250].
	// +kubebuilder:validation:XValidation:rule="self.min >= 1 && self.max >= self.min && self.max <= 250",message="must hold: self.min >= 1 && self.max >= self.min && self.max <= 250"
	// +optional
	RouteTableRange *RouteTableRange `json:"routeTableRange,omitempty"`
	// RouteTableRanges: Comma or space-delimited list of route table ranges of the form n-m where n and m are integers in [0,4294967295]. The sum of the sizes of all ranges may not exceed 65535.
	// +optional
	RouteTableRanges []RouteTableIDRange `json:"routeTableRanges,omitempty"`
	// ServiceLoopPrevention: One of: Disabled, Drop, Reject. Default Drop.
	// +kubebuilder:validation:Pattern=`^(?i)(Drop|Reject|Disabled)?$`
	// +optional
	ServiceLoopPrevention *string `json:"serviceLoopPrevention,omitempty"`
	// SidecarAccelerationEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	SidecarAccelerationEnabled *bool `json:"sidecarAccelerationEnabled,omitempty"`
	// UsageReportingEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	UsageReportingEnabled *bool `json:"usageReportingEnabled,omitempty"`
	// UsageReportingInitialDelay: Seconds (floating point). Default 5m0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	UsageReportingInitialDelay *string `json:"usageReportingInitialDelay,omitempty"`
	// UsageReportingInterval: Seconds (floating point). Default 24h0m0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	UsageReportingInterval *string `json:"usageReportingInterval,omitempty"`
	// UseInternalDataplaneDriver: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	UseInternalDataplaneDriver *bool `json:"useInternalDataplaneDriver,omitempty"`
	// VXLANEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False.
	// +optional
	VXLANEnabled *bool `json:"vxlanEnabled,omitempty"`
	// VXLANMTU: Integer. Default 0.
	// +optional
	VXLANMTU *int `json:"vxlanMTU,omitempty"`
	// VXLANMTUV6: Integer. Default 0.
	// +optional
	VXLANMTUV6 *int `json:"vxlanMTUV6,omitempty"`
	// VXLANPort: Integer. Default 4789.
	// +optional
	VXLANPort *int `json:"vxlanPort,omitempty"`
	// VXLANVNI: Integer. Default 4096.
	// +optional
	VXLANVNI *int `json:"vxlanVNI,omitempty"`
	// WindowsManageFirewallRules: One of: Disabled, Enabled. Default Disabled.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	WindowsManageFirewallRules *string `json:"windowsManageFirewallRules,omitempty"`
	// WireguardEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	WireguardEnabled *bool `json:"wireguardEnabled,omitempty"`
	// WireguardEnabledV6: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	WireguardEnabledV6 *bool `json:"wireguardEnabledV6,omitempty"`
	// WireguardHostEncryptionEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	WireguardHostEncryptionEnabled *bool `json:"wireguardHostEncryptionEnabled,omitempty"`
	// WireguardInterfaceName: String matching regex ^[a-zA-Z0-9:._+-]{1,15}$. Default wireguard.cali.
	// +optional
	WireguardInterfaceName *string `json:"wireguardInterfaceName,omitempty"`
	// WireguardInterfaceNameV6: String matching regex ^[a-zA-Z0-9:._+-]{1,15}$. Default wg-v6.cali.
	// +optional
	WireguardInterfaceNameV6 *string `json:"wireguardInterfaceNameV6,omitempty"`
	// WireguardKeepAlive: Seconds (floating point). Default 0s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	WireguardKeepAlive *string `json:"wireguardKeepAlive,omitempty"`
	// WireguardListeningPort: Integer. Default 51820.
	// +optional
	WireguardListeningPort *int `json:"wireguardListeningPort,omitempty"`
	// WireguardListeningPortV6: Integer. Default 51821.
	// +optional
	WireguardListeningPortV6 *int `json:"wireguardListeningPortV6,omitempty"`
	// WireguardMTU: Integer. Default 0.
	// +optional
	WireguardMTU *int `json:"wireguardMTU,omitempty"`
	// WireguardMTUV6: Integer. Default 0.
	// +optional
	WireguardMTUV6 *int `json:"wireguardMTUV6,omitempty"`
	// WireguardRoutingRulePriority: Integer. Default 99.
	// +optional
	WireguardRoutingRulePriority *int `json:"wireguardRoutingRulePriority,omitempty"`
	// WireguardThreadingEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default false.
	// +optional
	WireguardThreadingEnabled *bool `json:"wireguardThreadingEnabled,omitempty"`
	// WorkloadSourceSpoofing: One of: Any, Disabled. Default Disabled.
	// +kubebuilder:validation:Pattern=`^(?i)(Disabled|Any)?$`
	// +optional
	WorkloadSourceSpoofing *string `json:"workloadSourceSpoofing,omitempty"`
	// XDPEnabled: Boolean: true, 1, yes, y, t accepted as True; false, 0, no, n, f accepted (case insensitively) as False. Default true.
	// +optional
	XDPEnabled *bool `json:"xdpEnabled,omitempty"`
	// XDPRefreshInterval: Seconds (floating point). Default 1m30s.
	// +kubebuilder:validation:Pattern=`^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$`
	// +optional
	XDPRefreshInterval *string `json:"xdpRefreshInterval,omitempty"`
}

// BPFConntrackTimeouts is an element of spec.bpfConntrackTimeouts of a FelixConfiguration.
type BPFConntrackTimeouts struct {
	// CreationGracePeriod is the field creationGracePeriod of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	CreationGracePeriod *string `json:"creationGracePeriod,omitempty"`
	// GenericTimeout is the field genericTimeout of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	GenericTimeout *string `json:"genericTimeout,omitempty"`
	// ICMPTimeout is the field icmpTimeout of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	ICMPTimeout *string `json:"icmpTimeout,omitempty"`
	// TCPEstablished is the field tcpEstablished of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	TCPEstablished *string `json:"tcpEstablished,omitempty"`
	// TCPFinsSeen is the field tcpFinsSeen of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	TCPFinsSeen *string `json:"tcpFinsSeen,omitempty"`
	// TCPResetSeen is the field tcpResetSeen of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	TCPResetSeen *string `json:"tcpResetSeen,omitempty"`
	// TCPSynSent is the field tcpSynSent of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	TCPSynSent *string `json:"tcpSynSent,omitempty"`
	// UDPTimeout is the field udpTimeout of the API.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	// +optional
	UDPTimeout *string `json:"udpTimeout,omitempty"`
}

// ProtoPort is an element of spec.failsafeInboundHostPorts[] of a FelixConfiguration.
type ProtoPort struct {
	// Net is the field net of the API.
	// +optional
	Net string `json:"net,omitempty"`
	// Port is the field port of the API.
	// +required
	Port int `json:"port"`
	// Protocol is the field protocol of the API.
	// +optional
	Protocol string `json:"protocol,omitempty"`
}

// HealthTimeoutOverride is an element of spec.healthTimeoutOverrides[] of a FelixConfiguration.
type HealthTimeoutOverride struct {
	// Name is the field name of the API.
	// +required
	Name string `json:"name"`
	// Timeout is the field timeout of the API.
	// +required
	Timeout string `json:"timeout"`
}

// RouteTableRange is an element of spec.routeTableRange of a FelixConfiguration.
// +kubebuilder:validation:XValidation:rule="self.min >= 1 && self.max >= self.min && self.max <= 250",message="must hold: self.min >= 1 && self.max >= self.min && self.max <= 250"
type RouteTableRange struct {
	// Max is the field max of the API.
	// +required
	Max int `json:"max"`
	// Min is the field min of the API.
	// +required
	Min int `json:"min"`
}

// RouteTableIDRange is an element of spec.routeTableRanges[] of a FelixConfiguration.
// +kubebuilder:validation:XValidation:rule="self.min >= 1",message="must hold: self.min >= 1"
// +kubebuilder:validation:XValidation:rule="self.min <= self.max",message="must hold: self.min <= self.max"
type RouteTableIDRange struct {
	// Max is the field max of the API.
	// +required
	Max int `json:"max"`
	// Min is the field min of the API.
	// +required
	Min int `json:"min"`
}
