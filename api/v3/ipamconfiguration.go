package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAMConfiguration configures how addresses are given; there is one, named default.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ipamconfigurations,shortName={ipamconfig,ipamconfigs}
// +kubebuilder:printcolumn:name="StrictAffinity",type=boolean,JSONPath=`.spec.strictAffinity`
// +kubebuilder:printcolumn:name="MaxBlocksPerHost",type=integer,JSONPath=`.spec.maxBlocksPerHost`
// +kubebuilder:printcolumn:name="AutoAllocateBlocks",type=boolean,JSONPath=`.spec.autoAllocateBlocks`
type IPAMConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPAMConfigurationSpec `json:"spec,omitempty"`
}

// IPAMConfigurationList is a list of IPAMConfiguration.
//
// +kubebuilder:object:root=true
type IPAMConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPAMConfiguration `json:"items"`
}

// IPAMConfigurationSpec is the configuration.
type IPAMConfigurationSpec struct {
	// AutoAllocateBlocks lets nodes take blocks as they need them.
	// +kubebuilder:default=true
	// +required
	AutoAllocateBlocks *bool `json:"autoAllocateBlocks,omitempty"`
	// IPCooldownSeconds is how long a released address rests before it is given again.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1200
	IPCooldownSeconds *int32 `json:"ipCooldownSeconds,omitempty"`
	// KubeVirtVMAddressPersistence says whether virtual machines of KubeVirt keep their addresses over restarts.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	KubeVirtVMAddressPersistence string `json:"kubeVirtVMAddressPersistence,omitempty"`
	// MaxBlocksPerHost is the most blocks that a node may have. Zero means 20.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxBlocksPerHost int32 `json:"maxBlocksPerHost,omitempty"`
	// StrictAffinity keeps nodes from taking addresses of blocks of other nodes.
	// +kubebuilder:default=false
	// +required
	StrictAffinity bool `json:"strictAffinity"`
}
