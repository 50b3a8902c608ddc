package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KubeControllersConfiguration configures kube-controllers; there is one, named default.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=kubecontrollersconfigurations,shortName={kcc,kccs}
// +kubebuilder:subresource:status
type KubeControllersConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   KubeControllersConfigurationSpec   `json:"spec,omitempty"`
	Status KubeControllersConfigurationStatus `json:"status,omitempty,omitzero"`
}

// KubeControllersConfigurationList is a list of KubeControllersConfiguration.
//
// +kubebuilder:object:root=true
type KubeControllersConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []KubeControllersConfiguration `json:"items"`
}

// KubeControllersConfigurationSpec is the configuration.
type KubeControllersConfigurationSpec struct {
	// Controllers switches controllers on and configures them.
	// +required
	Controllers ControllersConfig `json:"controllers"`
	// DebugProfilePort is the TCP port that profiles are served on, 0 to 65535. Absent or 0 serves none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	DebugProfilePort *int32 `json:"debugProfilePort,omitempty"`
	// EtcdV3CompactionPeriod is the time between compactions of etcd, for example 10m, which is also the default. 0
	// leaves compaction to others.
	EtcdV3CompactionPeriod *metav1.Duration `json:"etcdV3CompactionPeriod,omitempty"`
	// HealthChecks serves health checks.
	// +kubebuilder:validation:Enum=Enabled;Disabled
	// +kubebuilder:default=Enabled
	HealthChecks string `json:"healthChecks,omitempty"`
	// LogSeverityScreen is the least severity of what is written to standard output. Absent means Info.
	// +kubebuilder:validation:Enum=None;Debug;Info;Warning;Error;Fatal;Panic
	LogSeverityScreen string `json:"logSeverityScreen,omitempty"`
	// PrometheusMetricsPort is the TCP port that metrics are served on, 0 to 65535. Absent means 9094; 0 serves none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	PrometheusMetricsPort *int `json:"prometheusMetricsPort,omitempty"`
}

// ControllersConfig configures each controller. A controller that is absent does not run.
type ControllersConfig struct {
	// LoadBalancer gives addresses to Services of type LoadBalancer.
	LoadBalancer *LoadBalancerControllerConfig `json:"loadBalancer,omitempty"`
	// Migration carries objects of older versions over.
	Migration *MigrationControllerConfig `json:"migration,omitempty"`
	// Namespace makes profiles of namespaces. etcd only.
	Namespace *NamespaceControllerConfig `json:"namespace,omitempty"`
	// Node cleans up after nodes that are gone.
	Node *NodeControllerConfig `json:"node,omitempty"`
	// Policy makes policies of the NetworkPolicies of Kubernetes. etcd only.
	Policy *PolicyControllerConfig `json:"policy,omitempty"`
	// ServiceAccount makes profiles of service accounts. etcd only.
	ServiceAccount *ServiceAccountControllerConfig `json:"serviceAccount,omitempty"`
	// WorkloadEndpoint keeps the labels of workload endpoints as those of their pods. etcd only.
	WorkloadEndpoint *WorkloadEndpointControllerConfig `json:"workloadEndpoint,omitempty"`
}

// LoadBalancerControllerConfig configures addresses of Services.
type LoadBalancerControllerConfig struct {
	// AssignIPs says which Services are given addresses: AllServices, or RequestedServicesOnly, which are those that
	// ask for a pool or an address by annotation.
	// +kubebuilder:default=AllServices
	AssignIPs AssignIPs `json:"assignIPs,omitempty"`
}

// MigrationControllerConfig configures what is carried over.
type MigrationControllerConfig struct {
	// PolicyNameMigrator renames stored policies whose names have the tier before them.
	// +kubebuilder:default=Enabled
	PolicyNameMigrator ControllerMode `json:"policyNameMigrator,omitempty"`
}

// NamespaceControllerConfig configures profiles of namespaces.
type NamespaceControllerConfig struct {
	// ReconcilerPeriod is the time between full comparisons, for example 5m, which is also the default.
	ReconcilerPeriod *metav1.Duration `json:"reconcilerPeriod,omitempty"`
}

// NodeControllerConfig configures the clean-up after nodes and what is made for them.
type NodeControllerConfig struct {
	// HostEndpoint makes host endpoints for nodes. Absent makes none.
	HostEndpoint *AutoHostEndpointConfig `json:"hostEndpoint,omitempty"`
	// LeakGracePeriod is how long an address must be without its user before it is freed, for example 15m, which is
	// also the default. 0 frees none.
	LeakGracePeriod *metav1.Duration `json:"leakGracePeriod,omitempty"`
	// ReconcilerPeriod is the time between full comparisons, for example 5m, which is also the default.
	ReconcilerPeriod *metav1.Duration `json:"reconcilerPeriod,omitempty"`
	// SyncLabels gives nodes in etcd the labels of the nodes of Kubernetes. Absent means Enabled.
	// +kubebuilder:validation:Enum=Enabled;Disabled
	SyncLabels string `json:"syncLabels,omitempty"`
}

// AutoHostEndpointConfig says which host endpoints are made for nodes.
type AutoHostEndpointConfig struct {
	// AutoCreate makes host endpoints. Absent means Disabled.
	// +kubebuilder:validation:Enum=Enabled;Disabled
	AutoCreate string `json:"autoCreate,omitempty"`
	// CreateDefaultHostEndpoint makes one for all interfaces of each node: Enabled, which is also what absent means,
	// or Disabled.
	// +kubebuilder:validation:XValidation:rule="self in ['', 'Enabled', 'Disabled']",message="must be Enabled or Disabled"
	CreateDefaultHostEndpoint DefaultHostEndpointMode `json:"createDefaultHostEndpoint,omitempty"`
	// Templates describe more host endpoints.
	// +listType=atomic
	Templates []Template `json:"templates,omitempty"`
}

// Template describes a host endpoint for each node that it selects.
//
// +kubebuilder:validation:XValidation:rule="has(self.interfaceCIDRs) || has(self.interfacePattern)",fieldPath=".interfaceCIDRs",reason="FieldValueRequired",message="is needed, for example [10.0.0.0/8], or else interfacePattern: they say which interface it is"
type Template struct {
	// Annotations of the host endpoint.
	Annotations map[string]string `json:"annotations,omitempty"`
	// GenerateName is the end of the host endpoint's name, which begins with the node's.
	// +kubebuilder:validation:MaxLength=253
	GenerateName string `json:"generateName,omitempty"`
	// InterfaceCIDRs are networks: the node's addresses in them become the host endpoint's expectedIPs.
	// +listType=set
	InterfaceCIDRs []string `json:"interfaceCIDRs,omitempty"`
	// InterfacePattern is a regular expression (RE2) of interface names: each interface that matches gets a host
	// endpoint.
	InterfacePattern string `json:"interfacePattern,omitempty"`
	// Labels of the host endpoint. They go before labels of the node.
	Labels map[string]string `json:"labels,omitempty"`
	// NodeSelector selects nodes by their labels. Absent selects all.
	NodeSelector string `json:"nodeSelector,omitempty"`
}

// PolicyControllerConfig configures policies made of those of Kubernetes.
type PolicyControllerConfig struct {
	// ReconcilerPeriod is the time between full comparisons, for example 5m, which is also the default.
	ReconcilerPeriod *metav1.Duration `json:"reconcilerPeriod,omitempty"`
}

// ServiceAccountControllerConfig configures profiles of service accounts.
type ServiceAccountControllerConfig struct {
	// ReconcilerPeriod is the time between full comparisons, for example 5m, which is also the default.
	ReconcilerPeriod *metav1.Duration `json:"reconcilerPeriod,omitempty"`
}

// WorkloadEndpointControllerConfig configures the labels of workload endpoints.
type WorkloadEndpointControllerConfig struct {
	// ReconcilerPeriod is the time between full comparisons, for example 5m, which is also the default.
	ReconcilerPeriod *metav1.Duration `json:"reconcilerPeriod,omitempty"`
}

// KubeControllersConfigurationStatus is what kube-controllers runs with.
type KubeControllersConfigurationStatus struct {
	// EnvironmentVars are the environment variables that changed the configuration.
	EnvironmentVars map[string]string `json:"environmentVars,omitempty"`
	// RunningConfig is the configuration with what environment variables changed.
	RunningConfig *KubeControllersConfigurationSpec `json:"runningConfig,omitempty"`
}

// ControllerMode switches a controller.
//
// +kubebuilder:validation:Enum=Disabled;Enabled
type ControllerMode string

// The modes of a controller.
const (
	ControllerDisabled ControllerMode = "Disabled"
	ControllerEnabled  ControllerMode = "Enabled"
)

// AssignIPs says which Services are given addresses.
//
// +kubebuilder:validation:Enum=AllServices;RequestedServicesOnly
type AssignIPs string

// The choices of Services.
const (
	AllServices           AssignIPs = "AllServices"
	RequestedServicesOnly AssignIPs = "RequestedServicesOnly"
)

// DefaultHostEndpointMode says whether a node gets a host endpoint for all of its interfaces.
type DefaultHostEndpointMode string

// The modes.
const (
	DefaultHostEndpointsEnabled  DefaultHostEndpointMode = "Enabled"
	DefaultHostEndpointsDisabled DefaultHostEndpointMode = "Disabled"
)
